//! The exchange with the broker in version 1: one request, one reply. Every failure is a [`CallFailure`],
//! whose variants tell whether the command can have run.

use std::ffi::OsString;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::Path;
use std::time::Instant;

use nix::poll::{PollFd, PollFlags};

use crate::limits::{LISTING_REPLY_BYTES_MAX, REPLY_BYTES, UNHEARD_WAIT};
use crate::sys;
use crate::wire::{Malformed, Reply, Request};

use super::connection::{reach, refused, send, unanswered};
use super::failure::CallFailure;
use super::words::{self, BadWords};

/// A reply, and the connection that it came on.
struct AnsweredRequest {
    reply: Reply,
    broker: OwnedFd,
}

/// Has the broker at `socket` run `words` (program first, not empty) with this process's stdin, stdout and
/// stderr, and returns the command's exit code (128 + signal when a signal ended it). If the broker has not
/// taken the request from the connection after [`UNHEARD_WAIT`], `unheard` is called, once for each broker
/// that was asked.
pub fn call(socket: &Path, words: &[OsString], unheard: &mut dyn FnMut()) -> Result<u8, CallFailure> {
    let request = Request::Call(words::claim(words).map_err(CallFailure::Words)?);
    let request = request.encode().ok_or(CallFailure::Words(BadWords::Large))?;
    let AnsweredRequest { reply, broker } =
        exchange::<REPLY_BYTES>(socket, &request, &sys::stdio(), unheard)?;
    match reply {
        Reply::Status(status) => u8::try_from(status.get()).map_err(|_| refused(status, broker.as_fd())),
        Reply::Listing(text) => Err(CallFailure::Unreadable(Malformed::Trailing(text.len()))),
    }
}

/// The listing of the broker at `socket`, as text that is not escaped for a terminal yet. `unheard` is called
/// as by [`call`].
pub fn list(socket: &Path, unheard: &mut dyn FnMut()) -> Result<String, CallFailure> {
    let request = Request::List.encode().expect("a request without words is 12 bytes");
    let AnsweredRequest { reply, broker } =
        exchange::<LISTING_REPLY_BYTES_MAX>(socket, &request, &[], unheard)?;
    match reply {
        Reply::Listing(text) => Ok(text),
        Reply::Status(status) if (0..=255).contains(&status.get()) => {
            Err(CallFailure::Unreadable(Malformed::Truncated))
        }
        Reply::Status(status) => Err(refused(status, broker.as_fd())),
    }
}

fn exchange<const ROOM: usize>(
    socket: &Path,
    request: &[u8],
    fds: &[BorrowedFd<'_>],
    unheard: &mut dyn FnMut(),
) -> Result<AnsweredRequest, CallFailure> {
    let mut buffer = [0; ROOM];
    let (broker, length) = match ask(socket, request, fds, &mut buffer, unheard) {
        // A broker that stops closes connections whose request it has not taken: asking the next broker,
        // once, is safe.
        Err(failure) if failure.is_gone() => ask(socket, request, fds, &mut buffer, unheard)?,
        asked => asked?,
    };
    if length == 0 {
        return Err(CallFailure::Unanswered);
    }
    let reply = buffer.get(..length).ok_or(Malformed::TooLarge(length));
    let reply = reply.and_then(Reply::decode).map_err(CallFailure::Unreadable)?;
    Ok(AnsweredRequest { reply, broker })
}

/// Connects, sends the request, receives the answer, and returns the connection and the answer's length; 0
/// for none.
fn ask(
    socket: &Path,
    request: &[u8],
    fds: &[BorrowedFd<'_>],
    answer: &mut [u8],
    unheard: &mut dyn FnMut(),
) -> Result<(OwnedFd, usize), CallFailure> {
    let broker = reach(socket).map_err(CallFailure::Unreached)?;
    send(broker.as_fd(), request, fds, &mut |_| ()).map_err(CallFailure::Unsent)?;
    // An error of this wait shows again when the answer is received.
    let deadline = Instant::now().checked_add(UNHEARD_WAIT);
    let waited = sys::poll_until(&mut [PollFd::new(broker.as_fd(), PollFlags::POLLIN)], deadline);
    if waited.is_ok_and(|is_there| !is_there) && sys::is_unread(broker.as_fd()).unwrap_or_default() {
        unheard();
    }
    let length = sys::receive_into(broker.as_fd(), answer).map_err(unanswered)?;
    Ok((broker, length))
}

#[cfg(test)]
mod tests {
    use std::{io, thread};

    use nix::errno::Errno;
    use nix::poll::{PollFd, PollFlags};

    use super::*;

    /// Checks the result of a `call` to a peer that reads the request and answers `reply`.
    fn check(reply: &[u8], want: &str) {
        check_each(&[&[reply]], want);
    }

    /// Checks the result of a `call` to a peer that sends these messages on each connection in turn. Where
    /// there are none, it closes the connection with the request in it, unread.
    fn check_each(connections: &[&[&[u8]]], want: &str) {
        let directory = tempfile::tempdir().expect("a directory for the socket");
        let path = directory.path().join("sock");
        let listener = sys::bind_listener(&path, 1).expect("it listens");
        let got = thread::scope(|scope| {
            scope.spawn(|| connections.iter().for_each(|messages| answer(&listener, messages)));
            format!("{:?}", call(&path, &["true".into()], &mut || {}))
        });
        assert_eq!(got, want);
    }

    fn answer(listener: &OwnedFd, messages: &[&[u8]]) {
        let caller = asked(listener);
        if !messages.is_empty() {
            sys::receive(caller.as_fd(), 64).expect("a request");
        }
        for message in messages {
            // A caller that needs one message only may be gone before the second.
            sys::send(caller.as_fd(), message, &[]).ok();
        }
    }

    /// The next connection, once a request is in it.
    fn asked(listener: &OwnedFd) -> OwnedFd {
        let readable = |fd: &OwnedFd| {
            sys::poll_until(&mut [PollFd::new(fd.as_fd(), PollFlags::POLLIN)], None)
                .expect("it can be waited for")
        };
        readable(listener);
        let caller = sys::accept(listener.as_fd()).expect("a caller");
        readable(&caller);
        caller
    }

    #[test]
    fn a_broker_that_did_not_hear_is_followed_by_the_next_once() {
        check_each(&[&[], &[b"XCLS\x01\0\0\0\x07\0\0\0"]], "Ok(7)");
        let reset = io::Error::from(Errno::ECONNRESET);
        check_each(&[&[], &[]], &format!("Err(Unsent({reset:?}))"));
    }

    #[test]
    fn an_exit_status_is_the_commands_own() {
        check(b"XCLS\x01\0\0\0\x07\0\0\0", "Ok(7)");
        check(b"XCLS\x01\0\0\0\xff\0\0\0", "Ok(255)");
    }

    #[test]
    fn other_statuses_are_the_brokers() {
        check(b"XCLS\x01\0\0\0\xf9\xff\xff\xff", "Err(Refused(Status(-7), None))");
        check(b"XCLS\x01\0\0\0\0\x01\0\0", "Err(Refused(Status(256), None))");
    }

    #[test]
    fn what_comes_after_a_refusal_explains_it() {
        const REFUSED: &[u8] = b"XCLS\x01\0\0\0\xff\xff\xff\xff";
        const WHY: &[u8] = b"XCLS\x01\0\0\0\x09\0\0\0\0\0\0\0\x02\0\0\0no";
        let want = "Err(Refused(Status(-1), Some(Explanation { call: Some(9), reason: \"no\" })))";
        check_each(&[&[REFUSED, WHY]], want);
        check_each(&[&[REFUSED, b"XCLS, and then something else"]], "Err(Refused(Status(-1), None))");
        check_each(&[&[b"XCLS\x01\0\0\0\x07\0\0\0", WHY]], "Ok(7)");
    }

    #[test]
    fn what_is_not_an_answer_is_not_taken_for_one() {
        check(b"", "Err(Unanswered)");
        check(b"hello", "Err(Unreadable(Magic(1819043176)))");
        check(b"XCLS\x01\0\0\0\0\0\0\0and more", "Err(Unreadable(TooLarge(20)))");
        check(b"XCLS\x02\0\0\0\0\0\0\0", "Err(Unreadable(Version(2)))");
    }
}
