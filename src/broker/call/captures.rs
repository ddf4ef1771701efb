//! The capture files of one call: making them where its rule wants them, refusing a call that cannot have
//! them, and capturing after the answer.

use std::fs::File;
use std::path::{Path, PathBuf};
use std::time::Instant;

use crate::audit::{Caller, CaptureFile, StartedCall, now_ms};
use crate::ids::{CallId, SocketName};
use crate::limits::{DRAIN_MAX, REQUEST_FDS};
use crate::refusal::Refusal;
use crate::rules::{AuditMode, CaptureMax, Policy, Rule, TemplateValues};
use crate::spawn::{Relay, StopSignal};

use crate::broker::ruleset::Ruleset;

/// New files for the streams of one call. Dropping them before [`Self::stay`] removes them.
#[derive(Debug, Default)]
pub(super) struct CallCaptures([Option<CaptureFile>; REQUEST_FDS]);

impl CallCaptures {
    /// Makes the files that a rule wants, and calls `number` for the number in their names. A file that
    /// cannot be made refuses the call under `audit = strict`; otherwise the call runs without it.
    pub(in crate::broker) fn create(
        rules: &Ruleset,
        policy: &Policy,
        rule: &Rule,
        values: TemplateValues,
        number: impl FnOnce() -> CallId,
    ) -> Result<Self, Refusal> {
        let mut captures = Self::default();
        if rule.settings.captures.iter().all(Option::is_none) {
            return Ok(captures);
        }
        let call = number();
        let values = TemplateValues { call: Some(call), rule: Some(rule.line), ..values };
        for (capture, template) in captures.0.iter_mut().zip(&rule.settings.captures) {
            let Some(path) = template.as_ref().map(|template| template.expand(&values)) else { continue };
            match CaptureFile::create(&path, call) {
                Ok(file) => *capture = Some(file),
                Err(source) if policy.audit() == AuditMode::Strict => {
                    return Err(Refusal::CaptureLost { path, source });
                }
                Err(source) => rules.say_capture_lost(path, &source),
            }
        }
        Ok(captures)
    }

    /// The paths of the files.
    pub(in crate::broker) fn paths(&self) -> [Option<PathBuf>; REQUEST_FDS] {
        self.0.each_ref().map(|capture| capture.as_ref().map(|capture| capture.path().to_owned()))
    }

    /// The paths of the files, as records have them.
    pub(super) fn path_texts(&self) -> [Option<&str>; REQUEST_FDS] {
        self.0.each_ref().map(|capture| capture.as_ref()?.path().to_str())
    }

    /// The files, once, each with the most bytes that it may hold.
    pub(super) fn take_files(&mut self, max: CaptureMax) -> [Option<(File, u64)>; REQUEST_FDS] {
        let max = match max {
            CaptureMax::Bytes(bytes) => bytes,
            CaptureMax::Unlimited => u64::MAX,
        };
        self.0.each_mut().map(|capture| Some((capture.as_mut()?.take_file()?, max)))
    }

    /// Keeps the files: they are named on record from now on.
    pub(super) fn stay(&mut self) {
        self.0.iter_mut().flatten().for_each(CaptureFile::stay);
    }
}

/// The values of the placeholders of a call's captures, except its number and rule.
pub(in crate::broker) fn values(caller: &Caller, socket: &SocketName) -> TemplateValues {
    TemplateValues {
        // Of a process that cannot be seen from here, the kernel gives the number 0.
        pid: caller.pid().map_or(Some(0), |pid| u32::try_from(pid).ok()),
        uid: Some(caller.uid()),
        ts_ms: Some(now_ms()),
        socket: Some(socket.clone()),
        ..TemplateValues::default()
    }
}

/// The captures of a call that has been answered, to which processes that its command left running go on
/// writing.
#[derive(Debug)]
pub(super) struct OpenCaptures {
    pub(in crate::broker) call: CallId,
    pub(super) relay: Relay,
    /// The time of the rule's timeout.
    pub(in crate::broker) deadline: Option<Instant>,
}

impl OpenCaptures {
    /// Captures the output of the processes that the command left running, and puts on record how much that
    /// was.
    pub(super) fn outlast(self, rules: &Ruleset, paths: &[Option<PathBuf>], stop: StopSignal<'_>) {
        let until = self.deadline.map(|deadline| deadline + DRAIN_MAX);
        // A wait that fails counts as over: the steps after it do not depend on it.
        self.relay.wait_over(until, stop.stopping).ok();
        self.relay.finish(Instant::now());
        self.relay.wait_over(Some(Instant::now() + DRAIN_MAX), stop.hurry).ok();
        self.relay.cut_off();
        say_failure(rules, &self.relay, paths);
        rules.heed(StartedCall::close_captures(rules.manifest(), self.call, &self.relay.captured()));
        self.relay.end().into_iter().for_each(|relay| relay.outlast(stop.stopping));
    }
}

/// Reports which capture failed, if one did.
pub(super) fn say_failure(rules: &Ruleset, relay: &Relay, paths: &[Option<PathBuf>]) {
    let Some((index, source)) = relay.failure() else { return };
    let path = paths.get(index).and_then(Option::as_deref).unwrap_or(Path::new(""));
    rules.say_capture_lost(path.to_owned(), &source);
}
