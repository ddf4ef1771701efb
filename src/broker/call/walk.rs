//! The steps of one call that has a place: prepared, begun, ended. Each step consumes the one before, so
//! types keep the order.
//!
//! Up to the start record a call can only be refused, with one [`Refusal`]; after it, it can only end, with
//! one [`CallOutcome`]. Nothing is answered before one of the two is on record; `handler.rs` answers.

use std::io;
use std::path::PathBuf;
use std::time::Instant;

use crate::audit::{CallOutcome, CallStart, DeniedAccesses, StartedCall};
use crate::broker::admitted::AllowedCall;
use crate::broker::notice::Notice;
use crate::broker::ruleset::Ruleset;
use crate::broker::state::Broker;
use crate::ids::CallId;
use crate::limits::REQUEST_FDS;
use crate::refusal::Refusal;
use crate::rules::{BoundWord, LogPolicy};
use crate::sd::described;
use crate::spawn::{LaunchSecrets, Launcher, Relay, SupervisedCall, supervise};
use crate::wire::Status;
use crate::wire::v2::CallEnd;

use super::captures::{OpenCaptures, say_failure};
use super::context::{CallContext, CallStage, RefusedCall};
use super::prepare::PreparedCall;

/// Runs a call that has a place. `None` when another rule decides by now, whose place the call needs.
pub(super) fn run<'c>(
    context: CallContext<'c>,
    allowed: &'c mut AllowedCall,
) -> Result<Option<EndedCall>, RefusedCall> {
    let Some(prepared) = PreparedCall::new(context, allowed)? else { return Ok(None) };
    let begun = BegunCall::new(prepared)?;
    Ok(Some(begun.end()))
}

/// A call whose start is on record. Dropped before its end, it is on record as lost.
struct BegunCall<'c> {
    // Declared first, so that it is dropped first: a lost call is on record before its process is let go.
    started: StartedCall<'c>,
    prepared: PreparedCall<'c>,
}

/// A call whose end is on record, and the work that is left after the answer.
pub(super) struct EndedCall {
    pub(super) call: CallId,
    pub(super) status: Status,
    /// How the command ended; `None` where nothing of it ran.
    pub(super) end: Option<CallEnd>,
    /// The reason why there is no exit status, as the caller is told.
    pub(super) why: Option<String>,
    pub(super) launcher: Launcher,
    /// Whether its command could not be ended.
    pub(super) is_stuck: bool,
    pub(super) captures: [Option<PathBuf>; REQUEST_FDS],
    /// A relay that has no more to do.
    pub(super) relay: Option<Relay>,
    /// The captures to which processes that the command left running go on writing.
    pub(super) remains: Option<OpenCaptures>,
}

impl<'c> BegunCall<'c> {
    /// Puts the start on record. Before this nothing has changed; from here on the command may run.
    fn new(mut prepared: PreparedCall<'c>) -> Result<Self, RefusedCall> {
        let CallContext { broker, socket, client, stage } = prepared.context;
        let record = |opening: &CallStart<'_>| record_start(&socket.rules, client.call.get(), opening);
        match prepared.with_opening(record) {
            Ok(started) => {
                stage.set(CallStage::Started);
                broker.deferred.turn_to(&socket.rules);
                prepared.captures.stay();
                Ok(Self { started, prepared })
            }
            Err(refusal) => Err(RefusedCall { refusal, launcher: Some(prepared.launcher) }),
        }
    }

    /// Runs the command, and puts its end on record.
    fn end(mut self) -> EndedCall {
        let CallContext { broker, socket, .. } = self.prepared.context;
        let timeout = self.prepared.allowed.matched.rule.settings.timeout;
        let begun_at = Instant::now();
        let deadline = timeout.and_then(|timeout| begun_at.checked_add(timeout));
        let secrets = std::mem::take(&mut self.prepared.planned.secrets);
        let mut outcome = self.supervise(secrets, deadline);
        if let Ok(CallOutcome::Ran { status, denied, .. }) = &mut outcome
            && *status != Status::exited(0)
        {
            *denied = self.denied(begun_at);
        }
        let Self { started, prepared } = self;
        let captures = prepared.captures.paths();
        if let Some(relay) = &prepared.relay {
            say_failure(&socket.rules, relay, &captures);
        }
        let goes_on = outcome.as_ref().is_ok_and(|outcome| outcome.goes_on().capturing);
        let is_stuck = outcome.as_ref().is_ok_and(CallOutcome::leaves_some);
        let unseen = |_: &io::Error| Some(CallEnd::unseen(Status::AUDIT));
        let end = outcome.as_ref().map_or_else(unseen, |outcome| outcome.end(begun_at.elapsed()));
        let unknown = |_: &io::Error| Some("how it ended is not known".into());
        let why = outcome.as_ref().map_or_else(unknown, |outcome| outcome.told(timeout));
        let call = started.call();
        let record = |opening: &CallStart<'_>| record_end(broker, &socket.rules, started, outcome, opening);
        let status = prepared.with_opening(record);
        let PreparedCall { launcher, relay, .. } = prepared;
        let (remains, relay) = if goes_on { (relay, None) } else { (None, relay) };
        let remains = remains.map(|relay| OpenCaptures { call, relay, deadline });
        EndedCall { call, status, end, why, launcher, is_stuck, captures, relay, remains }
    }

    /// The accesses that the kernel is known to have denied the command, which has ended and failed.
    fn denied(&self, begun_at: Instant) -> DeniedAccesses {
        let PreparedCall { context, allowed, planned, launcher, .. } = &self.prepared;
        let settings = &allowed.matched.rule.settings;
        let is_told = planned.plan.logs_denials() && settings.log != LogPolicy::ExitOnly;
        let watch = context.broker.denials.as_ref().filter(|_| is_told);
        watch.map(|watch| watch.take(launcher.command().as_raw(), begun_at)).unwrap_or_default()
    }

    /// Has the launcher become the command, and supervises the command and all that it started to their end.
    fn supervise(&self, secrets: LaunchSecrets, deadline: Option<Instant>) -> io::Result<CallOutcome> {
        let PreparedCall { context, allowed, planned, relay, launcher, .. } = &self.prepared;
        let (broker, settings) = (context.broker, &allowed.matched.rule.settings);
        let call = self.started.call();
        let lasts = || {
            context.client.tell_started(call);
            broker.scopes.note_lasting(launcher, || description(call, allowed));
        };
        let keeps = || broker.scopes.note_kept(launcher, || description(call, allowed));
        let watched = SupervisedCall {
            reaper: &broker.reaper,
            caller: context.client.connection.caller(),
            stop: broker.events.as_stop(),
            deadline,
            on_hangup: settings.on_hangup,
            background: settings.background,
            relay: relay.as_ref(),
            begun: &|| broker.scopes.clean_several(),
            lasts: &lasts,
            keeps: &keeps,
        };
        supervise(launcher, &planned.plan, secrets, &watched)
    }
}

/// Puts a start on record. Errors: it cannot be written, and the rules refuse such a call.
fn record_start<'r>(
    rules: &'r Ruleset,
    call: Option<CallId>,
    opening: &CallStart<'_>,
) -> Result<StartedCall<'r>, Refusal> {
    let (started, written) = StartedCall::new(rules.manifest(), call, opening);
    let Err(source) = written else {
        rules.say_kept();
        return Ok(started);
    };
    rules.say_lost(&source);
    if rules.is_strict() {
        started.withdraw(opening, &source);
        return Err(Refusal::AuditLost { path: rules.manifest().path(), source });
    }
    rules.heed(rules.reopen_manifest().and_then(|()| started.write_again(opening)));
    Ok(started)
}

/// The call's number and words for a person who looks at the units, without the words where the log policy
/// keeps them out.
fn description(call: CallId, allowed: &AllowedCall) -> String {
    let is_hidden = allowed.matched.rule.settings.log == LogPolicy::ExitOnly;
    let argv = if is_hidden { &[][..] } else { &allowed.matched.argv };
    described(call, argv.iter().map(BoundWord::as_str))
}

/// Puts an end on record, and returns the status for the caller.
fn record_end(
    broker: &Broker,
    rules: &Ruleset,
    started: StartedCall<'_>,
    outcome: io::Result<CallOutcome>,
    opening: &CallStart<'_>,
) -> Status {
    let outcome = match outcome {
        Ok(outcome) => outcome,
        Err(source) => {
            (broker.say)(&Notice::CallLost(&source));
            // Dropping `started` records that the end was not seen.
            return Status::AUDIT;
        }
    };
    rules.heed(started.finish(&outcome, opening));
    outcome.status()
}
