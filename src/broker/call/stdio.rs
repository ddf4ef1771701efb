//! The way of a request's descriptors to its command. They are taken by the process that becomes the command,
//! or by a relay, and never come to this one: a `close`, `fstat` or `write` of a caller's descriptor may
//! never return.

use std::fs::File;
use std::os::fd::AsFd;

use crate::broker::connection::Connection;
use crate::limits::REQUEST_FDS;
use crate::refusal::{DescriptorFault, Refusal};
use crate::rules::{AuditMode, HangupAction, RuleSettings, StdinMode, TtyMode};
use crate::spawn::{Launcher, LauncherPool, PendingRelay, Relay, RelayTask, StopSignal};

/// The descriptors of a request, on their way to its command.
#[derive(Debug)]
pub(super) struct StdioIntake {
    on_hangup: HangupAction,
    /// The relay that takes the descriptors, where some are captured or hidden; else the launcher does.
    relay: Option<(PendingRelay, StdinMode, TtyMode)>,
}

/// The files that are put in the place of the caller's descriptors.
#[derive(Debug)]
pub(super) struct StdioDiversion {
    pub(super) captures: [Option<(File, u64)>; REQUEST_FDS],
    pub(in crate::broker) audit: AuditMode,
}

impl StdioIntake {
    /// Has the launcher take the descriptors, or has a relay made that will take them.
    pub(in crate::broker) fn begin(
        pool: &LauncherPool,
        connection: &Connection,
        launcher: &Launcher,
        settings: &RuleSettings,
    ) -> Result<Self, Refusal> {
        let RuleSettings { stdin, tty, on_hangup, captures, .. } = settings;
        let mut intake = Self { on_hangup: *on_hangup, relay: None };
        if *tty == TtyMode::Hide || captures.iter().any(Option::is_some) {
            let summoned = pool.summon(launcher.scope()).map_err(Refusal::no_launcher)?;
            intake.relay = Some((summoned, *stdin, *tty));
        } else {
            launcher.send_connection(connection.as_fd(), *stdin).map_err(Refusal::no_launcher)?;
            connection.lend();
        }
        Ok(intake)
    }

    /// Waits until the command has its descriptors, or the relay's in their place.
    pub(super) fn finish(
        self,
        connection: &Connection,
        launcher: &Launcher,
        diversion: StdioDiversion,
        stop: StopSignal<'_>,
    ) -> Result<Option<Relay>, Refusal> {
        let caller = (self.on_hangup == HangupAction::Kill).then_some(connection.caller());
        let taken = match self.relay {
            None => launcher.await_stdio(caller, stop).map(|()| None),
            Some((summoned, stdin, tty)) => {
                let StdioDiversion { captures, audit } = diversion;
                let task = RelayTask { connection: connection.as_fd(), captures, stdin, tty, audit };
                connection.lend();
                summoned.equip(launcher, task, caller, stop).map(Some)
            }
        };
        let is_unfit = |refusal: &Refusal| matches!(refusal, Refusal::Descriptors(descriptors) if *descriptors != DescriptorFault::Late);
        if taken.as_ref().err().is_none_or(is_unfit) {
            connection.note_taken();
        }
        taken
    }
}
