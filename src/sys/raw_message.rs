//! Receives a message and the descriptors that it brings (`unix(7)`, `cmsg(3)`), in a process that may live
//! in another's memory (`clone_vm.rs`): nothing here allocates, can panic, or touches `errno`.
#![cfg_attr(not(test), deny(clippy::indexing_slicing))]

use std::io::IoSliceMut;
use std::mem::size_of;
use std::os::fd::{AsRawFd, BorrowedFd};

use crate::limits::MESSAGE_FDS_MAX;

use super::in_child::ChildFd;
use super::retry::repeated;
use super::syscall;

/// Receives the next message without its bytes, and has the kernel drop the descriptors that it brings. None
/// is installed, so none is flushed by a close, but dropping the last reference to a file may still block.
/// Gives whether there was a message; `false` is the end.
/// Errors: `EAGAIN` on a non-blocking socket without a message.
pub fn discard(socket: BorrowedFd<'_>) -> nix::Result<bool> {
    let mut control = [0; CREDENTIALS_WORDS];
    let arrived = receive_raw(socket, &mut [0], &mut control, 0)?;
    let is_message =
        arrived.length > 0 || arrived.control_length > 0 || arrived.flags & libc::MSG_CTRUNC != 0;
    Ok(is_message)
}

/// Receives the next message into `bytes`, and gives the number of bytes and the first `N` descriptors.
pub fn receive_few<const N: usize>(
    socket: BorrowedFd<'_>,
    bytes: &mut [u8],
) -> nix::Result<(usize, [Option<ChildFd>; N])> {
    let mut control = ControlBuffer::new();
    let arrived = receive_raw(socket, bytes, &mut control.0, 0)?;
    let mut few = [const { None }; N];
    let mut places = few.iter_mut();
    control.each_item(&arrived, |kind, data| {
        if kind == libc::SCM_RIGHTS {
            data.as_chunks::<4>()
                .0
                .iter()
                .zip(&mut places)
                .for_each(|(number, place)| *place = Some(own(number)));
        }
    });
    Ok((arrived.length, few))
}

/// One message as it came: its length and that of its control data, in bytes, and `MSG_` flags.
pub(super) struct MessageInfo {
    pub(super) length: usize,
    pub(super) control_length: usize,
    pub(super) flags: libc::c_int,
}

/// Receives, or peeks at (`MSG_PEEK`), the next message. `recvmsg(2)`, without `errno` and without an
/// allocation.
#[allow(unsafe_code, reason = "nix loses the descriptors of a message whose control data was cut")]
pub(super) fn receive_raw(
    socket: BorrowedFd<'_>,
    bytes: &mut [u8],
    control: &mut [u64],
    flags: libc::c_int,
) -> nix::Result<MessageInfo> {
    let mut part = IoSliceMut::new(bytes);
    // SAFETY: all zeroes is an empty msghdr.
    let mut header: libc::msghdr = unsafe { std::mem::zeroed() };
    header.msg_iov = (&raw mut part).cast();
    header.msg_iovlen = 1;
    header.msg_control = control.as_mut_ptr().cast();
    let number = socket.as_raw_fd().unsigned_abs() as usize;
    let flags = (flags | libc::MSG_CMSG_CLOEXEC).unsigned_abs() as usize;
    // A call that was interrupted has changed nothing in the header.
    header.msg_controllen = size_of_val(control) as _;
    let arguments = [number, (&raw mut header).expose_provenance(), flags];
    // SAFETY: the header points to one iovec (IoSliceMut has its layout) and one control buffer, both of the
    // lengths given and both alive until after the call.
    let length = repeated(|| unsafe { syscall::call(libc::SYS_recvmsg, arguments) })?;
    Ok(MessageInfo { length, control_length: header.msg_controllen as usize, flags: header.msg_flags })
}

/// Words of control data: a header and credentials, which come first, then a header and the most descriptors.
/// Exact, because this size limits the number of descriptors.
const CONTROL_WORDS: usize = CREDENTIALS_WORDS + (HEADER_BYTES + MESSAGE_FDS_MAX * 4).div_ceil(8);

/// Words of control data for a header and credentials.
pub(super) const CREDENTIALS_WORDS: usize = (HEADER_BYTES + 12).div_ceil(8);

/// Bytes of a control header: a word of length, two `int`s.
const HEADER_BYTES: usize = size_of::<usize>() + 8;

/// Room for a message's control data, aligned as the kernel writes it.
pub(super) struct ControlBuffer(pub(super) [u64; CONTROL_WORDS]);

impl ControlBuffer {
    pub(super) fn new() -> Self {
        Self([0; CONTROL_WORDS])
    }

    /// Gives `take` the type and data of each item of level `SOL_SOCKET`. Allocates nothing and cannot panic.
    pub(super) fn each_item(&self, arrived: &MessageInfo, take: impl FnMut(libc::c_int, &[u8])) {
        each_item(&self.0, arrived, take);
    }
}

pub(super) fn each_item(words: &[u64], arrived: &MessageInfo, mut take: impl FnMut(libc::c_int, &[u8])) {
    let mut bytes = [0; CONTROL_WORDS * 8];
    for (place, word) in bytes.chunks_exact_mut(8).zip(words) {
        place.copy_from_slice(&word.to_ne_bytes());
    }
    let mut rest = bytes.get(..arrived.control_length).unwrap_or_default();
    while let Some((header, data)) = rest.split_first_chunk::<HEADER_BYTES>() {
        let Some((total, kind)) = header.split_first_chunk::<{ size_of::<usize>() }>() else { return };
        let Some((level, kind)) = kind.split_first_chunk::<4>() else { return };
        let total = usize::from_ne_bytes(*total);
        let Some(data) = total.checked_sub(HEADER_BYTES).and_then(|length| data.get(..length)) else {
            return;
        };
        if i32::from_ne_bytes(*level) == libc::SOL_SOCKET {
            take(int(kind), data);
        }
        rest = rest.get(total.next_multiple_of(size_of::<usize>())..).unwrap_or_default();
    }
}

/// The number in four bytes; -1 for fewer bytes, which the kernel never gives.
fn int(bytes: &[u8]) -> i32 {
    bytes.first_chunk().map_or(-1, |bytes| i32::from_ne_bytes(*bytes))
}

/// The owner of a descriptor that `recvmsg` has just installed for this message, and that is owned once.
#[allow(unsafe_code, reason = "received descriptors come as numbers")]
pub(super) fn own(number: &[u8]) -> ChildFd {
    // SAFETY: recvmsg has just installed this descriptor for this message, and each is taken once.
    unsafe { ChildFd::from_raw(int(number)) }
}
