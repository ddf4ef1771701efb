//! The system calls of `syscalls = strict`: those that compilers, package managers, interpreters, shells and
//! git make.

use super::names::{NamedSyscall, calls, older_calls};

/// All of them. Some are restricted by their arguments.
pub(super) fn usual_syscalls() -> impl Iterator<Item = &'static NamedSyscall> {
    [FILES, OLDER_FILES, METADATA, MEMORY, PROCESSES, OLDER_PROCESSES, TIME, EVENTS, SOCKETS, SANDBOXES]
        .into_iter()
        .flatten()
}

const FILES: &[NamedSyscall] = calls![
    SYS_read SYS_write SYS_readv SYS_writev SYS_pread64 SYS_pwrite64 SYS_preadv SYS_pwritev SYS_preadv2
    SYS_pwritev2 SYS_close SYS_close_range SYS_lseek SYS_openat SYS_openat2 SYS_dup SYS_dup3 SYS_pipe2 SYS_fcntl
    SYS_ioctl SYS_flock SYS_fsync SYS_fdatasync SYS_sync_file_range SYS_syncfs SYS_ftruncate SYS_truncate
    SYS_fallocate SYS_fadvise64 SYS_readahead SYS_sendfile SYS_splice SYS_tee SYS_copy_file_range SYS_fstat
    SYS_newfstatat SYS_statx SYS_statfs SYS_fstatfs SYS_faccessat SYS_faccessat2 SYS_readlinkat SYS_getdents64
    SYS_getcwd SYS_chdir SYS_fchdir SYS_mkdirat SYS_unlinkat SYS_renameat SYS_renameat2 SYS_linkat SYS_symlinkat
    SYS_mknodat SYS_umask SYS_cachestat
];

const OLDER_FILES: &[NamedSyscall] = older_calls![
    SYS_open SYS_creat SYS_stat SYS_lstat SYS_access SYS_readlink SYS_getdents SYS_rename SYS_mkdir SYS_rmdir
    SYS_link SYS_unlink SYS_symlink SYS_mknod SYS_chmod SYS_chown SYS_lchown SYS_utime SYS_utimes SYS_futimesat
    SYS_dup2 SYS_pipe
];

const METADATA: &[NamedSyscall] = calls![
    SYS_fchmod SYS_fchmodat SYS_fchmodat2 SYS_fchown SYS_fchownat SYS_utimensat SYS_getxattr SYS_lgetxattr
    SYS_fgetxattr SYS_getxattrat SYS_listxattr SYS_llistxattr SYS_flistxattr SYS_listxattrat SYS_setxattr
    SYS_lsetxattr SYS_fsetxattr SYS_setxattrat SYS_removexattr SYS_lremovexattr SYS_fremovexattr
    SYS_removexattrat SYS_file_getattr
];

const MEMORY: &[NamedSyscall] = calls![
    SYS_brk SYS_mmap SYS_munmap SYS_mprotect SYS_mremap SYS_msync SYS_madvise SYS_mincore SYS_mlock SYS_mlock2
    SYS_munlock SYS_mlockall SYS_munlockall SYS_mseal SYS_memfd_create SYS_membarrier SYS_pkey_alloc
    SYS_pkey_free SYS_pkey_mprotect SYS_map_shadow_stack
];

const PROCESSES: &[NamedSyscall] = calls![
    SYS_clone SYS_execve SYS_execveat SYS_exit SYS_exit_group SYS_wait4 SYS_waitid SYS_kill SYS_tkill SYS_tgkill
    SYS_rt_sigqueueinfo SYS_rt_tgsigqueueinfo SYS_pidfd_open SYS_pidfd_send_signal SYS_rt_sigaction
    SYS_rt_sigprocmask SYS_rt_sigreturn SYS_rt_sigpending SYS_rt_sigsuspend SYS_rt_sigtimedwait SYS_sigaltstack
    SYS_restart_syscall SYS_getpid SYS_getppid SYS_gettid SYS_getpgid SYS_setpgid SYS_getsid SYS_setsid
    SYS_getuid SYS_geteuid SYS_getgid SYS_getegid SYS_getresuid SYS_getresgid SYS_getgroups SYS_setuid
    SYS_setgid SYS_setreuid SYS_setregid SYS_setresuid SYS_setresgid SYS_capget SYS_prctl SYS_set_tid_address
    SYS_set_robust_list SYS_get_robust_list SYS_rseq SYS_getrlimit SYS_setrlimit SYS_prlimit64 SYS_getrusage
    SYS_times SYS_getpriority SYS_setpriority SYS_ioprio_get SYS_ioprio_set SYS_sched_yield
    SYS_sched_getaffinity SYS_sched_setaffinity SYS_sched_getparam SYS_sched_setparam SYS_sched_getscheduler
    SYS_sched_setscheduler SYS_sched_getattr SYS_sched_setattr SYS_sched_get_priority_max
    SYS_sched_get_priority_min SYS_sched_rr_get_interval SYS_getcpu SYS_uname SYS_sysinfo SYS_personality
    SYS_getrandom SYS_futex SYS_futex_waitv SYS_futex_wake SYS_futex_wait SYS_futex_requeue
];

const OLDER_PROCESSES: &[NamedSyscall] = older_calls![
    SYS_fork SYS_vfork SYS_arch_prctl SYS_getpgrp SYS_pause SYS_alarm SYS_time SYS_uretprobe SYS_uprobe
    SYS_poll SYS_select SYS_epoll_create SYS_epoll_wait SYS_eventfd SYS_signalfd SYS_inotify_init
];

const TIME: &[NamedSyscall] = calls![
    SYS_nanosleep SYS_clock_nanosleep SYS_clock_gettime SYS_clock_getres SYS_gettimeofday SYS_getitimer
    SYS_setitimer SYS_timer_create SYS_timer_settime SYS_timer_gettime SYS_timer_getoverrun SYS_timer_delete
    SYS_timerfd_create SYS_timerfd_settime SYS_timerfd_gettime
];

const EVENTS: &[NamedSyscall] = calls![
    SYS_ppoll SYS_pselect6 SYS_epoll_create1 SYS_epoll_ctl SYS_epoll_pwait SYS_epoll_pwait2 SYS_eventfd2
    SYS_signalfd4 SYS_inotify_init1 SYS_inotify_add_watch SYS_inotify_rm_watch
];

const SOCKETS: &[NamedSyscall] = calls![
    SYS_socket SYS_socketpair SYS_bind SYS_connect SYS_listen SYS_accept SYS_accept4 SYS_getsockname
    SYS_getpeername SYS_setsockopt SYS_getsockopt SYS_shutdown SYS_sendto SYS_recvfrom SYS_sendmsg SYS_recvmsg
    SYS_sendmmsg SYS_recvmmsg
];

/// What programs confine themselves with, xz and sshd among them.
const SANDBOXES: &[NamedSyscall] = calls![
    SYS_seccomp SYS_landlock_create_ruleset SYS_landlock_add_rule SYS_landlock_restrict_self
];
