//! The settings of a rule and of its socket, written as in a rules file, each with its value in force.

use std::path::Path;
use std::time::Duration;

use crate::rules::{
    AuditMode, BackgroundMode, CaptureMax, DenialLog, ExecPath, HangupAction, JournalMode, LogPolicy, Policy,
    Resource, ResourceKey, ResourceValue, RuleSettings, ScopeMode, StdinMode, SyncMode, TtyMode,
};
use crate::text::quoted;

/// The key and the value of every setting that is in force, but for the confinement.
pub(super) fn settings_of(settings: &RuleSettings) -> Vec<(&'static str, String)> {
    let mut all = vec![
        ("timeout", settings.timeout.map_or("none".into(), written_duration)),
        ("cwd", settings.cwd.display().to_string()),
        ("umask", format!("{:03o}", settings.umask)),
        ("env", if settings.env.is_empty() { "none".into() } else { settings.env.join(",") }),
    ];
    let pair = |(name, value): &(String, String)| ("setenv", quoted(&format!("{name}={value}")).into_owned());
    all.extend(settings.setenv.iter().map(pair));
    all.extend(settings.credentials.iter().map(|secret| ("credential", secret.to_string())));
    all.extend([
        ("exec_path", exec_path(&settings.exec_path)),
        ("stdin", if settings.stdin == StdinMode::Null { "null" } else { "caller" }.into()),
        ("tty", if settings.tty == TtyMode::Hide { "hide" } else { "pass" }.into()),
        ("on_hangup", if settings.on_hangup == HangupAction::Keep { "keep" } else { "kill" }.into()),
        ("background", if settings.background == BackgroundMode::Keep { "keep" } else { "kill" }.into()),
        ("max_calls", settings.max_calls.map_or("none".into(), |calls| calls.to_string())),
        ("log", log(settings.log).into()),
    ]);
    if settings.denials == DenialLog::Kernel {
        all.push(("denials", "log".into()));
    }
    let files = ["stdinfile", "stdoutfile", "stderrfile"].into_iter().zip(&settings.captures);
    all.extend(files.filter_map(|(key, file)| Some((key, file.as_ref()?.to_string()))));
    if settings.captures.iter().any(Option::is_some) {
        all.push(("capture_max", capture_max(settings.capture_max)));
    }
    all.extend(settings.resources.iter().map(|resource| (resource.key.as_str(), amount(resource))));
    all
}

/// The settings of a socket, which hold for all its calls.
pub(super) fn of_socket(policy: &Policy, manifest: Option<&Path>) -> Vec<(&'static str, String)> {
    let audit = if policy.audit() == AuditMode::Strict { "strict" } else { "best-effort" };
    let scope = match policy.scope() {
        ScopeMode::Auto => "auto",
        ScopeMode::Require => "require",
        ScopeMode::Delegate => "delegate",
        ScopeMode::Off => "off",
    };
    let journal = match policy.journal() {
        JournalMode::Off => "off",
        JournalMode::On => "on",
        JournalMode::Require => "require",
    };
    let sync = if policy.sync() == SyncMode::Disk { "yes" } else { "no" };
    let fifo = if policy.has_fifo_door() { "yes" } else { "no" };
    let manifest = manifest.map(|path| ("logfile", path.display().to_string()));
    let mut all = vec![("max_calls", policy.max_calls().to_string())];
    all.extend(
        [("audit", audit), ("scope", scope), ("journal", journal), ("sync", sync), ("fifo", fifo)]
            .map(|(key, value)| (key, value.into())),
    );
    all.extend(manifest);
    if !policy.caller_writes().is_empty() {
        let paths = policy.caller_writes().iter().map(|path| quoted(&path.to_string_lossy()).into_owned());
        all.push(("caller_writes", paths.collect::<Vec<_>>().join(" ")));
    }
    all
}

fn exec_path(path: &ExecPath) -> String {
    match path {
        ExecPath::Inherit => "inherit".into(),
        ExecPath::List(list) => list.iter().map(|dir| dir.to_string_lossy()).collect::<Vec<_>>().join(":"),
    }
}

fn log(log: LogPolicy) -> &'static str {
    match log {
        LogPolicy::Full => "full",
        LogPolicy::ArgvOnly => "argv-only",
        LogPolicy::ExitOnly => "exit-only",
    }
}

fn capture_max(most: CaptureMax) -> String {
    match most {
        CaptureMax::Bytes(bytes) => written_bytes(bytes),
        CaptureMax::Unlimited => "none".into(),
    }
}

/// A time in the largest unit in which it is a whole number.
fn written_duration(duration: Duration) -> String {
    let ms = duration.as_millis();
    let unit =
        [(3_600_000, "h"), (60_000, "m"), (1000, "s")].into_iter().find(|(unit, _)| ms.is_multiple_of(*unit));
    let (unit, name) = unit.unwrap_or((1, "ms"));
    format!("{}{name}", ms / unit)
}

/// Bytes, with the largest suffix with which they are a whole number.
pub(super) fn written_bytes(bytes: u64) -> String {
    let unit = [(40, "T"), (30, "G"), (20, "M"), (10, "K")].into_iter();
    let unit = unit.map(|(shift, name)| (1u64 << shift, name)).find(|(unit, _)| bytes.is_multiple_of(*unit));
    let (unit, name) = unit.filter(|_| bytes > 0).unwrap_or((1, ""));
    format!("{}{name}", bytes / unit)
}

fn amount(resource: &Resource) -> String {
    match &resource.value {
        ResourceValue::Number(u64::MAX) => "infinity".into(),
        ResourceValue::Number(quota) if resource.key == ResourceKey::CpuQuota => {
            format!("{}%", quota / 10_000)
        }
        ResourceValue::Number(time) if resource.key == ResourceKey::RuntimeMax => format!("{time}us"),
        ResourceValue::Number(bytes) if resource.key.is_bytes() => written_bytes(*bytes),
        ResourceValue::Number(number) => number.to_string(),
        ResourceValue::Share(share) => {
            format!("{}%", (u64::from(*share) * 100).div_ceil(u64::from(u32::MAX)))
        }
        ResourceValue::Text(text) => text.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn amounts_are_shown_as_they_are_written() {
        let durations = [250, 1000, 1500, 60_000, 90_000, 7_200_000].map(Duration::from_millis);
        assert_eq!(durations.map(written_duration), ["250ms", "1s", "1500ms", "1m", "90s", "2h"]);
        let bytes = [0, 1000, 1024, 64 << 20, (64 << 20) + 1, 3 << 30, 1 << 40];
        assert_eq!(bytes.map(written_bytes), ["0", "1000", "1K", "64M", "67108865", "3G", "1T"]);
    }
}
