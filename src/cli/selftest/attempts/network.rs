//! Attempts to reach something by sockets.

use std::io;
use std::net::{Ipv4Addr, SocketAddrV4, TcpListener, TcpStream, UdpSocket};
use std::os::fd::{AsRawFd, OwnedFd};
use std::os::linux::net::SocketAddrExt;
use std::os::unix::net::{SocketAddr, UnixDatagram, UnixStream};

use nix::sys::socket::{
    AddressFamily, MsgFlags, SockFlag, SockProtocol, SockType, SockaddrIn, connect, sendto, socket,
};

use crate::sys;

use super::super::escape_attempt::{EscapeAttempt, attempt};
use super::super::promise::ConfinedPart::{Abstract, Family, Listen, Net, Tcp, Unix};

pub(super) const ATTEMPTS: &[EscapeAttempt] = &[
    attempt("tcp", "connect by TCP", Tcp, |on| TcpStream::connect(place(on.tcp_port)).map(drop)),
    attempt("tcp-multipath", "connect by multipath TCP", Net, |on| {
        let multipath = sys::multipath_socket()?;
        Ok(connect(multipath.as_raw_fd(), &SockaddrIn::from(place(on.tcp_port)))?)
    }),
    attempt("tcp-fast-open", "connect by the first data", Tcp, |on| {
        let stream = made(AddressFamily::Inet, SockType::Stream, None)?;
        let address = SockaddrIn::from(place(on.tcp_port));
        let flags = MsgFlags::from_bits_retain(libc::MSG_FASTOPEN);
        Ok(sendto(stream.as_raw_fd(), b"x", &address, flags).map(drop)?)
    }),
    attempt("tcp-listen", "accept TCP connections", Listen, |_| TcpListener::bind(place(0)).map(drop)),
    attempt("udp", "send by UDP", Net, |on| {
        UdpSocket::bind(place(0))?.send_to(b"x", place(on.udp_port)).map(drop)
    }),
    attempt("icmp", "make a datagram socket of ICMP", Net, |_| {
        made(AddressFamily::Inet, SockType::Datagram, Some(SockProtocol::Icmp)).map(drop)
    }),
    attempt("raw", "make a raw socket", Family, |_| {
        made(AddressFamily::Inet, SockType::Raw, Some(SockProtocol::Icmp)).map(drop)
    }),
    attempt("packet", "make a packet socket", Family, |_| {
        made(AddressFamily::Packet, SockType::Datagram, None).map(drop)
    }),
    attempt("vsock", "make a socket to the host of a virtual machine", Family, |_| {
        made(AddressFamily::Vsock, SockType::Stream, None).map(drop)
    }),
    attempt("unix-path", "connect to a unix socket outside", Unix, |on| {
        UnixStream::connect(on.outside.join("socket")).map(drop)
    }),
    attempt("unix-datagram", "send to a unix socket outside", Unix, |on| {
        UnixDatagram::unbound()?.send_to(b"x", on.outside.join("datagram")).map(drop)
    }),
    attempt("unix-pair", "send to it from a pair of datagram sockets", Unix, |on| {
        UnixDatagram::pair()?.0.send_to(b"x", on.outside.join("datagram")).map(drop)
    }),
    attempt("unix-abstract", "connect to an abstract unix socket", Abstract, |on| {
        UnixStream::connect_addr(&SocketAddr::from_abstract_name(&on.abstract_name)?).map(drop)
    }),
    attempt("manager", "connect to the service manager, the bus or the journal", Unix, |on| {
        let mut failure = io::Error::from_raw_os_error(libc::ENOENT);
        for path in &on.manager {
            match UnixStream::connect(path) {
                Ok(_) => return Ok(()),
                Err(error) => failure = error,
            }
        }
        Err(failure)
    }),
];

fn place(port: u16) -> SocketAddrV4 {
    SocketAddrV4::new(Ipv4Addr::LOCALHOST, port)
}

fn made(family: AddressFamily, kind: SockType, protocol: Option<SockProtocol>) -> io::Result<OwnedFd> {
    Ok(socket(family, kind, SockFlag::SOCK_CLOEXEC, protocol)?)
}
