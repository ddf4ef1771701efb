//! Sockets by `net` and `unix`: which can be made, and what they can be used for where a port or a path is
//! restricted by other means.

use crate::rules::{NetAccess, UnixAccess};

use super::names::{NamedSyscall, call};
use super::verdict::SyscallVerdict;
use super::verdict::{refuse_bits, switch, switch_bits};

use SyscallVerdict::Allow;

/// The bits of a socket's type that are not flags.
const SOCKET_TYPE: u32 = 0xf;

const AF_UNIX: u32 = 1;
const AF_INET: u32 = 2;
const AF_INET6: u32 = 10;
const AF_NETLINK: u32 = 16;

const SOCK_STREAM: u32 = 1;
const SOCK_DGRAM: u32 = 2;
const SOCK_RAW: u32 = 3;
const SOCK_SEQPACKET: u32 = 5;

const IPPROTO_IP: u32 = 0;
const IPPROTO_ICMP: u32 = 1;
const IPPROTO_TCP: u32 = 6;
const IPPROTO_UDP: u32 = 17;
const IPPROTO_ICMPV6: u32 = 58;
const IPPROTO_UDPLITE: u32 = 136;
const IPPROTO_MPTCP: u32 = 262;

const NETLINK_ROUTE: u32 = 0;

/// Connects with the first data, past the check of the port.
const MSG_FASTOPEN: u32 = 0x2000_0000;

/// An option of `SOL_TCP` that puts another protocol in the place of TCP, SMC among them.
const SOL_TCP: u32 = 6;
const TCP_ULP: u32 = 31;

/// What restricts sockets.
pub(super) struct SocketRules<'a> {
    pub(super) net: &'a NetAccess,
    pub(super) unix: &'a UnixAccess,
    /// Whether `syscalls = any`: then `net = any` means every family.
    pub(super) is_every_family: bool,
}

impl SocketRules<'_> {
    /// Whether they restrict nothing.
    pub(super) fn are_void(&self) -> bool {
        self.has_every_family() && !self.is_without_unix()
    }

    /// The calls that they restrict.
    pub(super) fn verdicts(&self) -> Vec<(NamedSyscall, SyscallVerdict)> {
        let mut verdicts =
            vec![(call!(SYS_socket), self.socket()), (call!(SYS_socketpair), self.socketpair())];
        if matches!(self.net, NetAccess::Tcp(_)) {
            let refusal = SyscallVerdict::refuse(libc::EOPNOTSUPP);
            verdicts.extend([
                (call!(SYS_sendto), refuse_bits(3, MSG_FASTOPEN, refusal.clone())),
                (call!(SYS_sendmsg), refuse_bits(2, MSG_FASTOPEN, refusal.clone())),
                (call!(SYS_sendmmsg), refuse_bits(3, MSG_FASTOPEN, refusal)),
                (call!(SYS_setsockopt), without_upper_protocols()),
            ]);
        }
        if self.is_without_unix() && !matches!(self.net, NetAccess::Any) {
            let refusal = SyscallVerdict::refuse(libc::EACCES);
            verdicts.push((call!(SYS_listen), refusal.clone()));
            if matches!(self.net, NetAccess::None) {
                verdicts.push((call!(SYS_connect), refusal));
            }
        }
        verdicts
    }

    fn is_without_unix(&self) -> bool {
        matches!(self.unix, UnixAccess::None)
    }

    fn has_every_family(&self) -> bool {
        self.is_every_family && matches!(self.net, NetAccess::Any)
    }

    fn socket(&self) -> SyscallVerdict {
        let no_family = SyscallVerdict::refuse(libc::EAFNOSUPPORT);
        let unix = if self.is_without_unix() { no_family.clone() } else { Allow };
        if self.has_every_family() {
            return switch(0, [(vec![AF_UNIX], unix)], Allow);
        }
        let netlink = switch(2, [(vec![NETLINK_ROUTE], Allow)], no_protocol());
        let families =
            [(vec![AF_UNIX], unix), (vec![AF_INET, AF_INET6], self.internet()), (vec![AF_NETLINK], netlink)];
        switch(0, families, no_family)
    }

    /// A raw socket gets the error that it gets without the capability. `SOCK_PACKET`, which the kernel turns
    /// into another family, is among the types that are not named.
    fn internet(&self) -> SyscallVerdict {
        let only = |protocols: &[u32]| switch(2, [(protocols.to_vec(), Allow)], no_protocol());
        let stream = match self.net {
            NetAccess::None => return SyscallVerdict::refuse(libc::EAFNOSUPPORT),
            NetAccess::Tcp(_) => only(&[IPPROTO_IP, IPPROTO_TCP]),
            NetAccess::Any => only(&[IPPROTO_IP, IPPROTO_TCP, IPPROTO_MPTCP]),
        };
        let mut types = vec![(vec![SOCK_STREAM], stream)];
        types.push((vec![SOCK_RAW], SyscallVerdict::refuse(libc::EPERM)));
        if matches!(self.net, NetAccess::Any) {
            let protocols = [IPPROTO_IP, IPPROTO_UDP, IPPROTO_ICMP, IPPROTO_ICMPV6, IPPROTO_UDPLITE];
            types.push((vec![SOCK_DGRAM], only(&protocols)));
        }
        switch_bits(1, SOCKET_TYPE, types, no_protocol())
    }

    /// A pair of datagram sockets can send to any path, and the kernel makes one of `SOCK_RAW` too.
    fn socketpair(&self) -> SyscallVerdict {
        let connected = vec![(vec![SOCK_STREAM, SOCK_SEQPACKET], Allow)];
        let other_type = SyscallVerdict::refuse(libc::ESOCKTNOSUPPORT);
        let unix = match self.is_without_unix() {
            true => switch_bits(1, SOCKET_TYPE, connected, other_type),
            false => Allow,
        };
        let other_family =
            if self.has_every_family() { Allow } else { SyscallVerdict::refuse(libc::EAFNOSUPPORT) };
        switch(0, [(vec![AF_UNIX], unix)], other_family)
    }
}

fn no_protocol() -> SyscallVerdict {
    SyscallVerdict::refuse(libc::EPROTONOSUPPORT)
}

/// The error is the kernel's for a protocol that it does not have.
fn without_upper_protocols() -> SyscallVerdict {
    let options = switch(2, [(vec![TCP_ULP], SyscallVerdict::refuse(libc::ENOENT))], Allow);
    switch(1, [(vec![SOL_TCP], options)], Allow)
}
