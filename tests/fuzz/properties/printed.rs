//! A policy as a rules file that means the same: one file, nothing left to defaults. The manifest's path and
//! the command lines of `accepts` and `refuses` are not a part of what a rule decides, and are left out.

use std::fmt::Write;

use sluice::rules::{
    AuditMode, BackgroundMode, CaptureMax, DashPolicy, ExecPath, ExpectedWord, HangupAction, JournalMode,
    LogPolicy, PathForm, Policy, Resource, ResourceKey, ResourceValue, Rule, RuleSettings, ScopeMode, Slot,
    SlotCount, StdinMode, SyncMode, TtyMode,
};

use super::quoting::{Quoting, single as quoted};

/// The text of a rules file, its words written in one way.
pub(crate) fn text(policy: &Policy, quoting: Quoting) -> String {
    let audit = match policy.audit() {
        AuditMode::Strict => "strict",
        AuditMode::BestEffort => "best-effort",
    };
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
    let mut text = String::from("defaults:\n");
    for (key, value) in [("audit", audit), ("scope", scope), ("journal", journal), ("sync", sync)] {
        line(&mut text, &format!("  {key} = {value}"));
    }
    line(&mut text, &format!("  max_calls = {}", policy.max_calls()));
    for rule in policy.rules() {
        text.push('\n');
        rule.comments().for_each(|comment| line(&mut text, &format!("; {comment}")));
        let words: Vec<_> = rule.words().iter().map(|expected| word(expected, quoting)).collect();
        line(&mut text, &(words.join(" ") + quoting.comment()));
        rule.slots().for_each(|slot| constraint(&mut text, slot));
        widening(&mut text, rule);
        settings(&mut text, &rule.settings, quoting);
    }
    text
}

fn line(text: &mut String, line: &str) {
    writeln!(text, "{line}").expect("a string takes any text");
}

fn word(expected: &ExpectedWord, quoting: Quoting) -> String {
    match expected {
        ExpectedWord::Literal(literal) => quoting.word(literal),
        ExpectedWord::Slot(slot) if slot.takes() == SlotCount::Several => format!("#{}...", slot.name()),
        ExpectedWord::Slot(slot) => format!("#{}", slot.name()),
    }
}

fn constraint(text: &mut String, slot: &Slot) {
    if let Some(regex) = slot.regex() {
        line(text, &format!("  {} = {}", slot.name(), quoted(regex)));
    }
    if let Some(directory) = slot.directory() {
        let directory = directory.display().to_string().replace(';', "\\;");
        let handed = if slot.handed() == Some(PathForm::Descriptor) { " as fd" } else { "" };
        line(text, &format!("  {} = in {directory}{handed}", slot.name()));
    }
}

fn widening(text: &mut String, rule: &Rule) {
    let names = |wanted: fn(&&Slot) -> bool| {
        rule.slots().filter(wanted).map(Slot::name).collect::<Vec<_>>().join(", ")
    };
    let any = names(|slot| slot.regex().is_none() && slot.directory().is_none());
    let dash = names(|slot| slot.regex().is_some() && slot.dash() == DashPolicy::Allowed);
    for (key, names) in [("allow_any", any), ("allow_dash", dash)] {
        if !names.is_empty() {
            line(text, &format!("  {key} = {names}"));
        }
    }
}

fn settings(text: &mut String, settings: &RuleSettings, quoting: Quoting) {
    let RuleSettings {
        timeout,
        cwd,
        umask,
        env,
        setenv,
        credentials,
        exec_path,
        stdin,
        on_hangup,
        background,
        max_calls,
        log,
        tty,
        captures,
        capture_max,
        resources,
        confinement: _,
    } = settings;
    let exec_path = match exec_path {
        ExecPath::Inherit => "inherit".to_owned(),
        ExecPath::List(list) => {
            quoted(&list.iter().map(|dir| dir.display().to_string()).collect::<Vec<_>>().join(":"))
        }
    };
    let mut stated = vec![
        ("cwd", quoted(&cwd.display().to_string())),
        ("umask", format!("{umask:o}")),
        ("env", if env.is_empty() { "none".into() } else { env.join(",") }),
        ("exec_path", exec_path),
        ("stdin", if *stdin == StdinMode::Null { "null" } else { "caller" }.into()),
        ("on_hangup", if *on_hangup == HangupAction::Keep { "keep" } else { "kill" }.into()),
        ("background", if *background == BackgroundMode::Keep { "keep" } else { "kill" }.into()),
        ("log", log_name(*log).into()),
        ("tty", if *tty == TtyMode::Hide { "hide" } else { "pass" }.into()),
        (
            "capture_max",
            match capture_max {
                CaptureMax::Bytes(bytes) => bytes.to_string(),
                CaptureMax::Unlimited => "none".into(),
            },
        ),
    ];
    stated.extend(timeout.map(|timeout| ("timeout", format!("{}ms", timeout.as_millis()))));
    stated.extend(max_calls.map(|calls| ("max_calls", calls.to_string())));
    stated.extend(setenv.iter().map(|(name, value)| ("setenv", quoting.word(&format!("{name}={value}")))));
    stated.extend(credentials.iter().map(|secret| ("credential", secret.to_string())));
    let files = ["stdinfile", "stdoutfile", "stderrfile"].into_iter().zip(captures);
    stated.extend(files.filter_map(|(key, file)| Some((key, quoted(&file.as_ref()?.to_string())))));
    stated.extend(resources.iter().map(resource));
    stated.iter().for_each(|(key, value)| line(text, &format!("  {key} = {value}")));
}

fn resource(resource: &Resource) -> (&'static str, String) {
    let (name, unit) = match resource.key {
        ResourceKey::MemoryMax => ("MemoryMax", ""),
        ResourceKey::MemoryHigh => ("MemoryHigh", ""),
        ResourceKey::MemorySwapMax => ("MemorySwapMax", ""),
        ResourceKey::TasksMax => ("TasksMax", ""),
        ResourceKey::CpuQuota => ("CPUQuota", "%"),
        ResourceKey::CpuWeight => ("CPUWeight", ""),
        ResourceKey::IoWeight => ("IOWeight", ""),
        ResourceKey::RuntimeMax => ("RuntimeMaxSec", "us"),
        ResourceKey::OomPolicy => ("OOMPolicy", ""),
        ResourceKey::Slice => ("Slice", ""),
    };
    let value = match &resource.value {
        ResourceValue::Number(u64::MAX) => "infinity".into(),
        ResourceValue::Number(0) if resource.key == ResourceKey::CpuWeight => "idle".into(),
        ResourceValue::Number(number) if unit == "%" => format!("{}%", number / 10_000),
        ResourceValue::Number(number) => format!("{number}{unit}"),
        ResourceValue::Share(share) => {
            format!("{}%", (u64::from(*share) * 100).div_ceil(u64::from(u32::MAX)))
        }
        ResourceValue::Text(text) => quoted(text),
    };
    (name, value)
}

fn log_name(log: LogPolicy) -> &'static str {
    match log {
        LogPolicy::Full => "full",
        LogPolicy::ArgvOnly => "argv-only",
        LogPolicy::ExitOnly => "exit-only",
    }
}
