//! Verdicts by argument.

use super::*;

/// Bits above an `int`, which change nothing.
const HIGH: u64 = 0xdead_beef_0000_0000;

fn ordinary(net: NetAccess, unix: UnixAccess) -> FilterMachine {
    machine(SyscallSet::Default, net, unix, MetadataCalls::Allowed)
}

fn tcp() -> NetAccess {
    NetAccess::Tcp(vec![443])
}

/// The outcome of a call with the first arguments, whatever the bits above them are.
#[track_caller]
fn check(machine: &FilterMachine, number: i64, first: &[u64], want: u32) {
    for high in [0, HIGH] {
        let mut arguments = [high; 6];
        arguments.iter_mut().zip(first).for_each(|(argument, value)| *argument = value | high);
        let outcome = outcome(machine, number, arguments);
        assert_eq!(outcome, want, "{number} {first:x?} with {high:x}: {outcome:#x}");
    }
}

const EPERM: u32 = 0x0005_0001;

#[test]
fn clone_makes_processes_and_no_namespaces() {
    for syscalls in [SyscallSet::Default, SyscallSet::Strict] {
        let machine = machine(syscalls, NetAccess::Any, UnixAccess::Any, MetadataCalls::Allowed);
        let (fork, thread) = (0x0120_0011, 0x003d_0f00);
        for flags in [fork, thread, 0x4111, 17] {
            check(&machine, libc::SYS_clone, &[flags], ALLOWED);
        }
        for bit in [17, 25, 26, 27, 28, 29, 30] {
            check(&machine, libc::SYS_clone, &[fork | 1 << bit], EPERM);
        }
        check(&machine, libc::SYS_clone3, &[0], refused(libc::ENOSYS));
    }
}

#[test]
fn unshare_parts_with_files_and_directory_alone() {
    let machine = ordinary(NetAccess::Any, UnixAccess::Any);
    for flags in [0, 0x200, 0x400, 0x4_0000, 0x4_0600] {
        check(&machine, libc::SYS_unshare, &[flags], ALLOWED);
    }
    for flags in [0x80, 0x2_0000, 0x1000_0000, 0x1000_0400, 0x4000_0000, 0x10_0000] {
        check(&machine, libc::SYS_unshare, &[flags], EPERM);
    }
}

#[test]
fn terminals_are_not_typed_into() {
    let machine = ordinary(NetAccess::Any, UnixAccess::Any);
    for request in [0x5412, 0x541c, 0x5423] {
        check(&machine, libc::SYS_ioctl, &[0, request], EPERM);
    }
    for request in [0x5401, 0x5413, 0x541b, 0x4004_6602, 0x8008_6601] {
        check(&machine, libc::SYS_ioctl, &[0, request], ALLOWED);
    }
}

#[test]
fn personalities_keep_protections() {
    let machine = ordinary(NetAccess::Any, UnixAccess::Any);
    for persona in [0, 8, 0x2_0000, 0x2_0008, 0xffff_ffff] {
        check(&machine, libc::SYS_personality, &[persona], ALLOWED);
    }
    for persona in [0x4_0000, 0x40_0000, 1, 0x2_0001] {
        check(&machine, libc::SYS_personality, &[persona], EPERM);
    }
}

#[test]
fn devices_are_not_made() {
    let machine = ordinary(NetAccess::Any, UnixAccess::Any);
    for (mode, want) in [(0o20_600, EPERM), (0o60_600, EPERM), (0o10_600, ALLOWED), (0o100_600, ALLOWED)] {
        check(&machine, libc::SYS_mknodat, &[0, 0, mode], want);
        // The kernel takes 16 bits of a mode.
        check(&machine, libc::SYS_mknodat, &[0, 0, mode | 0x1_0000], want);
        #[cfg(target_arch = "x86_64")]
        check(&machine, libc::SYS_mknod, &[0, mode], want);
    }
}

#[test]
fn other_processes_keep_their_limits() {
    let machine = ordinary(NetAccess::Any, UnixAccess::Any);
    let outcome = |arguments| outcome(&machine, libc::SYS_prlimit64, arguments);
    let pointer = 0x7fff_0000_0000;
    assert_eq!(outcome([0, 0, pointer, 0, 0, 0]), ALLOWED);
    assert_eq!(outcome([HIGH, 0, pointer, 0, 0, 0]), ALLOWED);
    assert_eq!(outcome([4711, 0, 0, pointer, 0, 0]), ALLOWED);
    assert_eq!(outcome([4711, 0, pointer, 0, 0, 0]), EPERM);
    assert_eq!(outcome([4711, 0, 0x1000, 0, 0, 0]), EPERM);
}

#[test]
fn other_processes_keep_their_priorities() {
    let machine = ordinary(NetAccess::Any, UnixAccess::Any);
    for (call, process, group, user) in [(libc::SYS_setpriority, 0, 1, 2), (libc::SYS_ioprio_set, 1, 2, 3)] {
        check(&machine, call, &[process, 0], ALLOWED);
        check(&machine, call, &[process, 4711], EPERM);
        check(&machine, call, &[group, 0], ALLOWED);
        check(&machine, call, &[group, 4711], EPERM);
        check(&machine, call, &[user, 0], EPERM);
    }
    let strict = super::machine(SyscallSet::Strict, NetAccess::Any, UnixAccess::Any, MetadataCalls::Allowed);
    check(&strict, libc::SYS_setpriority, &[0, 0], ALLOWED);
    check(&strict, libc::SYS_setpriority, &[0, 4711], EPERM);
    check(&strict, libc::SYS_setpriority, &[2, 0], EPERM);
    check(&strict, libc::SYS_sched_setaffinity, &[0], ALLOWED);
    check(&strict, libc::SYS_sched_setaffinity, &[4711], EPERM);
    check(&machine, libc::SYS_sched_setaffinity, &[0], ALLOWED);
    check(&machine, libc::SYS_sched_setaffinity, &[4711], EPERM);
    check(&machine, libc::SYS_clone, &[0x8011], EPERM);
    check(&machine, libc::SYS_clone, &[0x11], ALLOWED);
}

/// A socket's family, type and protocol, and the outcomes for `net` of `none`, `tcp:` and `any`.
type SocketRow = (u64, u64, u64, [u32; 3]);

fn socket_rows() -> Vec<SocketRow> {
    let (family, protocol) = (refused(libc::EAFNOSUPPORT), refused(libc::EPROTONOSUPPORT));
    let tcp_only = [family, ALLOWED, ALLOWED];
    let any_only = [family, protocol, ALLOWED];
    let never = [family, protocol, protocol];
    let (flags, cloexec) = (0o2_004_000, 0o2_000_000);
    vec![
        (2, 1, 0, tcp_only),
        (2, 1 | flags, 6, tcp_only),
        (10, 1 | cloexec, 6, tcp_only),
        (2, 1, 262, any_only),
        (2, 1, 132, never),
        (2, 1, 256, never),
        (2, 2, 0, any_only),
        (10, 2 | flags, 17, any_only),
        (2, 2, 1, any_only),
        (10, 2, 58, any_only),
        (2, 2, 33, never),
        (2, 3, 1, [family, EPERM, EPERM]),
        (10, 3 | cloexec, 255, [family, EPERM, EPERM]),
        // SOCK_PACKET, which becomes AF_PACKET.
        (2, 10, 0x300, never),
        (2, 5, 132, never),
        (2, 6, 33, never),
        (16, 3, 0, [ALLOWED; 3]),
        (16, 2 | cloexec, 0, [ALLOWED; 3]),
        (16, 3, 9, [protocol; 3]),
        (16, 3, 16, [protocol; 3]),
        (17, 3, 0x300, [family; 3]),
        (40, 1, 0, [family; 3]),
        (38, 5, 0, [family; 3]),
        (31, 3, 1, [family; 3]),
        (43, 1, 0, [family; 3]),
        (21, 5, 0, [family; 3]),
        (30, 1, 0, [family; 3]),
        (44, 3, 0, [family; 3]),
        (0, 1, 0, [family; 3]),
        (0xffff_ffff, 1, 0, [family; 3]),
    ]
}

#[test]
fn sockets_are_made_as_net_says() {
    let nets = [NetAccess::None, tcp(), NetAccess::Any];
    for unix in [UnixAccess::None, UnixAccess::Any] {
        let machines: Vec<_> = nets.iter().map(|net| ordinary(net.clone(), unix.clone())).collect();
        for (family, kind, protocol, wants) in socket_rows() {
            for (machine, want) in machines.iter().zip(wants) {
                check(machine, libc::SYS_socket, &[family, kind, protocol], want);
            }
        }
    }
}

#[test]
fn unix_sockets_are_made_as_unix_says() {
    let family = refused(libc::EAFNOSUPPORT);
    for net in [NetAccess::None, tcp(), NetAccess::Any] {
        let (with, without) = (ordinary(net.clone(), UnixAccess::Any), ordinary(net, UnixAccess::None));
        let paths = ordinary(NetAccess::None, UnixAccess::Paths(Vec::new()));
        for kind in [1, 2, 3, 5, 0o2_000_001, 0o2_004_002] {
            check(&with, libc::SYS_socket, &[1, kind], ALLOWED);
            check(&paths, libc::SYS_socket, &[1, kind], ALLOWED);
            check(&without, libc::SYS_socket, &[1, kind], family);
            check(&with, libc::SYS_socketpair, &[1, kind], ALLOWED);
            let is_connected = [1, 5].contains(&(kind & 0xf));
            let want = if is_connected { ALLOWED } else { refused(libc::ESOCKTNOSUPPORT) };
            check(&without, libc::SYS_socketpair, &[1, kind], want);
        }
        check(&with, libc::SYS_socketpair, &[30, 1], family);
    }
}

#[test]
fn every_family_is_there_for_any_and_any_alone() {
    let any = |net, unix| machine(SyscallSet::Any, net, unix, MetadataCalls::Refused);
    check(&any(NetAccess::Any, UnixAccess::Any), libc::SYS_socket, &[17, 3, 0], ALLOWED);
    check(&any(NetAccess::Any, UnixAccess::None), libc::SYS_socket, &[17, 3, 0], ALLOWED);
    let family = refused(libc::EAFNOSUPPORT);
    check(&any(NetAccess::Any, UnixAccess::None), libc::SYS_socket, &[1, 1, 0], family);
    check(&any(tcp(), UnixAccess::Any), libc::SYS_socket, &[17, 3, 0], family);
}

#[test]
fn connections_to_ports_are_made_by_connect_alone() {
    let fast_open = 0x2000_0000;
    let refusal = refused(libc::EOPNOTSUPP);
    for (net, want) in [(tcp(), refusal), (NetAccess::Any, ALLOWED)] {
        let machine = ordinary(net, UnixAccess::Any);
        for (call, flags) in [(libc::SYS_sendto, 3), (libc::SYS_sendmmsg, 3), (libc::SYS_sendmsg, 2)] {
            let mut arguments = vec![0; flags];
            arguments.push(fast_open | 0x4000);
            check(&machine, call, &arguments, want);
            arguments[flags] = 0x4000;
            check(&machine, call, &arguments, ALLOWED);
        }
        let want = if want == ALLOWED { ALLOWED } else { refused(libc::ENOENT) };
        check(&machine, libc::SYS_setsockopt, &[0, 6, 31], want);
        check(&machine, libc::SYS_setsockopt, &[0, 6, 1], ALLOWED);
        check(&machine, libc::SYS_setsockopt, &[0, 1, 31], ALLOWED);
    }
}

#[test]
fn handed_sockets_are_not_connected_where_there_are_no_others() {
    let refusal = refused(libc::EACCES);
    let rows = [
        (NetAccess::None, UnixAccess::None, refusal, refusal),
        (tcp(), UnixAccess::None, ALLOWED, refusal),
        (NetAccess::Any, UnixAccess::None, ALLOWED, ALLOWED),
        (NetAccess::None, UnixAccess::Any, ALLOWED, ALLOWED),
    ];
    for (net, unix, connect, listen) in rows {
        let machine = ordinary(net, unix);
        check(&machine, libc::SYS_connect, &[0], connect);
        check(&machine, libc::SYS_listen, &[0], listen);
    }
}

#[test]
fn metadata_stays_where_nothing_is_written() {
    for syscalls in [SyscallSet::Default, SyscallSet::Strict, SyscallSet::Any] {
        let machine = machine(syscalls, NetAccess::None, UnixAccess::None, MetadataCalls::Refused);
        for call in [libc::SYS_fchmod, libc::SYS_fchmodat, 452, libc::SYS_fchown, libc::SYS_utimensat] {
            check(&machine, call, &[], EPERM);
        }
        for call in [libc::SYS_setxattr, libc::SYS_fremovexattr, 463, 466, 469] {
            check(&machine, call, &[], refused(libc::EOPNOTSUPP));
        }
        // FS_IOC_SETFLAGS, FS_IOC_FSSETXATTR, FS_IOC_SETVERSION, BTRFS_IOC_SUBVOL_CREATE,
        // FS_IOC_ENABLE_VERITY.
        for request in [0x4008_6602, 0x401c_5820, 0x4008_7602, 0x5000_940e, 0x4080_6685] {
            check(&machine, libc::SYS_ioctl, &[0, request], refused(libc::ENOTTY));
        }
        for request in [0x8008_6601, 0x801c_581f, 0x5401] {
            check(&machine, libc::SYS_ioctl, &[0, request], ALLOWED);
        }
        let want = if syscalls == SyscallSet::Any { ALLOWED } else { EPERM };
        check(&machine, libc::SYS_ioctl, &[0, 0x5412], want);
    }
}

#[test]
fn a_file_in_memory_is_data_where_nothing_written_is_executed() {
    let (net, unix) = (NetAccess::Any, UnixAccess::Any);
    for (syscalls, memory_files, want) in [
        (SyscallSet::Default, MemoryFiles::Data, refused(libc::EACCES)),
        (SyscallSet::Strict, MemoryFiles::Data, refused(libc::EACCES)),
        (SyscallSet::Default, MemoryFiles::Executable, ALLOWED),
        (SyscallSet::Strict, MemoryFiles::Executable, ALLOWED),
    ] {
        let metadata = MetadataCalls::Allowed;
        let request = FilterRequest { syscalls, net: &net, unix: &unix, metadata, memory_files };
        let machine = FilterMachine::new(&syscall_filter(&request).expect("something is filtered"));
        // With and without MFD_CLOEXEC and MFD_ALLOW_SEALING, and MFD_NOEXEC_SEAL among them.
        for flags in [0, 3] {
            check(&machine, libc::SYS_memfd_create, &[0, flags], want);
            check(&machine, libc::SYS_memfd_create, &[0, flags | 8], ALLOWED);
        }
    }
}
