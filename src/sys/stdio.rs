//! Receives the descriptors of a request from its connection, in a process that serves that call alone: its
//! launcher or its relay. The process may live in another's memory (`clone_vm.rs`): nothing here allocates,
//! can panic, or looks at `errno`. The files' types come from the kernel and never from a file system, which
//! may be the caller's own and not answer.
#![cfg_attr(not(test), deny(clippy::indexing_slicing))]

use std::mem::zeroed;
use std::os::fd::{AsRawFd, BorrowedFd};

use nix::errno::Errno;

use crate::limits::{MESSAGE_FDS_MAX, REQUEST_FDS};

use super::in_child::ChildFd;
use super::raw_message::{ControlBuffer, own, receive_raw};
use super::syscall;
use super::text::text_with_number;
use super::unfit_stdio::{UnfitKind, UnfitStdio};

/// Receives the message that waits on a connection, and gives its descriptors, if they can be a command's
/// stdin, stdout and stderr; the message's bytes are dropped. Errors: they cannot, or no message waits
/// (`Count(0)`). After an error every descriptor that came stays open without an owner: closing it might
/// block for ever, so the end of this process closes them.
pub fn take_stdio(connection: BorrowedFd<'_>) -> Result<[ChildFd; REQUEST_FDS], UnfitStdio> {
    let (numbers, count) = arrived(connection)?;
    let three = numbers.first_chunk().filter(|_| usize::from(count) == REQUEST_FDS);
    let Some(three) = three else { return Err(UnfitStdio::Count(count)) };
    for (index, number) in (0..).zip(three) {
        if let Some(oddity) = oddity(i32::from_ne_bytes(*number)) {
            return Err(UnfitStdio::Kind(index, oddity));
        }
    }
    Ok(three.map(|number| own(&number)))
}

/// Receives the message that waits on a connection, and gives the numbers of its descriptors and their count.
/// Errors: none waits (`Count(0)`), or the kernel cut them.
pub(super) fn arrived(connection: BorrowedFd<'_>) -> Result<([[u8; 4]; MESSAGE_FDS_MAX], u8), UnfitStdio> {
    let mut control = ControlBuffer::new();
    let arrived = receive_raw(connection, &mut [0], &mut control.0, libc::MSG_DONTWAIT);
    let Ok(arrived) = arrived else { return Err(UnfitStdio::Count(0)) };
    let mut numbers = [[0; 4]; MESSAGE_FDS_MAX];
    let mut count: u8 = 0;
    control.each_item(&arrived, |kind, data| {
        if kind == libc::SCM_RIGHTS {
            for number in data.as_chunks().0 {
                if let Some(place) = numbers.get_mut(usize::from(count)) {
                    *place = *number;
                }
                count = count.saturating_add(1);
            }
        }
    });
    if arrived.flags & libc::MSG_CTRUNC != 0 { Err(UnfitStdio::Cut) } else { Ok((numbers, count)) }
}

/// The reason why a descriptor is not one end of a pipe: the end that is written, or the one that is read.
pub(super) fn oddity_of_pipe(number: &[u8; 4], is_written: bool) -> Option<UnfitKind> {
    let number = i32::from_ne_bytes(*number);
    let Ok(flags) = status_flags(number) else { return Some(UnfitKind::Unreadable) };
    if flags & libc::O_PATH != 0 || format_of(number) != Ok(libc::S_IFIFO) {
        return Some(UnfitKind::NoPipe);
    }
    let other = if is_written { libc::O_RDONLY } else { libc::O_WRONLY };
    (flags & libc::O_ACCMODE == other).then_some(UnfitKind::OtherEnd)
}

/// The reason why a descriptor cannot be a command's stdin, stdout or stderr, if there is one. Neither waits
/// for a file system nor changes anything.
pub fn oddity_of(descriptor: BorrowedFd<'_>) -> Option<UnfitKind> {
    oddity(descriptor.as_raw_fd())
}

fn oddity(number: i32) -> Option<UnfitKind> {
    let Ok(flags) = status_flags(number) else { return Some(UnfitKind::Unreadable) };
    if flags & libc::O_PATH != 0 {
        return Some(UnfitKind::PathHandle);
    }
    let Ok(format) = format_of(number) else { return Some(UnfitKind::Unreadable) };
    match format {
        libc::S_IFIFO | libc::S_IFCHR | libc::S_IFBLK => None,
        libc::S_IFSOCK => listens(number).unwrap_or(true).then_some(UnfitKind::Listener),
        libc::S_IFREG => named(number, |link| match link {
            // The kernel gives a namespace the type of a regular file; its name is like `mnt:[4026531840]`.
            [b'/', ..] => None,
            _ if link.starts_with(b"anon_inode:") || link.starts_with(b"pidfd:") => {
                Some(UnfitKind::of_link(link))
            }
            _ => Some(UnfitKind::Namespace),
        }),
        libc::S_IFDIR => Some(UnfitKind::Directory),
        0 => named(number, |link| Some(UnfitKind::of_link(link))),
        _ => Some(UnfitKind::Unknown),
    }
}

/// Judges a descriptor by the name that `/proc/self/fd` shows for its file, or the beginning of a long name.
/// `readlinkat(2)`: newer architectures have no `readlink`.
#[allow(unsafe_code, reason = "nix's readlink allocates, and reads errno")]
fn named(number: i32, judge: impl FnOnce(&[u8]) -> Option<UnfitKind>) -> Option<UnfitKind> {
    let path = link_path(number.unsigned_abs());
    let mut link = [0; LINK_BYTES];
    // The first is a directory, which an absolute path does not need.
    let arguments = [0, path.as_ptr().expose_provenance(), link.as_mut_ptr().expose_provenance(), link.len()];
    // SAFETY: the path is a C string and the buffer is as long as is said; both outlive the call.
    let read = unsafe { syscall::call(libc::SYS_readlinkat, arguments) };
    match read.ok().and_then(|length| link.get(..length)) {
        Some(link) => judge(link),
        None => Some(UnfitKind::Unreadable),
    }
}

/// Enough for every name that is compared.
const LINK_BYTES: usize = 64;

/// The path of a descriptor's link, and NULs after it.
fn link_path(number: u32) -> [u8; LINK_PATH_BYTES] {
    text_with_number(b"/proc/self/fd/", number, b"")
}

/// The longest such path, and a NUL.
const LINK_PATH_BYTES: usize = b"/proc/self/fd/".len() + 11;

/// `fcntl(2)`, `F_GETFL`.
#[allow(unsafe_code, reason = "nix's fcntl reads errno")]
fn status_flags(number: i32) -> nix::Result<i32> {
    let arguments = [number.unsigned_abs() as usize, libc::F_GETFL.unsigned_abs() as usize, 0];
    // SAFETY: three integers go in, no memory is touched.
    let flags = unsafe { syscall::call(libc::SYS_fcntl, arguments) }?;
    i32::try_from(flags).map_err(|_| Errno::EOVERFLOW)
}

/// The type of a file, from what the kernel knows already. `statx(2)`, Linux 4.11: `AT_STATX_DONT_SYNC` has
/// FUSE and network file systems answer from memory.
#[allow(unsafe_code, reason = "nix has no statx")]
fn format_of(number: i32) -> nix::Result<u32> {
    // SAFETY: all zeroes is a valid statx.
    let mut found: libc::statx = unsafe { zeroed() };
    let flags = (libc::AT_EMPTY_PATH | libc::AT_STATX_DONT_SYNC).unsigned_abs() as usize;
    let (path, mask) = (c"".as_ptr().expose_provenance(), libc::STATX_TYPE as usize);
    let arguments = [number.unsigned_abs() as usize, path, flags, mask, (&raw mut found).expose_provenance()];
    // SAFETY: the path is a C string, and `found` is a whole statx; both outlive the call.
    unsafe { syscall::call(libc::SYS_statx, arguments) }?;
    Ok(u32::from(found.stx_mode) & libc::S_IFMT)
}

/// Whether a socket listens. `getsockopt(2)`, `SO_ACCEPTCONN`.
#[allow(unsafe_code, reason = "nix's getsockopt reads errno")]
fn listens(number: i32) -> nix::Result<bool> {
    let mut listens: libc::c_int = 0;
    let mut length: libc::socklen_t = 4;
    let [level, option] =
        [libc::SOL_SOCKET, libc::SO_ACCEPTCONN].map(|number| number.unsigned_abs() as usize);
    let (value, length) = ((&raw mut listens).expose_provenance(), (&raw mut length).expose_provenance());
    // SAFETY: one int is written, of which the length is given; both outlive the call.
    unsafe {
        syscall::call(libc::SYS_getsockopt, [number.unsigned_abs() as usize, level, option, value, length])
    }?;
    Ok(listens != 0)
}

#[cfg(test)]
mod tests {
    use std::fs::File;
    use std::os::fd::AsFd;
    use std::os::unix::net::{UnixListener, UnixStream};

    use nix::sys::epoll::{Epoll, EpollCreateFlags};
    use nix::sys::eventfd::EventFd;
    use nix::sys::inotify::{InitFlags, Inotify};
    use nix::sys::memfd::{MFdFlags, memfd_create};
    use nix::unistd::{Pid, getpid};

    use super::super::{open_pidfd, pair, pass_credentials, send};
    use super::*;

    fn null() -> File {
        File::options().read(true).write(true).open("/dev/null").expect("there is /dev/null")
    }

    #[test]
    fn what_can_be_read_or_written_is_taken() {
        let (near, far) = pair().expect("a pair");
        let (read, write) = nix::unistd::pipe().expect("a pipe");
        let memory = memfd_create(c"a", MFdFlags::MFD_CLOEXEC).expect("a memfd");
        let (null, file) = (null(), File::open("/proc/self/status").expect("a file"));
        pass_credentials(far.as_fd()).expect("credentials on");
        let stream = UnixStream::pair().expect("a pair");
        let taken =
            [[null.as_fd(), file.as_fd(), memory.as_fd()], [read.as_fd(), write.as_fd(), stream.0.as_fd()]];
        for three in taken {
            send(near.as_fd(), b"whatever", &three).expect("sent");
            let got = take_stdio(far.as_fd()).expect("three that are fit");
            assert!(got.iter().all(|fd| fd.as_fd().as_raw_fd() > 2));
        }
        assert_eq!(take_stdio(far.as_fd()).expect_err("nothing there"), UnfitStdio::Count(0));
    }

    #[test]
    fn what_cannot_is_named_with_its_place() {
        let directory = File::open("/").expect("a directory");
        let socket = UnixListener::bind_addr(&abstract_name()).expect("a listener");
        let event = EventFd::new().expect("an eventfd");
        let epoll = Epoll::new(EpollCreateFlags::empty()).expect("an epoll");
        let watch = Inotify::init(InitFlags::empty()).expect("an inotify");
        let process = open_pidfd(getpid()).expect("a pidfd");
        let namespace = File::open("/proc/self/ns/mnt").expect("a namespace");
        let odd = [
            (directory.as_fd(), UnfitKind::Directory),
            (socket.as_fd(), UnfitKind::Listener),
            (event.as_fd(), UnfitKind::Eventfd),
            (epoll.0.as_fd(), UnfitKind::Epoll),
            (watch.as_fd(), UnfitKind::Inotify),
            (process.as_fd(), UnfitKind::Pidfd),
            (namespace.as_fd(), UnfitKind::Namespace),
        ];
        let (near, far) = pair().expect("a pair");
        for (fd, want) in odd {
            let null = null();
            for place in 0..REQUEST_FDS {
                let mut three = [null.as_fd(); REQUEST_FDS];
                three[place] = fd;
                send(near.as_fd(), b"x", &three).expect("sent");
                let unfit = take_stdio(far.as_fd()).expect_err("one is odd");
                assert_eq!(unfit, UnfitStdio::Kind(u8::try_from(place).expect("small"), want));
            }
        }
    }

    fn abstract_name() -> std::os::unix::net::SocketAddr {
        use std::os::linux::net::SocketAddrExt as _;
        let name = format!("sluice-stdio-{}", Pid::this());
        std::os::unix::net::SocketAddr::from_abstract_name(name).expect("a name")
    }

    #[test]
    fn other_numbers_of_descriptors_are_told() {
        let (near, far) = pair().expect("a pair");
        let null = null();
        for count in [1, 2, 4, MESSAGE_FDS_MAX, MESSAGE_FDS_MAX + 1] {
            send(near.as_fd(), b"x", &vec![null.as_fd(); count]).expect("sent");
            let unfit = take_stdio(far.as_fd()).expect_err("not three");
            assert_eq!(unfit, UnfitStdio::Count(u8::try_from(count).expect("small")));
        }
        // Far more, because a few descriptors too many fit into the room for credentials, which none take
        // here.
        send(near.as_fd(), b"x", &[null.as_fd(); 4 * MESSAGE_FDS_MAX]).expect("sent");
        assert_eq!(take_stdio(far.as_fd()).expect_err("far too many"), UnfitStdio::Cut);
    }

    #[test]
    fn a_link_has_its_path() {
        for (number, want) in
            [(0, "/proc/self/fd/0"), (42, "/proc/self/fd/42"), (u32::MAX, "/proc/self/fd/4294967295")]
        {
            let path = link_path(number);
            let text: Vec<u8> = path.into_iter().take_while(|byte| *byte != 0).collect();
            assert_eq!(String::from_utf8_lossy(&text), want);
            assert_eq!(path.last(), Some(&0));
        }
    }
}
