//! A request and its descriptors. The bytes are looked at and stay where they are; the descriptors are taken by the process
//! that becomes the command, and never come to this one: a `close`, `fstat` or `write` of a caller's descriptor may never
//! return.

use std::fs::File;
use std::io::{self, IsTerminal as _};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use crate::audit::Caller;
use crate::limits::{MESSAGE_BYTES_MAX, REQUEST_FDS};
use crate::refusal::{Descriptors, Refusal};
use crate::rules::{Audit, OnHangup, Settings, Stdin, Tty};
use crate::spawn::{Launcher, Stdio, Stop, Streams, divert};
use crate::sys::{self, Peeked};
use crate::wire::Malformed;

use super::visit::Visit;

/// The request that waits on a connection, and who sent it; `None` when the caller left without a word. It stays where it
/// is, with its descriptors, so that it can be asked for again.
pub(super) fn look(visit: &mut Visit) -> Result<Option<Peeked>, Refusal> {
    // Only a broker that stops looks at a connection that has not said anything yet.
    let lost = |source: io::Error| {
        let silent = source.kind() == io::ErrorKind::WouldBlock;
        if silent { Refusal::Stopping } else { Refusal::Malformed(Malformed::Truncated) }
    };
    let Some(message) = sys::peek(visit.connection.as_fd(), MESSAGE_BYTES_MAX).map_err(lost)? else {
        return if visit.is_over() { Ok(None) } else { Err(Refusal::Malformed(Malformed::Truncated)) };
    };
    let sender = message.sender.filter(|sender| sender.pid > 0);
    visit.caller = sender.map(|sender| Caller::new(sender, visit.connector));
    if message.length > MESSAGE_BYTES_MAX {
        return Err(Refusal::Malformed(Malformed::TooLarge(message.length)));
    }
    Ok(Some(message))
}

/// The way of a request's descriptors to its command.
#[derive(Clone, Copy, Debug)]
pub(super) enum Intake {
    /// The launcher takes them.
    ByLauncher(OnHangup),
    /// Some pass through a relay, which is a thread of this process.
    ByRelay { stdin: Stdin, tty: Tty },
}

/// What is put in the place of the caller's descriptors.
#[derive(Debug)]
pub(super) struct Diversion {
    pub(super) files: [Option<(File, u64)>; REQUEST_FDS],
    pub(super) audit: Audit,
}

impl Intake {
    /// Has the launcher take the descriptors, where they need not pass through here.
    pub(super) fn begin(visit: &Visit, launcher: &Launcher, settings: &Settings) -> Result<Self, Refusal> {
        let Settings { stdin, tty, on_hangup, captures, .. } = settings;
        if *tty == Tty::Hide || captures.iter().any(Option::is_some) {
            return Ok(Self::ByRelay { stdin: *stdin, tty: *tty });
        }
        launcher.send_connection(visit.connection.as_fd(), *stdin).map_err(Refusal::no_launcher)?;
        Ok(Self::ByLauncher(*on_hangup))
    }

    /// Waits until the command has its descriptors, or what is put in their place.
    pub(super) fn finish(
        self,
        visit: &Visit,
        launcher: &Launcher,
        diversion: Diversion,
        stop: Stop<'_>,
    ) -> Result<Streams, Refusal> {
        let (stdin, tty) = match self {
            Self::ByLauncher(on_hangup) => {
                let caller = (on_hangup == OnHangup::Kill).then_some(visit.connection.as_fd());
                return launcher.await_stdio(caller, stop).map(|()| Streams::default());
            }
            Self::ByRelay { stdin, tty } => (stdin, tty),
        };
        let stdio = redirect(receive(visit)?, stdin)?;
        let hide = |fd: BorrowedFd<'_>| tty == Tty::Hide && fd.is_terminal();
        let diverted = divert(stdio, diversion.files, hide, diversion.audit);
        let (stdio, streams) = diverted.map_err(Refusal::no_launcher)?;
        // The copies here are gone then: the caller must see the end of its pipes when the command closes them.
        launcher.equip(stdio).map_err(Refusal::no_launcher)?;
        Ok(streams)
    }
}

/// The descriptors of a request whose streams pass through this process.
fn receive(visit: &Visit) -> Result<Stdio, Refusal> {
    let message = sys::receive(visit.connection.as_fd(), 1).map_err(Refusal::no_launcher)?;
    if message.descriptors_cut {
        return Err(Refusal::Descriptors(Descriptors::Cut));
    }
    let count = message.descriptors.len();
    let stdio: [OwnedFd; REQUEST_FDS] =
        message.descriptors.try_into().map_err(|_| Refusal::Descriptors(Descriptors::Count(count)))?;
    for (index, descriptor) in stdio.iter().enumerate() {
        if let Some(oddity) = sys::oddity_of(descriptor.as_fd()) {
            return Err(Refusal::Descriptors(Descriptors::Kind(index, oddity)));
        }
    }
    Ok(Stdio(stdio))
}

fn redirect(stdio: Stdio, stdin: Stdin) -> Result<Stdio, Refusal> {
    if stdin == Stdin::Caller {
        return Ok(stdio);
    }
    let null = File::open("/dev/null").map_err(Refusal::no_launcher)?;
    let Stdio([_, stdout, stderr]) = stdio;
    Ok(Stdio([null.into(), stdout, stderr]))
}
