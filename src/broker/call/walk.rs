//! The walk of one call: the only file that knows the order, and the only place that replies.
//!
//! Up to the start record a request can only be refused, with one [`Refusal`]; after it, it can only end, with one
//! [`CallOutcome`]. Nothing is answered before one of the two is on record.

use std::ffi::CString;
use std::io;
use std::os::fd::AsFd;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::time::Instant;

use crate::audit::{CallOutcome, CallStart, Caller, RefusedRequest, StartedCall};
use crate::broker::admitted::{AdmittedCall, AllowedCall, SecondLook, decide};
use crate::broker::notice::Notice;
use crate::broker::request::ClientRequest;
use crate::broker::ruleset::Ruleset;
use crate::broker::state::{Broker, ServedSocket};
use crate::ids::{CallId, ClaimedWord};
use crate::limits::{LISTING_BYTES_MAX, REQUEST_FDS};
use crate::refusal::{DescriptorFault, Refusal};
use crate::rules::{BoundWord, HangupAction, LogPolicy, MatchedRule, Policy, RuleSettings};
use crate::sd::described;
use crate::spawn::{
    CallScope, LaunchPlan, Launcher, Relay, ResolvedProgram, ScopeWant, SupervisedCall, resolve, supervise,
};
use crate::wire::{Malformed, Request, Status};

use super::captures::{CallCaptures, OpenCaptures, say_failure, values};
use super::intake::{StdioDiversion, StdioIntake, look};

/// What a request turned out to be.
pub(super) enum DecodedRequest {
    Nothing,
    Call(Box<AllowedCall>),
    List(String),
}

/// Puts a refusal on record, then answers with it.
pub(in crate::broker) fn refuse(
    broker: &Broker,
    socket: &ServedSocket,
    client: &ClientRequest,
    refusal: &Refusal,
) {
    let caller =
        client.caller.clone().or_else(|| client.connector.map(|connector| Caller::new(connector, None)));
    let argv: Vec<_> = client.argv.iter().map(ClaimedWord::as_str).collect();
    let rejected = RefusedRequest::new(&socket.name, caller, &argv, refusal);
    let is_hidden = argv.first().is_some_and(|program| socket.rules.policy().hides(program));
    let rejected = if is_hidden { rejected.without_words() } else { rejected };
    let call = broker.record_refusal(socket, client.call, &rejected);
    client.reply_why(refusal.status(), Some(call), &refusal.told());
    refuse_more(broker, socket, client);
}

/// Turns out a call that still waits for its place.
pub(in crate::broker) fn turn_out(broker: &Broker, socket: &ServedSocket, admitted: &AdmittedCall) {
    refuse(broker, socket, &admitted.client, &Refusal::Stopping);
}

/// From bytes to what they ask for. Nothing has changed yet.
pub(super) fn ask(
    broker: &Broker,
    socket: &ServedSocket,
    client: &mut ClientRequest,
) -> Result<DecodedRequest, Refusal> {
    let Some(message) = look(client)? else { return Ok(DecodedRequest::Nothing) };
    let request = Request::decode(&message.bytes).map_err(Refusal::Malformed)?;
    if broker.events.is_stopping() {
        return Err(Refusal::Stopping);
    }
    let policy = socket.rules.policy();
    let Request::Call(argv) = request else { return listing(&policy) };
    client.argv.clone_from(&argv);
    let caller = client.caller.clone().ok_or(Refusal::NoCredentials)?;
    if !message.brings_descriptors {
        return Err(Refusal::Descriptors(DescriptorFault::Count(0)));
    }
    let matched = decide(&broker.events, &policy, &argv)?;
    Ok(DecodedRequest::Call(Box::new(AllowedCall::new(caller, matched, policy))))
}

fn listing(policy: &Policy) -> Result<DecodedRequest, Refusal> {
    let text = policy.listing();
    if text.len() > LISTING_BYTES_MAX {
        return Err(Refusal::ListingTooLarge(text.len()));
    }
    Ok(DecodedRequest::List(text))
}

/// A call that ran, or nearly.
pub(super) struct EndedCall {
    pub(in crate::broker) call: CallId,
    pub(in crate::broker) status: Status,
    /// Why there is no exit status, as the caller is told.
    pub(in crate::broker) why: Option<String>,
    /// Whether its command could not be ended.
    pub(super) is_stuck: bool,
    pub(super) captures: [Option<PathBuf>; REQUEST_FDS],
    /// One that has no more to do.
    pub(super) relay: Option<Relay>,
    pub(super) remains: Option<OpenCaptures>,
}

/// A connection carries one request. What else its caller sent is put on record as refused.
pub(super) fn refuse_more(broker: &Broker, socket: &ServedSocket, client: &ClientRequest) {
    for _ in 0..client.connection.count_rest() {
        let refusal = Refusal::Malformed(Malformed::Second);
        let rejected = RefusedRequest::new(&socket.name, client.caller.clone(), &[], &refusal);
        broker.record_refusal(socket, None, &rejected);
    }
}

/// How far a request has come: what can still become of it.
#[derive(Clone, Copy, Debug)]
pub(super) enum CallStage {
    Asked,
    Started,
    Answered,
}

/// Runs a call that has a place. Gives nothing when it is another rule's by now, whose place it has to have.
/// The launcher is left in `launcher`: its descriptors here are closed when the caller has its answer.
pub(super) fn run(
    broker: &Broker,
    socket: &ServedSocket,
    client: &mut ClientRequest,
    allowed: &mut AllowedCall,
    launcher: &mut Option<Launcher>,
    stage: &mut CallStage,
) -> Result<Option<EndedCall>, Refusal> {
    let Some(taken) = take_launcher(broker, socket, client, allowed)? else { return Ok(None) };
    let launcher = launcher.insert(taken);
    let rule = allowed.matched.rule.clone();
    let settings = &rule.settings;
    if broker.reaper.wants_reaper(settings.background) {
        launcher.begin_reaper(broker.events.as_stop())?;
    }
    let launcher = &*launcher;
    // It wakes, and has the descriptors by the time that they are waited for.
    let intake = StdioIntake::begin(&broker.pool, client, launcher, settings)?;
    let mut planned = PlannedCall::new(broker, &allowed.matched)?;
    // What is named by the call's number gives it one before its first record.
    let number = || *client.call.insert(socket.rules.manifest().take_number());
    let values = values(&allowed.caller, &socket.name);
    let mut files = CallCaptures::create(&socket.rules, &allowed.policy, &rule, values, number)?;
    let captures = files.paths();
    let diversion =
        StdioDiversion { captures: files.take_files(settings.capture_max), audit: allowed.policy.audit() };
    let relay = intake.finish(client, launcher, diversion, broker.events.as_stop())?;
    if allowed.settle(&socket.rules, &broker.events, &client.argv)? == SecondLook::Other {
        planned = PlannedCall::new(broker, &allowed.matched)?;
    }
    let AllowedCall { caller, matched, policy, .. } = &*allowed;
    let (rule, settings) = (&matched.rule, &matched.rule.settings);
    let PlannedCall { plan, resolved } = &planned;
    let resolved = resolved.path().to_string_lossy();
    let scope = launcher.scope().map_or_else(|| "off".into(), CallScope::label);
    let file = (policy.files().first().map(|top| top.as_path()) != Some(&rule.file))
        .then(|| rule.file.to_string_lossy());
    let opening = CallStart {
        socket: &socket.name,
        rule: rule.line,
        file: file.as_deref(),
        argv: matched.argv.iter().map(BoundWord::as_str).collect(),
        paths: matched.places.iter().map(|place| &*place.located.path).collect(),
        resolved: &resolved,
        cwd: &settings.cwd.to_string_lossy(),
        caller,
        child: launcher.command().as_raw(),
        scope: &scope,
        cgroup: launcher.scope().and_then(CallScope::place),
        captures: captures.each_ref().map(|path| path.as_deref().and_then(Path::to_str)),
        policy: policy.hash(),
        hidden: settings.log == LogPolicy::ExitOnly,
    };
    let started = begin(&socket.rules, client.call, &opening)?;
    *stage = CallStage::Started;
    broker.deferred.turn_to(&socket.rules);
    files.stay();
    let call = started.call();
    let lasts = || broker.scopes.note_lasting(launcher, || description(call, &opening));
    let deadline = settings.timeout.and_then(|timeout| Instant::now().checked_add(timeout));
    let watched = watched(broker, client, settings, deadline, relay.as_ref(), &lasts);
    let outcome = supervise(launcher, plan, &watched);
    if let Some(relay) = &relay {
        say_failure(&socket.rules, relay, &captures);
    }
    let goes_on = outcome.as_ref().is_ok_and(|outcome| outcome.goes_on().capturing);
    let is_stuck = outcome.as_ref().is_ok_and(CallOutcome::leaves_some);
    let unknown = |_: &io::Error| Some("how it ended is not known".into());
    let why = outcome.as_ref().map_or_else(unknown, |outcome| outcome.told(settings.timeout));
    let status = end(broker, &socket.rules, started, outcome, &opening);
    let (remains, relay) = if goes_on { (relay, None) } else { (None, relay) };
    let remains = remains.map(|relay| OpenCaptures { call, relay, deadline });
    Ok(Some(EndedCall { call, status, why, is_stuck, captures, relay, remains }))
}

/// A process for the command, in a scope as far as its rule asks for one. Nothing when it is another rule's
/// call by now: that may take a while.
fn take_launcher(
    broker: &Broker,
    socket: &ServedSocket,
    client: &ClientRequest,
    allowed: &mut AllowedCall,
) -> Result<Option<Launcher>, Refusal> {
    if allowed.look_again(&socket.rules, &broker.events, &client.argv)? == SecondLook::Other {
        return Ok(None);
    }
    let settings = &allowed.matched.rule.settings;
    if settings.on_hangup == HangupAction::Kill && client.is_over() {
        return Err(Refusal::Left);
    }
    let want =
        ScopeWant { socket: &socket.name, mode: allowed.policy.scope(), resources: &settings.resources };
    let launcher = broker.scopes.take(&want)?;
    let still = allowed.look_again(&socket.rules, &broker.events, &client.argv)?;
    Ok((still == SecondLook::Same).then_some(launcher))
}

/// The start on record; before this nothing has changed, from here on something may run.
fn begin<'r>(
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

/// The call's number and words for whoever looks at the units, unless its log policy keeps the words to itself.
fn description(call: CallId, opening: &CallStart<'_>) -> String {
    let argv = if opening.hidden { &[][..] } else { &opening.argv };
    described(call, argv.iter().copied())
}

fn watched<'a>(
    broker: &'a Broker,
    client: &'a ClientRequest,
    settings: &RuleSettings,
    deadline: Option<Instant>,
    relay: Option<&'a Relay>,
    lasts: &'a dyn Fn(),
) -> SupervisedCall<'a> {
    SupervisedCall {
        reaper: &broker.reaper,
        connection: client.connection.as_fd(),
        stop: broker.events.as_stop(),
        deadline,
        on_hangup: settings.on_hangup,
        background: settings.background,
        relay,
        lasts,
    }
}

/// The end on record, and what the caller is answered.
fn end(
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
            return Status::AUDIT; // dropping `started` records that the end was not seen
        }
    };
    rules.heed(started.finish(&outcome, opening));
    outcome.status()
}

/// What runs for a request, as the rule that it matched has it.
struct PlannedCall {
    resolved: ResolvedProgram,
    plan: LaunchPlan,
}

impl PlannedCall {
    fn new(broker: &Broker, matched: &MatchedRule) -> Result<Self, Refusal> {
        let settings = &matched.rule.settings;
        let resolved = resolve(&matched.rule.program, settings, &broker.environment)?;
        let text = |bytes: &[u8]| CString::new(bytes).expect("neither requests nor rules hold a NUL");
        let plan = LaunchPlan {
            program: resolved.to_c(),
            cwd: text(settings.cwd.as_os_str().as_bytes()),
            argv: matched.words().map(|word| text(word.as_bytes())).collect(),
            environment: broker.environment.of_command(settings),
            opened: matched.opened().map(|path| text(path.as_bytes())).collect(),
            umask: settings.umask,
        };
        Ok(Self { resolved, plan })
    }
}
