//! Messages with descriptors and the sender's credentials (`unix(7)`, `cmsg(3)`).

use std::io::{self, IoSlice, IoSliceMut};
use std::mem::size_of;
use std::os::fd::{AsRawFd, BorrowedFd, FromRawFd, OwnedFd, RawFd};
use std::thread;
use std::time::Instant;

use nix::errno::Errno;
use nix::sys::socket::{ControlMessage, MsgFlags, sendmsg};

use crate::limits::{MESSAGE_FDS_MAX, SEND_RETRY};

use super::uninterrupted;

/// Who sent a message, in the kernel's words (`SCM_CREDENTIALS`), seen from this process's namespaces.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Sender {
    /// The process; 0 when it is not visible from here.
    pub pid: i32,
    /// Its user.
    pub uid: u32,
    /// Its group.
    pub gid: u32,
}

/// One message, with everything that came with it. Every descriptor that the kernel installed is in `descriptors`,
/// whatever else is wrong.
#[derive(Debug)]
pub struct Received {
    /// The bytes, cut at the capacity asked for.
    pub bytes: Vec<u8>,
    /// The descriptors, close-on-exec.
    pub descriptors: Vec<OwnedFd>,
    /// Whether the kernel could not deliver all descriptors (`MSG_CTRUNC`).
    pub descriptors_cut: bool,
    /// The sender, where credentials are passed on.
    pub sender: Option<Sender>,
}

/// The size in bytes of the message that waits, without taking it; 0 is an empty message or the end.
/// Errors: `EAGAIN` on a non-blocking socket without a message.
#[allow(unsafe_code, reason = "nix's recv reports what it copied, not the message's size")]
pub fn message_bytes(socket: BorrowedFd<'_>) -> io::Result<usize> {
    let flags = libc::MSG_PEEK | libc::MSG_TRUNC;
    uninterrupted(|| {
        // SAFETY: with length 0 the kernel writes nothing; MSG_TRUNC makes it return the message's whole size.
        Errno::result(unsafe { libc::recv(socket.as_raw_fd(), std::ptr::null_mut(), 0, flags) })
    })
    .map(isize::cast_unsigned)
}

/// Takes the next message, at most `capacity` bytes of it. No bytes is an empty message or the end.
pub fn receive(socket: BorrowedFd<'_>, capacity: usize) -> io::Result<Received> {
    let mut bytes = vec![0; capacity];
    let mut control = Control::new();
    let (length, control_length, flags) = receive_raw(socket, &mut bytes, &mut control)?;
    bytes.truncate(length);
    let mut received = Received {
        bytes,
        descriptors: Vec::new(),
        descriptors_cut: flags & libc::MSG_CTRUNC != 0,
        sender: None,
    };
    for (kind, data) in control.items(control_length) {
        match kind {
            libc::SCM_RIGHTS => received.descriptors.extend(data.chunks_exact(4).map(own)),
            libc::SCM_CREDENTIALS => received.sender = credentials(&data),
            _ => {}
        }
    }
    Ok(received)
}

/// Fills `bytes` with the first of what comes, which brings exactly three descriptors. Allocates nothing.
/// Errors: `UnexpectedEof` (it was the end, or less), `InvalidData` (other descriptors; those stay open).
pub fn receive_three(socket: BorrowedFd<'_>, bytes: &mut [u8]) -> io::Result<[OwnedFd; 3]> {
    let mut control = Control::new();
    let (length, control_length, _) = receive_raw(socket, bytes, &mut control)?;
    if length < bytes.len() {
        return Err(io::ErrorKind::UnexpectedEof.into());
    }
    let numbers = control.three(control_length).ok_or(io::ErrorKind::InvalidData)?;
    Ok(numbers.map(|number| own(&number)))
}

#[allow(unsafe_code, reason = "nix loses the descriptors of a message whose control data was cut")]
fn receive_raw(
    socket: BorrowedFd<'_>,
    bytes: &mut [u8],
    control: &mut Control,
) -> io::Result<(usize, usize, libc::c_int)> {
    let mut part = IoSliceMut::new(bytes);
    // SAFETY: all zeroes is an empty msghdr.
    let mut header: libc::msghdr = unsafe { std::mem::zeroed() };
    header.msg_iov = (&raw mut part).cast();
    header.msg_iovlen = 1;
    header.msg_control = control.0.as_mut_ptr().cast();
    header.msg_controllen = size_of::<Control>() as _;
    let length = uninterrupted(|| {
        // SAFETY: the header points to one iovec (IoSliceMut has its layout) and one control buffer, both of the
        // lengths given and both alive until after the call.
        Errno::result(unsafe { libc::recvmsg(socket.as_raw_fd(), &raw mut header, libc::MSG_CMSG_CLOEXEC) })
    })?;
    Ok((length.cast_unsigned(), header.msg_controllen as usize, header.msg_flags))
}

/// Words of control data: a header and credentials, which come first, a header and the most descriptors. Exact, as it
/// is what limits the descriptors.
const CONTROL_WORDS: usize =
    (HEADER_BYTES + 12).div_ceil(8) + (HEADER_BYTES + MESSAGE_FDS_MAX * 4).div_ceil(8);

/// Bytes of a control header: a word of length, two `int`s.
const HEADER_BYTES: usize = size_of::<usize>() + 8;

/// Room for what a message carries beside its bytes, aligned as the kernel writes it.
struct Control([u64; CONTROL_WORDS]);

impl Control {
    fn new() -> Self {
        Self([0; CONTROL_WORDS])
    }

    /// The three descriptors that are all of the first `length` bytes.
    fn three(&self, length: usize) -> Option<[[u8; 4]; 3]> {
        let mut bytes = [0; CONTROL_WORDS * 8];
        for (place, word) in bytes.chunks_exact_mut(8).zip(&self.0) {
            place.copy_from_slice(&word.to_ne_bytes());
        }
        let (header, data) = bytes.split_first_chunk::<HEADER_BYTES>()?;
        let (total, kind) = header.split_first_chunk::<{ size_of::<usize>() }>()?;
        let is_rights = int(&kind[..4]) == libc::SOL_SOCKET && int(&kind[4..]) == libc::SCM_RIGHTS;
        let is_all = usize::from_ne_bytes(*total) == HEADER_BYTES + 12 && length >= HEADER_BYTES + 12;
        data.as_chunks().0.first_chunk().filter(|_| is_rights && is_all).copied()
    }

    /// The type and data of each item of level `SOL_SOCKET` in the first `length` bytes.
    fn items(&self, length: usize) -> Vec<(libc::c_int, Vec<u8>)> {
        let bytes: Vec<u8> = self.0.iter().flat_map(|word| word.to_ne_bytes()).take(length).collect();
        let mut rest = bytes.as_slice();
        let mut items = Vec::new();
        while let Some((header, data)) = rest.split_first_chunk::<HEADER_BYTES>() {
            let (total, level_and_kind) = header.split_at(size_of::<usize>());
            let total = usize::from_ne_bytes(total.try_into().expect("split at a word"));
            let level = int(&level_and_kind[..4]);
            let Some(data_length) = total.checked_sub(HEADER_BYTES).filter(|&length| length <= data.len())
            else {
                break;
            };
            if level == libc::SOL_SOCKET {
                items.push((int(&level_and_kind[4..]), data[..data_length].to_vec()));
            }
            rest = &rest[total.next_multiple_of(size_of::<usize>()).min(rest.len())..];
        }
        items
    }
}

fn int(bytes: &[u8]) -> i32 {
    i32::from_ne_bytes(bytes.try_into().expect("four bytes"))
}

#[allow(unsafe_code, reason = "received descriptors come as numbers")]
fn own(number: &[u8]) -> OwnedFd {
    let number: RawFd = int(number);
    // SAFETY: recvmsg has just installed this descriptor for this message, and each is taken once.
    unsafe { OwnedFd::from_raw_fd(number) }
}

fn credentials(data: &[u8]) -> Option<Sender> {
    let [pid, uid, gid] = data.chunks_exact(4).map(int).collect::<Vec<_>>().try_into().ok()?;
    Some(Sender { pid, uid: uid.cast_unsigned(), gid: gid.cast_unsigned() })
}

/// Sends one message with descriptors, and gives how many bytes went (all of them, but on a stream).
/// Errors: `EPIPE` or `ECONNRESET` (the other side is gone; no signal is raised), `EAGAIN`.
pub fn send(socket: BorrowedFd<'_>, bytes: &[u8], descriptors: &[BorrowedFd<'_>]) -> io::Result<usize> {
    let numbers: Vec<RawFd> = descriptors.iter().map(AsRawFd::as_raw_fd).collect();
    let rights = [ControlMessage::ScmRights(&numbers)];
    let control = if numbers.is_empty() { &rights[..0] } else { &rights[..] };
    let parts = [IoSlice::new(bytes)];
    uninterrupted(|| sendmsg::<()>(socket.as_raw_fd(), &parts, control, MsgFlags::MSG_NOSIGNAL, None))
}

/// The same, tried again while the user has too many descriptors on their way (`ETOOMANYREFS`), until `give_up`.
/// The limit is the sender's `RLIMIT_NOFILE`, the count is the user's: any process of the user can bring it about,
/// and there is no event to wait for.
pub fn send_patiently(
    socket: BorrowedFd<'_>,
    bytes: &[u8],
    descriptors: &[BorrowedFd<'_>],
    give_up: Option<Instant>,
) -> io::Result<usize> {
    loop {
        match send(socket, bytes, descriptors) {
            Err(source)
                if source.raw_os_error() == Some(libc::ETOOMANYREFS)
                    && give_up.is_none_or(|give_up| Instant::now() < give_up) =>
            {
                thread::sleep(SEND_RETRY);
            }
            result => return result,
        }
    }
}

#[cfg(test)]
mod tests {
    use std::os::fd::AsFd;

    use super::super::{pair, pass_credentials};
    use super::*;

    #[test]
    fn a_message_brings_its_bytes_descriptors_and_sender() {
        let (near, far) = pair().expect("a socket pair");
        pass_credentials(far.as_fd()).expect("credentials on");
        send(near.as_fd(), b"hello", &[near.as_fd(), far.as_fd(), near.as_fd()]).expect("sent");
        assert_eq!(message_bytes(far.as_fd()).expect("a size"), 5);
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
}
