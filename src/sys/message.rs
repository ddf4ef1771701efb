//! Messages with descriptors and the sender's credentials (`unix(7)`, `cmsg(3)`).

use std::io::{self, IoSlice};
use std::os::fd::{AsRawFd, BorrowedFd, OwnedFd, RawFd};
use std::thread;
use std::time::Instant;

use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags};
use nix::sys::socket::{ControlMessage, MsgFlags, sendmsg};

use crate::limits::SEND_RETRY;

use super::poll::poll_until;
use super::raw_message::{CREDENTIALS_WORDS, ControlBuffer, each_item, own, receive_raw};
use super::retry::uninterrupted;

/// The sender of a message, as the kernel names it (`SCM_CREDENTIALS`), seen from this process's namespaces.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Sender {
    /// The process; 0 when it is not visible in this process's pid namespace.
    pub pid: i32,
    /// Its user.
    pub uid: u32,
    /// Its group.
    pub gid: u32,
}

/// One message with its descriptors and sender. Every descriptor that the kernel installed is in
/// `descriptors`, also when others were cut.
#[derive(Debug)]
pub struct ReceivedMessage {
    /// The bytes, cut at the capacity asked for.
    pub bytes: Vec<u8>,
    /// The descriptors, close-on-exec.
    pub descriptors: Vec<OwnedFd>,
    /// Whether the kernel could not deliver all descriptors (`MSG_CTRUNC`).
    pub descriptors_cut: bool,
    /// The sender, where credentials are passed on.
    pub sender: Option<Sender>,
}

/// A message that was peeked at: it stays in the queue, with the descriptors that it brings.
#[derive(Debug, PartialEq, Eq)]
pub struct PeekedMessage {
    /// The bytes, cut at the capacity asked for.
    pub bytes: Vec<u8>,
    /// Bytes of the whole message.
    pub length: usize,
    /// Whether it brings descriptors, which are neither counted nor installed.
    pub brings_descriptors: bool,
    /// The sender, where credentials are passed on.
    pub sender: Option<Sender>,
}

/// Peeks at the next message, at most `capacity` bytes of it; `None` is the end of the connection.
/// `MSG_PEEK`, with room for credentials and no more: so the kernel installs no descriptors, and only says
/// that there are some (`MSG_CTRUNC`). While this runs, no other process may receive the message: else this
/// call would drop the last reference to its descriptors, and might have to wait for their close. Errors:
/// `EAGAIN` on a non-blocking socket without a message.
pub fn peek(socket: BorrowedFd<'_>, capacity: usize) -> io::Result<Option<PeekedMessage>> {
    let mut few = [0; PEEK_BYTES];
    let mut control = [0; CREDENTIALS_WORDS];
    let flags = libc::MSG_PEEK | libc::MSG_TRUNC;
    let room = capacity.min(PEEK_BYTES);
    let arrived = receive_raw(socket, &mut few[..room], &mut control, flags)?;
    let (length, brings_descriptors) = (arrived.length, arrived.flags & libc::MSG_CTRUNC != 0);
    let mut sender = None;
    each_item(&control, &arrived, |kind, data| {
        sender = credentials(data).filter(|_| kind == libc::SCM_CREDENTIALS).or(sender);
    });
    if length == 0 && sender.is_none() && !brings_descriptors {
        return Ok(None);
    }
    let wanted = length.min(capacity);
    let mut bytes = few[..wanted.min(room)].to_vec();
    if wanted > room {
        bytes = vec![0; wanted];
        // The first message of the queue stays the first until this process, or a launcher or relay that it
        // asked to, receives it.
        let again = receive_raw(socket, &mut bytes, &mut control, flags)?;
        bytes.truncate(again.length);
    }
    Ok(Some(PeekedMessage { bytes, length, brings_descriptors, sender }))
}

/// Peeks at the message behind the first `offset` bytes of the queue, without its bytes; `None` is the end.
/// `SO_PEEK_OFF`, `socket(7)`, Linux 3.4. Later calls of [`peek`] also begin behind this message.
pub fn peek_behind(socket: BorrowedFd<'_>, offset: usize) -> io::Result<Option<PeekedMessage>> {
    set_peek_offset(socket, libc::c_int::try_from(offset).map_err(|_| Errno::EOVERFLOW)?)?;
    peek(socket, 0)
}

/// Has the kernel note whether anybody receives a message that is not empty, until [`stop_noting`]. Until
/// then nobody may peek. `SO_PEEK_OFF`, `socket(7)`: the offset falls by the bytes that are received.
pub fn start_noting(socket: BorrowedFd<'_>) -> io::Result<()> {
    set_peek_offset(socket, NOTED_FROM)
}

/// Whether a message was received since [`start_noting`]. Errors: `EINVAL` (that was not called).
pub fn was_received(socket: BorrowedFd<'_>) -> io::Result<bool> {
    match peek_offset(socket)? {
        ..0 => Err(Errno::EINVAL.into()),
        offset => Ok(offset < NOTED_FROM),
    }
}

/// Ends what [`start_noting`] began.
pub fn stop_noting(socket: BorrowedFd<'_>) -> io::Result<()> {
    set_peek_offset(socket, -1)
}

/// More bytes than one message has.
const NOTED_FROM: libc::c_int = 1 << 30;

#[allow(unsafe_code, reason = "nix does not have SO_PEEK_OFF")]
fn peek_offset(socket: BorrowedFd<'_>) -> io::Result<libc::c_int> {
    let (mut offset, mut length): (libc::c_int, libc::socklen_t) = (0, 4);
    let value = (&raw mut offset).cast();
    // SAFETY: the descriptor is borrowed, hence open, and one int is written, of which the length is given;
    // both outlive the call.
    let got = unsafe {
        libc::getsockopt(socket.as_raw_fd(), libc::SOL_SOCKET, libc::SO_PEEK_OFF, value, &raw mut length)
    };
    Errno::result(got)?;
    Ok(offset)
}

#[allow(unsafe_code, reason = "nix does not have SO_PEEK_OFF")]
fn set_peek_offset(socket: BorrowedFd<'_>, offset: libc::c_int) -> io::Result<()> {
    let (value, length) = ((&raw const offset).cast(), 4);
    // SAFETY: the descriptor is borrowed, hence open, and one int is read, of which the length is given.
    let set =
        unsafe { libc::setsockopt(socket.as_raw_fd(), libc::SOL_SOCKET, libc::SO_PEEK_OFF, value, length) };
    Errno::result(set)?;
    Ok(())
}

/// Receives the next message, at most `capacity` bytes of it. No bytes is an empty message or the end.
pub fn receive(socket: BorrowedFd<'_>, capacity: usize) -> io::Result<ReceivedMessage> {
    receive_flagged(socket, capacity, 0)
}

/// Like [`receive`], without waiting. Errors: `WouldBlock`.
pub fn try_receive(socket: BorrowedFd<'_>, capacity: usize) -> io::Result<ReceivedMessage> {
    receive_flagged(socket, capacity, libc::MSG_DONTWAIT)
}

fn receive_flagged(
    socket: BorrowedFd<'_>,
    capacity: usize,
    flags: libc::c_int,
) -> io::Result<ReceivedMessage> {
    let mut bytes = vec![0; capacity];
    let mut control = ControlBuffer::new();
    let arrived = receive_raw(socket, &mut bytes, &mut control.0, flags)?;
    bytes.truncate(arrived.length);
    let mut received = ReceivedMessage {
        bytes,
        descriptors: Vec::new(),
        descriptors_cut: arrived.flags & libc::MSG_CTRUNC != 0,
        sender: None,
    };
    control.each_item(&arrived, |kind, data| match kind {
        libc::SCM_RIGHTS => {
            received.descriptors.extend(data.chunks_exact(4).map(|number| own(number).into()))
        }
        libc::SCM_CREDENTIALS => received.sender = credentials(data),
        _ => {}
    });
    Ok(received)
}

/// Most bytes of a message that are peeked at in a buffer on the stack: nearly every request has fewer.
const PEEK_BYTES: usize = 2048;

fn credentials(data: &[u8]) -> Option<Sender> {
    let [pid, uid, gid] = data.as_chunks::<4>().0.first_chunk()?.map(i32::from_ne_bytes);
    Some(Sender { pid, uid: uid.cast_unsigned(), gid: gid.cast_unsigned() })
}

/// Sends one message with descriptors, and gives the number of bytes sent (all of them, except on a stream).
/// Errors: `EPIPE` or `ECONNRESET` (the other side is gone; no signal is raised), `EAGAIN`.
pub fn send(socket: BorrowedFd<'_>, bytes: &[u8], descriptors: &[BorrowedFd<'_>]) -> io::Result<usize> {
    send_flagged(socket, bytes, descriptors, MsgFlags::empty())
}

fn send_flagged(
    socket: BorrowedFd<'_>,
    bytes: &[u8],
    descriptors: &[BorrowedFd<'_>],
    flags: MsgFlags,
) -> io::Result<usize> {
    let numbers: Vec<RawFd> = descriptors.iter().map(AsRawFd::as_raw_fd).collect();
    let rights = [ControlMessage::ScmRights(&numbers)];
    let control = if numbers.is_empty() { &rights[..0] } else { &rights[..] };
    let parts = [IoSlice::new(bytes)];
    uninterrupted(|| sendmsg::<()>(socket.as_raw_fd(), &parts, control, flags | MsgFlags::MSG_NOSIGNAL, None))
}

/// Sends one message with descriptors, as [`send`] does, and waits until `give_up` at most: for room in the
/// receiver's queue, and while the user has too many descriptors in flight (`ETOOMANYREFS`). Their limit is
/// the sender's `RLIMIT_NOFILE`, but the count is that of all the user's processes, so any of them can cause
/// the error; as no event tells when it is over, the sending is tried again.
/// Errors: `TimedOut` (the queue stayed full), `ETOOMANYREFS`, `EPIPE` or `ECONNRESET`.
pub fn send_patiently(
    socket: BorrowedFd<'_>,
    bytes: &[u8],
    descriptors: &[BorrowedFd<'_>],
    give_up: Option<Instant>,
) -> io::Result<usize> {
    loop {
        let sent = send_flagged(socket, bytes, descriptors, MsgFlags::MSG_DONTWAIT);
        match sent.as_ref().err().and_then(io::Error::raw_os_error) {
            Some(libc::EAGAIN) => {
                if !poll_until(&mut [PollFd::new(socket, PollFlags::POLLOUT)], give_up)? {
                    return Err(io::ErrorKind::TimedOut.into());
                }
            }
            Some(libc::ETOOMANYREFS) if give_up.is_none_or(|give_up| Instant::now() < give_up) => {
                thread::sleep(SEND_RETRY);
            }
            _ => return sent,
        }
    }
}

#[cfg(test)]
mod tests {
    use std::os::fd::AsFd;

    use crate::limits::MESSAGE_FDS_MAX;
    use crate::sys::{discard, pair, pass_credentials};

    use super::*;

    #[test]
    fn a_full_queue_is_waited_for_until_the_deadline() {
        let (near, far) = pair().expect("a socket pair");
        let send = |until| send_patiently(near.as_fd(), b"x", &[far.as_fd()], Some(until));
        while send(Instant::now()).is_ok() {}
        let full = send(Instant::now()).expect_err("nobody reads");
        assert!(full.kind() == io::ErrorKind::TimedOut || full.raw_os_error() == Some(libc::ETOOMANYREFS));
    }

    #[test]
    fn a_message_brings_its_bytes_descriptors_and_sender() {
        let (near, far) = pair().expect("a socket pair");
        pass_credentials(far.as_fd()).expect("credentials on");
        send(near.as_fd(), b"hello", &[near.as_fd(), far.as_fd(), near.as_fd()]).expect("sent");
        for (capacity, bytes) in [(5, "hello"), (2, "he"), (0, "")] {
            let peeked = peek(far.as_fd(), capacity).expect("peeked").expect("a message");
            assert_eq!((peeked.bytes.as_slice(), peeked.length), (bytes.as_bytes(), 5));
            assert!(peeked.brings_descriptors && peeked.sender.is_some());
        }
        let received = receive(far.as_fd(), 5).expect("received");
        assert_eq!((received.bytes.as_slice(), received.descriptors.len()), (&b"hello"[..], 3));
        assert!(!received.descriptors_cut);
        assert_eq!(received.sender.map(|sender| sender.pid), i32::try_from(std::process::id()).ok());
    }

    #[test]
    fn descriptors_over_the_limit_are_cut_and_the_sender_is_still_known() {
        let (near, far) = pair().expect("a socket pair");
        pass_credentials(far.as_fd()).expect("credentials on");
        for (sent, arrived) in [(MESSAGE_FDS_MAX, MESSAGE_FDS_MAX), (MESSAGE_FDS_MAX + 1, MESSAGE_FDS_MAX)] {
            send(near.as_fd(), b"x", &vec![near.as_fd(); sent]).expect("sent");
            let received = receive(far.as_fd(), 1).expect("received");
            assert_eq!(received.descriptors.len(), arrived);
            assert_eq!(received.descriptors_cut, sent > arrived);
            assert!(received.sender.is_some());
        }
    }

    #[test]
    fn an_empty_message_is_not_the_end() {
        let (near, far) = pair().expect("a socket pair");
        pass_credentials(far.as_fd()).expect("credentials on");
        send(near.as_fd(), b"", &[]).expect("sent");
        let empty = peek(far.as_fd(), 9).expect("peeked").expect("a message");
        assert_eq!((empty.length, empty.brings_descriptors), (0, false));
        assert!(receive(far.as_fd(), 9).expect("received").bytes.is_empty());
        drop(near);
        assert_eq!(peek(far.as_fd(), 9).expect("peeked"), None);
    }

    #[test]
    fn a_long_message_is_looked_at_as_a_whole() {
        let (near, far) = pair().expect("a socket pair");
        let sent: Vec<u8> = (0..100_000_u32).map(|number| number.to_le_bytes()[0]).collect();
        send(near.as_fd(), &sent, &[]).expect("sent");
        let peeked = peek(far.as_fd(), 1 << 20).expect("peeked").expect("a message");
        assert_eq!((peeked.length, &peeked.bytes), (sent.len(), &sent));
        assert_eq!(peek(far.as_fd(), 5000).expect("peeked").expect("a message").bytes, sent[..5000]);
    }

    #[test]
    fn messages_behind_the_first_are_counted_where_they_are() {
        let (near, far) = pair().expect("a socket pair");
        pass_credentials(far.as_fd()).expect("credentials on");
        let null = std::fs::File::open("/dev/null").expect("there is /dev/null");
        for bytes in [&b"one"[..], b"", b"three", b""] {
            send(near.as_fd(), bytes, &[null.as_fd()]).expect("sent");
        }
        // Non-blocking, because the end may not come at once: a process that another test forked may hold the
        // other end for a while.
        crate::sys::never_wait(far.as_fd()).expect("a flag");
        let (mut offset, mut lengths) = (0, Vec::new());
        while let Ok(Some(message)) = peek_behind(far.as_fd(), offset) {
            assert!(message.brings_descriptors);
            offset += message.length;
            lengths.push(message.length);
        }
        assert_eq!(lengths, [3, 0, 5, 0]);
        assert_eq!((0..4).filter(|_| discard(far.as_fd()).expect("taken")).count(), 4);
    }

    #[test]
    fn it_is_noted_whether_a_message_was_received() {
        let (near, far) = pair().expect("a socket pair");
        pass_credentials(far.as_fd()).expect("credentials on");
        let length = || peek(far.as_fd(), 0).expect("peeked").map(|message| message.length);
        send(near.as_fd(), b"first", &[near.as_fd()]).expect("sent");
        for (is_received, next) in [(false, 5), (true, 2)] {
            start_noting(far.as_fd()).expect("noted");
            send(near.as_fd(), b"ab", &[]).expect("sent");
            let copy = far.try_clone().expect("a copy");
            if is_received {
                receive(copy.as_fd(), 9).expect("received");
            }
            assert_eq!(was_received(far.as_fd()).expect("it is known"), is_received);
            stop_noting(far.as_fd()).expect("ended");
            was_received(far.as_fd()).expect_err("nothing is noted any more");
            assert_eq!(length(), Some(next), "the first one that is there");
        }
    }
}
