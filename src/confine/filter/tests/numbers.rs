//! Verdicts by number: of every number, on every architecture, in every filter.

use std::collections::HashSet;

use super::*;
use crate::confine::filter::names::{NamedSyscall, calls, older_calls};
use crate::confine::filter::{RefusalCase, refused_syscalls};

fn default() -> FilterMachine {
    machine(SyscallSet::Default, NetAccess::Any, UnixAccess::Any, MetadataCalls::Allowed)
}

fn strict() -> FilterMachine {
    machine(SyscallSet::Strict, NetAccess::Any, UnixAccess::Any, MetadataCalls::Allowed)
}

#[test]
fn nothing_is_filtered_where_nothing_is_restricted() {
    let (net, unix) = (NetAccess::Any, UnixAccess::Any);
    let request = |metadata| FilterRequest {
        syscalls: SyscallSet::Any,
        net: &net,
        unix: &unix,
        metadata,
        memory_files: MemoryFiles::Executable,
    };
    assert!(syscall_filter(&request(MetadataCalls::Allowed)).is_none());
    assert!(syscall_filter(&request(MetadataCalls::Refused)).is_some());
}

#[test]
fn numbers_of_x32_do_not_exist() {
    for (name, machine) in all_machines() {
        for number in (0..600).chain([0x3fff_ffff, 0xbfff_ffff]) {
            let outcome = outcome(&machine, number | 0x4000_0000, [0; 6]);
            assert_eq!(outcome, refused(libc::ENOSYS), "{name}: {number}");
        }
    }
}

#[test]
fn another_architecture_ends_the_process() {
    let foreign = [0x4000_0003, 0x4000_0028, 0xc000_00b7, 0xc000_003e, 0];
    for (name, machine) in all_machines() {
        for architecture in foreign.into_iter().filter(|foreign| *foreign != OWN_ARCHITECTURE) {
            for number in 0..600 {
                let data = SyscallData { number, architecture, arguments: [0; 6] };
                assert_eq!(machine.run(&data).value, KILLED, "{name}: {architecture:#x} {number}");
            }
        }
    }
}

#[test]
fn default_refuses_what_its_table_has_and_what_is_newer() {
    let (machine, mut refusals) = (default(), 0);
    let groups = || refused_syscalls().filter(|group| group.uses.is_empty());
    let groups =
        || groups().filter(|group| [RefusalCase::Always, RefusalCase::AnyFilter].contains(&group.case));
    let inspected: HashSet<_> = refused_syscalls()
        .filter(|group| !group.uses.is_empty())
        .flat_map(|group| group.calls)
        .filter_map(NamedSyscall::number)
        .chain(calls![SYS_socket SYS_socketpair].iter().filter_map(NamedSyscall::number))
        .collect();
    for number in (0..600_u32).filter(|number| !inspected.contains(number)) {
        let group = groups().find(|group| group.calls.iter().any(|call| call.number() == Some(number)));
        let is_known = (0..337).contains(&number) || (424..470).contains(&number);
        let want = match group {
            Some(group) => refused(group.errno),
            None if cfg!(target_arch = "x86_64") && !is_known => refused(libc::ENOSYS),
            None if number > 469 => refused(libc::ENOSYS),
            None => ALLOWED,
        };
        refusals += usize::from(group.is_some());
        assert_eq!(outcome(&machine, number.into(), [0; 6]), want, "{number}");
    }
    assert!(refusals > 60, "{refusals}");
}

#[test]
#[cfg(target_arch = "x86_64")]
fn default_refuses_these_numbers() {
    let eperm = [
        101, 134, 136, 139, 155, 156, 161, 163, 164, 165, 166, 167, 168, 169, 170, 171, 172, 173, 175, 176,
        179, 180, 212, 227, 237, 238, 239, 246, 248, 249, 250, 256, 278, 279, 298, 300, 301, 304, 308, 310,
        311, 312, 313, 320, 321, 323, 428, 429, 430, 431, 432, 433, 438, 440, 442, 443, 448, 450, 467,
    ];
    let enosys = [425, 426, 427, 435];
    let machine = default();
    let found =
        |value| (0..470).filter(|number| outcome(&machine, *number, [0; 6]) == value).collect::<Vec<_>>();
    let missing: Vec<_> =
        eperm.iter().filter(|number| !found(refused(libc::EPERM)).contains(number)).collect();
    assert!(missing.is_empty(), "{missing:?}");
    let enosys_found: Vec<_> =
        found(refused(libc::ENOSYS)).into_iter().filter(|number| *number > 423).collect();
    assert_eq!(enosys_found, enosys);
}

#[test]
fn strict_allows_nothing_that_default_refuses() {
    let (default, strict) = (default(), strict());
    let all = |machine: &FilterMachine, number| outcome(machine, number, [0; 6]);
    let allowed: Vec<_> = (0..600).filter(|number| all(&strict, *number) == ALLOWED).collect();
    assert!(allowed.len() > 200, "{}", allowed.len());
    assert!(allowed.iter().all(|number| all(&default, *number) == ALLOWED));
    assert_eq!(all(&strict, 470), refused(libc::ENOSYS));
    assert_eq!(all(&strict, libc::SYS_shmget), refused(libc::EPERM));
    assert_eq!(all(&strict, libc::SYS_clone3), refused(libc::ENOSYS));
    assert_eq!(all(&default, libc::SYS_shmget), ALLOWED);
}

#[test]
fn what_programs_need_stays() {
    let kept = calls![
        SYS_pidfd_open SYS_memfd_create SYS_inotify_init1 SYS_eventfd2 SYS_timerfd_create SYS_signalfd4 SYS_seccomp
        SYS_landlock_create_ruleset SYS_landlock_restrict_self SYS_sched_setaffinity SYS_rseq SYS_membarrier
        SYS_recvfrom SYS_recvmsg SYS_flock SYS_statx SYS_openat2 SYS_faccessat2 SYS_close_range SYS_fchmodat2
        SYS_setxattr SYS_utimensat SYS_futex_waitv SYS_listen SYS_connect SYS_sendto
    ];
    let older = older_calls![SYS_fork SYS_vfork SYS_uretprobe SYS_uprobe SYS_chmod];
    for machine in [default(), strict()] {
        for call in kept.iter().chain(older) {
            let outcome = call.number().map(|number| outcome(&machine, number.into(), [0; 6]));
            assert!(outcome.is_none_or(|value| value == ALLOWED), "{}", call.name());
        }
    }
}

#[test]
fn any_refuses_what_passes_the_rest_of_the_filter() {
    let machine = machine(SyscallSet::Any, NetAccess::None, UnixAccess::Any, MetadataCalls::Allowed);
    assert_eq!(outcome(&machine, libc::SYS_io_uring_setup, [0; 6]), refused(libc::ENOSYS));
    assert_eq!(outcome(&machine, libc::SYS_mount, [0; 6]), ALLOWED);
    assert_eq!(outcome(&machine, 599, [0; 6]), ALLOWED);
}

#[test]
fn programs_are_short_and_their_searches_too() {
    for (name, machine) in all_machines() {
        assert!(machine.instructions.len() < 330, "{name}: {} instructions", machine.instructions.len());
        let run = |number| {
            machine.run(&SyscallData { number, architecture: OWN_ARCHITECTURE, arguments: [0; 6] }).steps
        };
        let longest = (0..470).map(run).max().expect("there are numbers");
        let total: usize = (0..470).map(run).sum();
        println!("{name}: {} instructions, longest {longest}, all {total}", machine.instructions.len());
        assert!(longest <= 26, "{name}: {longest} steps");
        assert!(total < 470 * 12, "{name}: {total} steps for all numbers");
    }
}

#[test]
fn a_name_stands_once_in_a_list_and_has_the_kernels_number() {
    let names = refused_syscalls().filter(|group| group.uses.is_empty()).flat_map(|group| group.calls);
    let names: Vec<_> = names.map(NamedSyscall::name).collect();
    let distinct: HashSet<_> = names.iter().collect();
    assert_eq!(names.len(), distinct.len());
    let usual: Vec<_> = super::super::usual_syscalls().map(NamedSyscall::name).collect();
    assert_eq!(usual.len(), usual.iter().collect::<HashSet<_>>().len());
}
