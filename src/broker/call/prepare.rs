//! Making a call ready: a process for its command, with the caller's descriptors, and the plan for that
//! process. Until its start is on record, the call can be refused.

use std::ffi::CString;
use std::os::unix::ffi::OsStrExt;
use std::sync::Arc;

use crate::audit::CallStart;
use crate::broker::admitted::{AllowedCall, SecondLook};
use crate::broker::state::Broker;
use crate::confine::PreparedConfinement;
use crate::refusal::Refusal;
use crate::rules::{BoundWord, HangupAction, LogPolicy, RuleSettings};
use crate::spawn::{
    CallScope, LaunchPlan, LaunchSecrets, Launcher, Relay, ResolvedProgram, ScopeWant, resolve,
};

use super::captures::{CallCaptures, values};
use super::context::{CallContext, RefusedCall};
use super::credentials::read_credentials;
use super::stdio::{StdioDiversion, StdioIntake};

/// A call that is ready to begin: nothing of it is on record, and its command does not run yet.
pub(super) struct PreparedCall<'c> {
    pub(super) context: CallContext<'c>,
    pub(super) allowed: &'c AllowedCall,
    pub(super) planned: PlannedCall,
    pub(super) captures: CallCaptures,
    /// The process that moves captured or hidden streams.
    pub(super) relay: Option<Relay>,
    pub(super) launcher: Launcher,
}

impl<'c> PreparedCall<'c> {
    /// Makes an admitted call ready. `None` when another rule decides by now, whose place the call needs.
    pub(super) fn new(
        context: CallContext<'c>,
        allowed: &'c mut AllowedCall,
    ) -> Result<Option<Self>, RefusedCall> {
        let Some(mut launcher) = take_launcher(context, allowed)? else { return Ok(None) };
        match equip(context, allowed, &mut launcher) {
            Ok((planned, captures, relay)) => {
                Ok(Some(Self { context, allowed, planned, captures, relay, launcher }))
            }
            Err(refusal) => Err(RefusedCall { refusal, launcher: Some(launcher) }),
        }
    }

    /// Calls `record` with the description of the call for its records.
    pub(super) fn with_opening<T>(&self, record: impl FnOnce(&CallStart<'_>) -> T) -> T {
        let AllowedCall { caller, matched, policy, .. } = self.allowed;
        let (rule, settings) = (&matched.rule, &matched.rule.settings);
        let resolved = self.planned.resolved.path().to_string_lossy();
        let scope = self.launcher.scope().map_or_else(|| "off".into(), CallScope::label);
        let is_included = policy.files().first().map(|top| top.as_path()) != Some(&rule.file);
        let file = is_included.then(|| rule.file.to_string_lossy());
        record(&CallStart {
            socket: &self.context.socket.name,
            rule: rule.line,
            file: file.as_deref(),
            argv: matched.argv.iter().map(BoundWord::as_str).collect(),
            paths: matched.places.iter().map(|place| &*place.located.path).collect(),
            resolved: &resolved,
            cwd: &settings.cwd.to_string_lossy(),
            caller,
            child: self.launcher.command().as_raw(),
            scope: &scope,
            group: self.launcher.scope().and_then(CallScope::group_name),
            cgroup: self.launcher.scope().and_then(CallScope::place),
            captures: self.captures.path_texts(),
            confinement: self.planned.plan.confinement.as_deref().map(PreparedConfinement::enforced),
            policy: policy.hash(),
            hidden: settings.log == LogPolicy::ExitOnly,
        })
    }
}

/// Takes a process for the command, in a scope where its rule asks for one. `None` when another rule decides
/// by now: it may take a while to get a process.
fn take_launcher(context: CallContext<'_>, allowed: &mut AllowedCall) -> Result<Option<Launcher>, Refusal> {
    let CallContext { broker, socket, client, .. } = context;
    if allowed.look_again(&socket.rules, &broker.events, &client.argv)? == SecondLook::Other {
        return Ok(None);
    }
    let settings = &allowed.matched.rule.settings;
    if settings.on_hangup == HangupAction::Kill && client.connection.is_over() {
        return Err(Refusal::Left);
    }
    let want =
        ScopeWant { socket: &socket.name, mode: allowed.policy.scope(), resources: &settings.resources };
    let launcher = broker.scopes.take(&want)?;
    let still = allowed.look_again(&socket.rules, &broker.events, &client.argv)?;
    Ok((still == SecondLook::Same).then_some(launcher))
}

/// Gives the launcher the caller's descriptors, or a relay's, and makes the call's plan meanwhile.
fn equip(
    context: CallContext<'_>,
    allowed: &mut AllowedCall,
    launcher: &mut Launcher,
) -> Result<(PlannedCall, CallCaptures, Option<Relay>), Refusal> {
    let CallContext { broker, socket, client, .. } = context;
    let (connection, stop) = (&client.connection, broker.events.as_stop());
    let rule = allowed.matched.rule.clone();
    let settings = &rule.settings;
    if broker.reaper.wants_reaper(settings.background) {
        launcher.begin_reaper(stop)?;
    }
    // The launcher wakes here, and takes the descriptors while the plan is made.
    let intake = StdioIntake::begin(&broker.pool, connection, launcher, settings)?;
    let mut planned = PlannedCall::new(broker, allowed)?;
    let mut captures = create_captures(context, allowed)?;
    let files = captures.take_files(settings.capture_max);
    let diversion = StdioDiversion { captures: files, audit: allowed.policy.audit() };
    let relay = intake.finish(connection, launcher, diversion, stop)?;
    if allowed.settle(&socket.rules, &broker.events, &client.argv)? == SecondLook::Other {
        planned = PlannedCall::new(broker, allowed)?;
    }
    Ok((planned, captures, relay))
}

/// New files for the streams that the rule captures. Their names hold the call's number, which the call gets
/// here, before its first record.
fn create_captures(context: CallContext<'_>, allowed: &AllowedCall) -> Result<CallCaptures, Refusal> {
    let CallContext { socket, client, .. } = context;
    let number = || {
        let call = socket.rules.manifest().take_number();
        client.call.set(Some(call));
        call
    };
    let values = values(&allowed.caller, &socket.name);
    CallCaptures::create(&socket.rules, &allowed.policy, &allowed.matched.rule, values, number)
}

/// The program of a call, and the plan for its process.
pub(super) struct PlannedCall {
    resolved: ResolvedProgram,
    pub(super) plan: LaunchPlan,
    /// Taken out when the launcher gets the plan.
    pub(super) secrets: LaunchSecrets,
}

impl PlannedCall {
    fn new(broker: &Broker, allowed: &AllowedCall) -> Result<Self, Refusal> {
        let matched = &allowed.matched;
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
            confinement: confine(broker, settings)?,
            denials: settings.denials,
        };
        let handed = plan.opened.len();
        let secrets = read_credentials(&settings.credentials, &broker.environment, handed)?;
        Ok(Self { resolved, plan, secrets })
    }
}

/// What confines the commands of a rule, ready for one of them.
fn confine(broker: &Broker, settings: &RuleSettings) -> Result<Option<Arc<PreparedConfinement>>, Refusal> {
    let prepare = |wanted| broker.confiner.prepare(wanted, &broker.pool);
    settings.confinement.as_ref().map(prepare).transpose()
}
