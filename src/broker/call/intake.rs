//! A request and its descriptors. The bytes are looked at and stay where they are; the descriptors are taken
//! by the process that becomes the command, or by a relay, and never come to this one: a `close`, `fstat` or
//! `write` of a caller's descriptor may never return.

use std::fs::File;
use std::io;
use std::os::fd::AsFd;

use crate::audit::Caller;
use crate::limits::{MESSAGE_BYTES_MAX, REQUEST_FDS};
use crate::refusal::{DescriptorFault, Refusal};
use crate::rules::{AuditMode, HangupAction, RuleSettings, StdinMode, TtyMode};
use crate::spawn::{Launcher, LauncherPool, PendingRelay, Relay, RelayTask, StopSignal};
use crate::sys::{self, PeekedMessage};
use crate::wire::Malformed;

use crate::broker::request::ClientRequest;

/// The request that waits on a connection, and who sent it; `None` when the caller left without a word. It
/// stays where it is, with its descriptors, so that it can be asked for again.
pub(in crate::broker) fn look(client: &mut ClientRequest) -> Result<Option<PeekedMessage>, Refusal> {
    // Only a broker that stops looks at a connection that has not said anything yet.
    let lost = |source: io::Error| {
        let silent = source.kind() == io::ErrorKind::WouldBlock;
        if silent { Refusal::Stopping } else { Refusal::Malformed(Malformed::Truncated) }
    };
    let Some(message) = sys::peek(client.connection.as_fd(), MESSAGE_BYTES_MAX).map_err(lost)? else {
        return if client.is_over() { Ok(None) } else { Err(Refusal::Malformed(Malformed::Truncated)) };
    };
    client.caller = message.sender.map(|sender| Caller::new(sender, client.connector));
    if message.length > MESSAGE_BYTES_MAX {
        return Err(Refusal::Malformed(Malformed::TooLarge(message.length)));
    }
    Ok(Some(message))
}

/// The way of a request's descriptors to its command.
#[derive(Debug)]
pub(super) struct StdioIntake {
    on_hangup: HangupAction,
    /// Where some are captured or hidden, the relay takes them, else the launcher.
    relay: Option<(PendingRelay, StdinMode, TtyMode)>,
}

/// What is put in the place of the caller's descriptors.
#[derive(Debug)]
pub(super) struct StdioDiversion {
    pub(super) captures: [Option<(File, u64)>; REQUEST_FDS],
    pub(in crate::broker) audit: AuditMode,
}

impl StdioIntake {
    /// Has the launcher take the descriptors, or has a relay made that will.
    pub(in crate::broker) fn begin(
        pool: &LauncherPool,
        client: &ClientRequest,
        launcher: &Launcher,
        settings: &RuleSettings,
    ) -> Result<Self, Refusal> {
        let RuleSettings { stdin, tty, on_hangup, captures, .. } = settings;
        let mut intake = Self { on_hangup: *on_hangup, relay: None };
        if *tty == TtyMode::Hide || captures.iter().any(Option::is_some) {
            let summoned = pool.summon(launcher.scope()).map_err(Refusal::no_launcher)?;
            intake.relay = Some((summoned, *stdin, *tty));
        } else {
            launcher.send_connection(client.connection.as_fd(), *stdin).map_err(Refusal::no_launcher)?;
            client.connection.lend();
        }
        Ok(intake)
    }

    /// Waits until the command has its descriptors, or what is put in their place.
    pub(super) fn finish(
        self,
        client: &ClientRequest,
        launcher: &Launcher,
        diversion: StdioDiversion,
        stop: StopSignal<'_>,
    ) -> Result<Option<Relay>, Refusal> {
        let connection = client.connection.as_fd();
        let caller = (self.on_hangup == HangupAction::Kill).then_some(connection);
        let taken = match self.relay {
            None => launcher.await_stdio(caller, stop).map(|()| None),
            Some((summoned, stdin, tty)) => {
                let StdioDiversion { captures, audit } = diversion;
                let task = RelayTask { connection, captures, stdin, tty, audit };
                client.connection.lend();
                summoned.equip(launcher, task, caller, stop).map(Some)
            }
        };
        let is_unfit = |refusal: &Refusal| matches!(refusal, Refusal::Descriptors(descriptors) if *descriptors != DescriptorFault::Late);
        if taken.as_ref().err().is_none_or(is_unfit) {
            client.connection.note_taken();
        }
        taken
    }
}
