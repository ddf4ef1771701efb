//! What an adapter does on its descriptors: it receives a request of version 2, sends the command's three
//! descriptors on, and moves bytes between pipes and a connection. It may live in another process's memory
//! (`clone_vm.rs`): nothing here allocates, can panic, or looks at `errno`.
#![cfg_attr(not(test), deny(clippy::indexing_slicing))]

use std::io::IoSlice;
use std::mem::{size_of, zeroed};
use std::os::fd::{AsRawFd, BorrowedFd};
use std::time::Duration;

use nix::errno::Errno;
use nix::poll::PollFd;

use crate::limits::{MESSAGE_FDS_MAX, REQUEST_FDS};

use super::in_child::ChildFd;
use super::raw_message::own;
use super::retry::repeated;
use super::stdio::{arrived, oddity_of_pipe};
use super::syscall;
use super::unfit_stdio::UnfitStdio;

/// The descriptors of a request of version 2.
#[derive(Debug)]
pub struct PipedFds {
    /// The command's stdin, stdout and stderr, where the request is a call; not looked at yet.
    pub stdio: Option<[ChildFd; REQUEST_FDS]>,
    /// The write end of the pipe for frames.
    pub reply: ChildFd,
    /// The read end of the pipe for the caller's orders, where the request is a call.
    pub control: Option<ChildFd>,
}

/// Receives the message that waits on a connection, and gives its descriptors, if there are five, of which
/// the last two are ends of pipes, or one, an end of a pipe. Errors: they are not, or no message waits
/// (`Count(0)`). After an error every descriptor that came stays open without an owner: closing it might
/// block for ever, so the end of this process closes them.
pub fn take_piped(connection: BorrowedFd<'_>) -> Result<PipedFds, UnfitStdio> {
    let (numbers, count) = arrived(connection)?;
    match (count, numbers) {
        (1, [reply, ..]) => {
            fit(0, &reply, true)?;
            Ok(PipedFds { stdio: None, reply: own(&reply), control: None })
        }
        (5, [stdin, stdout, stderr, reply, control, ..]) => {
            fit(3, &reply, true)?;
            fit(4, &control, false)?;
            let stdio = [stdin, stdout, stderr].map(|number| own(&number));
            Ok(PipedFds { stdio: Some(stdio), reply: own(&reply), control: Some(own(&control)) })
        }
        (count, _) => Err(UnfitStdio::Count(count)),
    }
}

fn fit(index: u8, number: &[u8; 4], is_written: bool) -> Result<(), UnfitStdio> {
    oddity_of_pipe(number, is_written).map_or(Ok(()), |oddity| Err(UnfitStdio::Kind(index, oddity)))
}

/// Sends one message with descriptors, as far as there is room for it now. `sendmsg(2)`. Errors: `EAGAIN`,
/// `ETOOMANYREFS`, `EPIPE` (no signal is raised).
#[allow(unsafe_code, reason = "nix's sendmsg allocates")]
pub fn send_few(socket: BorrowedFd<'_>, bytes: &[u8], descriptors: &[BorrowedFd<'_>]) -> nix::Result<usize> {
    let mut control = RightsBuffer([0; RIGHTS_BYTES]);
    let length = control.fill(descriptors);
    let part = IoSlice::new(bytes);
    // SAFETY: all zeroes is an empty msghdr.
    let mut header: libc::msghdr = unsafe { zeroed() };
    header.msg_iov = (&raw const part).cast_mut().cast();
    header.msg_iovlen = 1;
    if length > 0 {
        header.msg_control = control.0.as_mut_ptr().cast();
        header.msg_controllen = length as _;
    }
    let flags = (libc::MSG_DONTWAIT | libc::MSG_NOSIGNAL).cast_unsigned() as usize;
    let arguments =
        [socket.as_raw_fd().cast_unsigned() as usize, (&raw const header).expose_provenance(), flags];
    // SAFETY: the header points to one iovec (IoSlice has its layout) and one control buffer of the length
    // given, all alive until after the call.
    repeated(|| unsafe { syscall::call(libc::SYS_sendmsg, arguments) })
}

/// Bytes of a control header: a word of length, two `int`s.
const HEADER_BYTES: usize = size_of::<usize>() + 8;

/// Room for a control header and the most descriptors.
const RIGHTS_BYTES: usize = HEADER_BYTES + MESSAGE_FDS_MAX * 4;

/// Control data with descriptors, aligned as the kernel reads it.
#[repr(align(8))]
struct RightsBuffer([u8; RIGHTS_BYTES]);

impl RightsBuffer {
    /// Writes the header and the descriptors; gives the bytes written, 0 for no descriptors.
    fn fill(&mut self, descriptors: &[BorrowedFd<'_>]) -> usize {
        if descriptors.is_empty() {
            return 0;
        }
        let length = HEADER_BYTES + descriptors.len() * 4;
        let (word, kinds) =
            (length.to_ne_bytes(), [libc::SOL_SOCKET, libc::SCM_RIGHTS].map(i32::to_ne_bytes));
        let numbers = descriptors.iter().flat_map(|fd| fd.as_raw_fd().to_ne_bytes());
        let bytes = word.into_iter().chain(kinds.into_iter().flatten()).chain(numbers);
        self.0.iter_mut().zip(bytes).for_each(|(place, byte)| *place = byte);
        length.min(RIGHTS_BYTES)
    }
}

/// Waits until one of these descriptors is ready, at most for a time. `ppoll(2)`. Gives whether one is.
#[allow(unsafe_code, reason = "nix's ppoll sets errno")]
pub fn await_any(looked_at: &mut [PollFd<'_>], at_most: Option<Duration>) -> nix::Result<bool> {
    let time = at_most.map(|at_most| libc::timespec {
        tv_sec: i64::try_from(at_most.as_secs()).unwrap_or(i64::MAX),
        tv_nsec: at_most.subsec_nanos().into(),
    });
    let time = time.as_ref().map_or(0, |time| (&raw const *time).expose_provenance());
    let arguments = [looked_at.as_mut_ptr().expose_provenance(), looked_at.len(), time, 0, 0];
    // SAFETY: PollFd has the layout of a pollfd, so many are there, and they and the time outlive the call.
    let ready = unsafe { syscall::call(libc::SYS_ppoll, arguments) };
    match ready {
        // The kernel shortens no time that it is passed this way twice: an interruption counts as a wait.
        Err(Errno::EINTR) => Ok(false),
        ready => ready.map(|ready| ready > 0),
    }
}

/// Says to the other side of a connection that nothing more comes. `shutdown(2)`, `SHUT_WR`.
#[allow(unsafe_code, reason = "nix's shutdown sets errno")]
pub fn finish_sending(socket: BorrowedFd<'_>) {
    let arguments = [socket.as_raw_fd().cast_unsigned() as usize, libc::SHUT_WR.cast_unsigned() as usize];
    // SAFETY: two numbers go in.
    unsafe { syscall::call(libc::SYS_shutdown, arguments) }.ok();
}
