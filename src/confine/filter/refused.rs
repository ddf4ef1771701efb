//! The system calls that a confined command does not have, each group with its reason. The reasons are data:
//! REFERENCE.md and `sluice explain` have them from here.

use super::inspected;
use super::names::{NamedSyscall, calls, older_calls};
use super::verdict::SyscallVerdict;

/// System calls that are refused for one reason.
#[derive(Debug)]
pub struct RefusedSyscalls {
    /// The calls.
    pub calls: &'static [NamedSyscall],
    /// The uses that are refused, as words after the names; empty where every use is.
    pub uses: &'static str,
    /// What the call fails with.
    pub errno: i32,
    /// Why.
    pub reason: &'static str,
    /// The confinements that refuse it.
    pub case: RefusalCase,
    /// The test of the arguments, where not every use is refused.
    pub(super) inspect: Option<fn(SyscallVerdict) -> SyscallVerdict>,
}

/// The confinements that refuse a group of system calls.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RefusalCase {
    /// `syscalls = default` and `strict`.
    Always,
    /// Those that restrict anything by this filter, `syscalls = any` too.
    AnyFilter,
    /// Those that write nowhere and have no view of the files of their own.
    NoMetadata,
    /// `default` and `strict`, where the command may execute nothing that it writes.
    NoExec,
}

impl RefusedSyscalls {
    pub(super) fn verdict(&self) -> SyscallVerdict {
        let refusal = SyscallVerdict::refuse(self.errno);
        self.inspect.map_or(refusal.clone(), |inspect| inspect(refusal))
    }
}

const fn all(
    calls: &'static [NamedSyscall],
    errno: i32,
    reason: &'static str,
    case: RefusalCase,
) -> RefusedSyscalls {
    RefusedSyscalls { calls, uses: "", errno, reason, case, inspect: None }
}

const fn always(calls: &'static [NamedSyscall], reason: &'static str) -> RefusedSyscalls {
    all(calls, libc::EPERM, reason, RefusalCase::Always)
}

const fn some(
    calls: &'static [NamedSyscall],
    uses: &'static str,
    errno: i32,
    reason: &'static str,
    inspect: fn(SyscallVerdict) -> SyscallVerdict,
) -> RefusedSyscalls {
    RefusedSyscalls { calls, uses, errno, reason, case: RefusalCase::Always, inspect: Some(inspect) }
}

/// All groups. A call that two groups name is refused by both.
pub fn refused_syscalls() -> impl Iterator<Item = &'static RefusedSyscalls> {
    [NAMESPACES, PROCESSES, KERNEL, DEVICES, OTHERS, METADATA, EXEC].into_iter().flatten()
}

const NAMESPACES: &[RefusedSyscalls] = &[
    some(
        calls![SYS_clone],
        "with a new namespace, or with CLONE_PARENT",
        libc::EPERM,
        "a user namespace gives capabilities over much of the kernel; a process beside the command outlives it",
        inspected::clone_outside,
    ),
    some(
        calls![SYS_unshare],
        "of more than files, directory and semaphores",
        libc::EPERM,
        "as clone",
        inspected::unshare_namespaces,
    ),
    all(
        calls![SYS_clone3],
        libc::ENOSYS,
        "its flags are in memory, where no filter reads them; the C library uses clone instead",
        RefusalCase::Always,
    ),
    always(calls![SYS_setns], "joins namespaces"),
    always(
        calls![
            SYS_mount SYS_umount2 SYS_pivot_root SYS_chroot SYS_move_mount SYS_open_tree SYS_open_tree_attr
            SYS_fsopen SYS_fsconfig SYS_fsmount SYS_fspick SYS_mount_setattr
        ],
        "changes what a path leads to",
    ),
];

const PROCESSES: &[RefusedSyscalls] = &[
    always(
        calls![
            SYS_ptrace SYS_process_vm_readv SYS_process_vm_writev SYS_process_madvise SYS_process_mrelease
            SYS_kcmp SYS_pidfd_getfd
        ],
        "reads or changes another process",
    ),
    some(
        calls![SYS_prlimit64],
        "of a limit of a process that is given by number",
        libc::EPERM,
        "a limit of processor time ends a process outside as a signal would",
        inspected::limits_of_others,
    ),
    some(
        calls![SYS_setpriority],
        "of another group, or of a user",
        libc::EPERM,
        "slows down processes outside",
        inspected::priorities,
    ),
    some(
        calls![SYS_ioprio_set],
        "of another group, or of a user",
        libc::EPERM,
        "slows down processes outside",
        inspected::disk_priorities,
    ),
    always(
        calls![
            SYS_migrate_pages SYS_move_pages SYS_mbind SYS_get_mempolicy SYS_set_mempolicy
            SYS_set_mempolicy_home_node
        ],
        "moves the memory of processes between the machine's nodes",
    ),
    some(
        calls![SYS_personality],
        "but for 0, 8, 0x20000, 0x20008 and to ask",
        libc::EPERM,
        "switches off protections of programs that are started later",
        inspected::personalities,
    ),
];

const KERNEL: &[RefusedSyscalls] = &[
    all(
        calls![SYS_io_uring_setup SYS_io_uring_enter SYS_io_uring_register],
        libc::ENOSYS,
        "opens files and sockets without a system call of its own for each; programs do without",
        RefusalCase::AnyFilter,
    ),
    always(calls![SYS_bpf SYS_perf_event_open SYS_userfaultfd], "reaches deep into the kernel"),
    always(calls![SYS_vmsplice SYS_lookup_dcookie], "as in containers"),
    always(
        calls![SYS_add_key SYS_request_key SYS_keyctl],
        "the keys of the kernel are the user's, not the command's",
    ),
    always(
        calls![SYS_init_module SYS_finit_module SYS_delete_module SYS_kexec_load SYS_kexec_file_load],
        "loads code into the kernel",
    ),
    always(
        calls![
            SYS_reboot SYS_swapon SYS_swapoff SYS_acct SYS_settimeofday SYS_clock_settime SYS_sethostname
            SYS_setdomainname SYS_vhangup SYS_quotactl SYS_quotactl_fd SYS_syslog
        ],
        "administers the machine",
    ),
    always(calls![SYS_fanotify_init SYS_fanotify_mark], "watches the files of others"),
    always(calls![SYS_open_by_handle_at], "opens a file without a path to it"),
    always(calls![SYS_nfsservctl], "old, and administers the machine"),
    always(
        older_calls![SYS_uselib SYS_ustat SYS_sysfs SYS__sysctl SYS_iopl SYS_ioperm],
        "old, or reaches into the machine",
    ),
];

const DEVICES: &[RefusedSyscalls] = &[
    some(
        older_calls![SYS_mknod],
        "of a device",
        libc::EPERM,
        "a device is another way to what it stands for",
        inspected::devices,
    ),
    some(
        calls![SYS_mknodat],
        "of a device",
        libc::EPERM,
        "a device is another way to what it stands for",
        inspected::devices_at,
    ),
    some(
        calls![SYS_ioctl],
        "with TIOCSTI, TIOCLINUX or TIOCSETD",
        libc::EPERM,
        "types into the terminal that the caller shares, or loads drivers for it",
        inspected::terminal_input,
    ),
];

const OTHERS: &[RefusedSyscalls] = &[
    RefusedSyscalls {
        calls: calls![SYS_sched_setaffinity SYS_sched_setscheduler SYS_sched_setparam SYS_sched_setattr],
        uses: "of a process that is given by number",
        errno: libc::EPERM,
        reason: "slows down processes outside",
        case: RefusalCase::Always,
        inspect: Some(inspected::processes_by_number),
    },
    RefusedSyscalls {
        calls: calls![SYS_setpriority SYS_ioprio_set],
        uses: "of a process that is given by number",
        errno: libc::EPERM,
        reason: "slows down processes outside",
        case: RefusalCase::Always,
        inspect: Some(inspected::priorities_by_number),
    },
];

const METADATA: &[RefusedSyscalls] = &[
    all(
        calls![
            SYS_fchmod SYS_fchmodat SYS_fchmodat2 SYS_fchown SYS_fchownat SYS_utimensat
        ],
        libc::EPERM,
        NO_METADATA,
        RefusalCase::NoMetadata,
    ),
    all(
        older_calls![SYS_chmod SYS_chown SYS_lchown SYS_utime SYS_utimes SYS_futimesat],
        libc::EPERM,
        NO_METADATA,
        RefusalCase::NoMetadata,
    ),
    all(
        calls![
            SYS_setxattr SYS_lsetxattr SYS_fsetxattr SYS_setxattrat SYS_removexattr SYS_lremovexattr
            SYS_fremovexattr SYS_removexattrat SYS_file_setattr
        ],
        libc::EOPNOTSUPP,
        NO_METADATA,
        RefusalCase::NoMetadata,
    ),
    RefusedSyscalls {
        calls: calls![SYS_ioctl],
        uses: "that changes a file's flags, or of a file system, but to ask",
        errno: libc::ENOTTY,
        reason: NO_METADATA,
        case: RefusalCase::NoMetadata,
        inspect: Some(inspected::file_flags),
    },
    all(
        calls![
            SYS_shmget SYS_shmat SYS_shmctl SYS_msgget SYS_msgsnd SYS_msgrcv SYS_msgctl SYS_semget SYS_semop
            SYS_semtimedop SYS_semctl SYS_mq_open SYS_mq_unlink
        ],
        libc::ENOSYS,
        "memory and queues that processes outside share; a command with a view has a namespace of its own",
        RefusalCase::NoMetadata,
    ),
];

const EXEC: &[RefusedSyscalls] = &[RefusedSyscalls {
    calls: calls![SYS_memfd_create],
    uses: "without MFD_NOEXEC_SEAL",
    errno: libc::EACCES,
    reason: "a file in memory lies in no place, so that none of `exec` keeps it from being executed",
    case: RefusalCase::NoExec,
    inspect: Some(inspected::executable_memory),
}];

const NO_METADATA: &str = "changes a file that may not be written, which Landlock does not see";
