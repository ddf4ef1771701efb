//! `sluice selftest`: tries on this kernel what a profile promises. Each attempt to get out is made twice: as
//! a call of a broker, confined (`private_broker.rs`), and by this process's own child, unconfined. An
//! attempt that fails in both says nothing.

use std::collections::HashMap;
use std::ffi::OsStr;
use std::fmt;
use std::io::{self, Write};
use std::path::PathBuf;
use std::process::ExitCode;

use nix::errno::Errno;
use serde::Serialize;
use serde_json::Value;

use crate::client::CallFailure;
use crate::rules::Confinement;
use crate::text::visible;

use super::exit::{NO, answer, fail};
use super::output::{OutputForm, write_json};

mod attempts;
mod escape_attempt;
mod named_profile;
mod private_broker;
mod promise;
mod targets;

use attempts::{NO_ATTEMPT, attempts};
use escape_attempt::EscapeAttempt;
use named_profile::confinement_of;
use private_broker::PrivateBroker;
use promise::ConfinedPart;
use targets::{EscapeTargets, TargetFixture};

/// The built-in profiles that promise anything.
const BUILT_IN: [&str; 4] = ["system", "workspace", "build", "git"];

/// Tests a profile, or without one the built-in ones, on targets in a directory (the home, if it is `None`).
pub(super) fn run(
    profile: Option<&str>,
    rules: Option<&OsStr>,
    directory: Option<PathBuf>,
    form: OutputForm,
) -> ExitCode {
    let profiles = profile.map_or(BUILT_IN.to_vec(), |profile| vec![profile]);
    let home = directory.or_else(|| std::env::var_os("HOME").map(PathBuf::from));
    let fixture = match TargetFixture::new(&home.unwrap_or_else(|| "/var/tmp".into())) {
        Ok(fixture) => fixture,
        Err(source) => return fail(&format!("sluice: the test's files cannot be made: {source}")),
    };
    let mut confinements = Vec::new();
    for profile in profiles {
        match confinement_of(profile, rules, &fixture.targets.workspace) {
            Ok(confinement) => confinements.push((profile, confinement)),
            Err(why) => return fail(&why),
        }
    }
    let mut test = match SelfTest::new(fixture) {
        Ok(test) => test,
        Err(source) => return fail(&format!("sluice: {source}")),
    };
    let mut fault = None;
    let code = answer(|out| {
        let mut code = ExitCode::SUCCESS;
        for (profile, confinement) in &confinements {
            match test.report(profile, confinement, form, out) {
                Ok(true) => {}
                Ok(false) => code = ExitCode::from(NO),
                Err(source) if source.kind() == io::ErrorKind::BrokenPipe => return Err(source),
                Err(source) => {
                    fault = Some(source);
                    break;
                }
            }
            out.flush()?;
        }
        Ok(code)
    });
    fault.map_or(code, |source| fail(&format!("sluice: the test cannot go on: {source}")))
}

/// Makes one attempt in this process, which was started for it.
pub(super) fn attempt(name: &str, targets: &OsStr) -> ExitCode {
    let targets = targets.to_str().and_then(|text| serde_json::from_str::<EscapeTargets>(text).ok());
    match targets {
        Some(targets) => attempts::make(name, &targets),
        None => fail("sluice: these are no targets"),
    }
}

/// How an attempt ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum AttemptEnd {
    Done,
    /// It failed, or was ended, with this exit code.
    Failed(u8),
}

impl AttemptEnd {
    fn of_code(code: u8) -> Self {
        if code == 0 { Self::Done } else { Self::Failed(code) }
    }
}

impl fmt::Display for AttemptEnd {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Done => f.write_str("done"),
            Self::Failed(code) => {
                let errno = Errno::from_raw(i32::from(*code));
                if errno == Errno::UnknownErrno { f.write_str("refused") } else { write!(f, "{errno:?}") }
            }
        }
    }
}

/// What an attempt shows of a profile.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
enum AttemptResult {
    /// It fails because of the confinement.
    Held,
    /// It succeeds, although the profile promises that it does not.
    NotHeld,
    /// It fails without a confinement too.
    Untold,
    /// The profile does not promise that it fails.
    Open,
}

impl AttemptResult {
    fn new(is_promised: bool, confined: AttemptEnd, control: AttemptEnd) -> Self {
        match (is_promised, confined, control) {
            (true, AttemptEnd::Done, _) => Self::NotHeld,
            (true, AttemptEnd::Failed(_), AttemptEnd::Done) => Self::Held,
            (true, AttemptEnd::Failed(_), AttemptEnd::Failed(_)) => Self::Untold,
            (false, _, _) => Self::Open,
        }
    }

    fn as_str(self) -> &'static str {
        match self {
            Self::Held => "held",
            Self::NotHeld => "NOT HELD",
            Self::Untold => "untold",
            Self::Open => "open",
        }
    }
}

/// The line of an attempt.
#[derive(Serialize)]
struct AttemptLine<'a> {
    profile: &'a str,
    attempt: &'static str,
    what: &'static str,
    part: ConfinedPart,
    result: AttemptResult,
    confined: String,
    unconfined: String,
}

/// The first line of a profile.
#[derive(Serialize)]
struct ProfileLine<'a> {
    profile: &'a str,
    /// What the record of a call says of its confinement.
    #[serde(skip_serializing_if = "Option::is_none")]
    confinement: Option<Value>,
    /// Why no call runs with this profile.
    #[serde(skip_serializing_if = "Option::is_none")]
    refused: Option<String>,
}

/// A test of profiles, with what was found out without any of them.
struct SelfTest {
    fixture: TargetFixture,
    /// The targets, as an attempt is told them.
    told: String,
    controls: HashMap<&'static str, AttemptEnd>,
}

impl SelfTest {
    fn new(fixture: TargetFixture) -> io::Result<Self> {
        let told = serde_json::to_string(&fixture.targets)?;
        Ok(Self { fixture, told, controls: HashMap::new() })
    }

    /// Tests a profile and writes the lines of it. Whether all that it promises holds.
    fn report(
        &mut self,
        profile: &str,
        by: &Confinement,
        form: OutputForm,
        out: &mut dyn Write,
    ) -> io::Result<bool> {
        self.fixture.put_back()?;
        let workspace = &self.fixture.targets.workspace;
        let broker = PrivateBroker::start(self.fixture.broker_directory(), workspace, by)?;
        let refused = match broker.attempt([NO_ATTEMPT, &self.told]) {
            Ok(0) => None,
            Ok(code) => Some(format!("this program does not start, confined so: it ends with {code}")),
            Err(failure) => {
                let detail = broker.recorded("detail");
                Some(detail.as_ref().and_then(Value::as_str).map_or(failure_text(&failure), str::to_owned))
            }
        };
        let head = ProfileLine { profile, confinement: broker.recorded("confinement"), refused };
        write_head(out, form, &head)?;
        if head.refused.is_some() {
            return Ok(false);
        }
        let is_whole = head.confinement.is_some_and(|confinement| confinement.get("missing").is_none());
        let mut counts: HashMap<&str, u32> = HashMap::new();
        for attempt in attempts() {
            let line = self.line(profile, by, attempt, &broker)?;
            *counts.entry(line.result.as_str()).or_default() += 1;
            write_line(out, form, &line)?;
        }
        let count = |result: AttemptResult| counts.get(result.as_str()).copied().unwrap_or_default();
        if form == OutputForm::Text {
            let [held, not_held, untold, open] =
                [AttemptResult::Held, AttemptResult::NotHeld, AttemptResult::Untold, AttemptResult::Open]
                    .map(count);
            writeln!(out, "  {held} held, {not_held} not held, {untold} cannot be told, {open} open")?;
        }
        Ok(is_whole && count(AttemptResult::NotHeld) == 0)
    }

    fn line<'a>(
        &mut self,
        profile: &'a str,
        by: &Confinement,
        attempt: &'static EscapeAttempt,
        broker: &PrivateBroker,
    ) -> io::Result<AttemptLine<'a>> {
        let control = self.control(attempt.name, broker)?;
        self.fixture.put_back()?;
        let confined = broker.attempt([attempt.name, &self.told]);
        let confined =
            AttemptEnd::of_code(confined.map_err(|failure| io::Error::other(failure_text(&failure)))?);
        let is_promised = attempt.part.is_promised(by, &self.fixture.targets);
        Ok(AttemptLine {
            profile,
            attempt: attempt.name,
            what: attempt.what,
            part: attempt.part,
            result: AttemptResult::new(is_promised, confined, control),
            confined: confined.to_string(),
            unconfined: control.to_string(),
        })
    }

    /// How an attempt ends without a confinement, found out once.
    fn control(&mut self, name: &'static str, broker: &PrivateBroker) -> io::Result<AttemptEnd> {
        if let Some(known) = self.controls.get(name) {
            return Ok(*known);
        }
        self.fixture.put_back()?;
        let code = broker.control([name, &self.told]);
        let end = AttemptEnd::of_code(code.map_err(|failure| io::Error::other(failure_text(&failure)))?);
        self.controls.insert(name, end);
        Ok(end)
    }
}

fn write_head(out: &mut dyn Write, form: OutputForm, head: &ProfileLine<'_>) -> io::Result<()> {
    if form == OutputForm::Json {
        return write_json(out, head);
    }
    writeln!(out, "{}", visible(head.profile))?;
    if let Some(confinement) = &head.confinement {
        writeln!(out, "  confined by {}", mechanisms(confinement))?;
        if let Some(missing) = confinement.get("missing").and_then(Value::as_array) {
            let missing: Vec<_> = missing.iter().filter_map(Value::as_str).collect();
            writeln!(out, "  NOT ENFORCED: {}", missing.join(", "))?;
        }
    }
    head.refused.as_ref().map_or(Ok(()), |why| writeln!(out, "  NOT HELD: no call runs: {}", visible(why)))
}

/// Why a call did not run, in the broker's words where it gave some.
fn failure_text(failure: &CallFailure) -> String {
    match failure {
        CallFailure::Refused(_, Some(explanation)) => explanation.reason().to_owned(),
        CallFailure::Words(_)
        | CallFailure::Unreached(_)
        | CallFailure::Unsent(_)
        | CallFailure::Version1Only
        | CallFailure::Unanswered
        | CallFailure::Unreadable(_)
        | CallFailure::Refused(_, None) => format!("{failure:?}"),
    }
}

/// What enforces a confinement, by its record.
fn mechanisms(confinement: &Value) -> String {
    let is_there = |name: &str| confinement.get(name) == Some(&Value::Bool(true));
    let landlock = confinement.get("landlock").map(|abi| format!("Landlock {abi}"));
    let filter = is_there("seccomp").then(|| "a system call filter".to_owned());
    let mounts = is_there("mounts").then(|| "a mount namespace".to_owned());
    let all: Vec<_> = landlock.into_iter().chain(filter).chain(mounts).collect();
    if all.is_empty() { "nothing".to_owned() } else { all.join(", ") }
}

fn write_line(out: &mut dyn Write, form: OutputForm, line: &AttemptLine<'_>) -> io::Result<()> {
    if form == OutputForm::Json {
        return write_json(out, line);
    }
    let AttemptLine { what, result, confined, unconfined, .. } = line;
    let why = match result {
        AttemptResult::Held => confined.clone(),
        AttemptResult::NotHeld => "it succeeds".to_owned(),
        AttemptResult::Untold => format!("{unconfined} without a confinement, too"),
        AttemptResult::Open => "not promised".to_owned(),
    };
    writeln!(out, "  {:<8}  {what}: {why}", result.as_str())
}
