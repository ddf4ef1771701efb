//! A caller of version 2, byte by byte: a connection for any number of requests, each with its own pipes.

use std::io::{PipeReader, PipeWriter, Read as _, Write as _, pipe};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::Path;
use std::time::{Duration, Instant};

use nix::poll::{PollFd, PollFlags, PollTimeout, poll};

use super::connection::Connection;
use super::wait::SOON;

/// One frame: its kind and payload.
pub(crate) type RawFrame = (u32, Vec<u8>);

/// The kinds of frames.
pub(crate) const STARTED: u32 = 16;
pub(crate) const DONE: u32 = 17;
pub(crate) const REFUSED: u32 = 18;
pub(crate) const LISTING: u32 = 19;
pub(crate) const QUEUED: u32 = 20;

/// A connection of version 2.
#[derive(Debug)]
pub(crate) struct Piped(pub(crate) Connection);

/// A request that was sent: the caller's ends of its pipes.
#[derive(Debug)]
pub(crate) struct Asked {
    pub(crate) reply: PipeReader,
    /// `None` once it is closed, and for the listing.
    pub(crate) control: Option<PipeWriter>,
    pub(crate) stdin: Option<PipeWriter>,
    pub(crate) stdout: PipeReader,
}

/// The message that asks for a call.
pub(crate) fn call(words: &[impl AsRef<[u8]>]) -> Vec<u8> {
    let mut message = b"XCLS\x02\0\0\0\x01\0\0\0".to_vec();
    let length = |bytes: usize| u32::try_from(bytes).expect("short").to_le_bytes();
    message.extend(length(words.len()));
    for word in words {
        message.extend(length(word.as_ref().len()));
        message.extend(word.as_ref());
    }
    message
}

impl Piped {
    /// Connects.
    pub(crate) fn open(path: &Path) -> Self {
        Self(Connection::open(path).expect("the broker listens"))
    }

    /// Asks for a call whose stdin, stdout and stderr are pipes.
    #[track_caller]
    pub(crate) fn ask(&self, words: &[impl AsRef<[u8]>]) -> Asked {
        self.ask_bytes(&call(words))
    }

    /// Sends any message with the five descriptors of a call.
    #[track_caller]
    pub(crate) fn ask_bytes(&self, message: &[u8]) -> Asked {
        let [stdin, stdout, reply, control] = std::array::from_fn(|_| pipe().expect("a pipe"));
        let (out, stderr) = (stdout.1.as_fd(), std::io::stderr());
        let fds = [stdin.0.as_fd(), out, stderr.as_fd(), reply.1.as_fd(), control.0.as_fd()];
        self.0.send(message, &fds);
        Asked { reply: reply.0, control: Some(control.1), stdin: Some(stdin.1), stdout: stdout.0 }
    }

    /// Sends any message with any descriptors.
    #[track_caller]
    pub(crate) fn send(&self, message: &[u8], fds: &[BorrowedFd<'_>]) {
        self.0.send(message, fds);
    }

    /// Asks for the listing in a format, and gives its frames.
    #[track_caller]
    pub(crate) fn list(&self, format: u8) -> Vec<RawFrame> {
        frames(self.begin_list(format))
    }

    /// Asks for the listing, and gives the read end of its reply pipe.
    #[track_caller]
    pub(crate) fn begin_list(&self, format: u8) -> PipeReader {
        let (near, far) = pipe().expect("a pipe");
        self.0.send(&[b"XCLS\x02\0\0\0\x02\0\0\0", &[format, 0, 0, 0][..]].concat(), &[far.as_fd()]);
        near
    }
}

impl Asked {
    /// All frames until the broker closes *reply*.
    #[track_caller]
    pub(crate) fn frames(&self) -> Vec<RawFrame> {
        frames(self.reply.try_clone().expect("a copy"))
    }

    /// The next frame.
    #[track_caller]
    pub(crate) fn frame(&self) -> RawFrame {
        let mut head = [0; 8];
        let mut reply = self.reply.try_clone().expect("a copy");
        await_bytes(reply.as_fd());
        reply.read_exact(&mut head).expect("a frame");
        let mut payload = vec![0; word(&head[4..]) as usize];
        reply.read_exact(&mut payload).expect("its payload");
        (word(&head), payload)
    }

    /// The status of the last frame, which is `DONE`.
    #[track_caller]
    pub(crate) fn status(&self) -> i32 {
        let frames = self.frames();
        let last = frames.last().unwrap_or_else(|| panic!("no frame came"));
        assert_eq!(last.0, DONE, "{frames:?}");
        word(&last.1).cast_signed()
    }

    /// The status and the reason of the only frame, which is `REFUSED`.
    #[track_caller]
    pub(crate) fn refusal(&self) -> (i32, String) {
        let frames = self.frames();
        let Some((REFUSED, payload)) = frames.last() else { panic!("{frames:?}") };
        (word(payload).cast_signed(), String::from_utf8(payload[4..].to_vec()).expect("UTF-8"))
    }

    /// Sends an order.
    pub(crate) fn order(&mut self, kind: u32, number: i32) {
        let order = [kind.to_le_bytes(), number.to_le_bytes()].concat();
        self.control.as_mut().expect("it is open").write_all(&order).expect("sent");
    }

    /// What came on stdout until its end.
    #[track_caller]
    pub(crate) fn output(&self) -> String {
        let mut text = String::new();
        self.stdout.try_clone().expect("a copy").read_to_string(&mut text).expect("text");
        text
    }

    /// The next line on stdout.
    #[track_caller]
    pub(crate) fn line(&self) -> String {
        let mut stdout = self.stdout.try_clone().expect("a copy");
        let mut line = Vec::new();
        while line.last() != Some(&b'\n') {
            await_bytes(stdout.as_fd());
            let mut byte = [0];
            stdout.read_exact(&mut byte).expect("a whole line");
            line.push(byte[0]);
        }
        String::from_utf8(line).expect("text").trim_end().into()
    }
}

/// The number in the first four bytes.
pub(crate) fn word(bytes: &[u8]) -> u32 {
    u32::from_le_bytes(bytes[..4].try_into().expect("four bytes"))
}

#[track_caller]
fn await_bytes(fd: BorrowedFd<'_>) {
    assert!(readable_within(fd, SOON), "nothing comes");
}

/// Whether bytes, or the end, come before this deadline.
#[track_caller]
pub(crate) fn readable_within(fd: impl AsFd, limit: Duration) -> bool {
    let timeout = PollTimeout::try_from(limit).expect("a deadline of seconds");
    let mut looked_at = [PollFd::new(fd.as_fd(), PollFlags::POLLIN)];
    poll(&mut looked_at, timeout).expect("it can be waited for") == 1
}

/// All frames of a reply pipe, until the broker closes it.
#[track_caller]
pub(crate) fn frames(reply: impl Into<OwnedFd>) -> Vec<RawFrame> {
    let mut reply = std::fs::File::from(reply.into());
    let (mut bytes, began) = (Vec::new(), Instant::now());
    loop {
        assert!(began.elapsed() < SOON, "the broker does not close the pipe; so far: {bytes:?}");
        await_bytes(reply.as_fd());
        let mut piece = [0; 65536];
        match reply.read(&mut piece).expect("it can be read") {
            0 => break,
            length => bytes.extend_from_slice(&piece[..length]),
        }
    }
    let (mut frames, mut rest) = (Vec::new(), &bytes[..]);
    while !rest.is_empty() {
        let length = word(&rest[4..]) as usize;
        frames.push((word(rest), rest[8..8 + length].to_vec()));
        rest = &rest[8 + length..];
    }
    frames
}
