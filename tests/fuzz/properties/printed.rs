//! A policy as a rules file that means the same: one file, nothing left to defaults or to profiles. The
//! manifest's path and the command lines of `accepts` and `refuses` are not a part of what a rule decides,
//! and are left out.

use std::collections::BTreeSet;
use std::fmt::Write;

use sluice::rules::{
    AuditMode, BUILT_IN_PROFILES, BackgroundMode, CaptureMax, ConfinedPath, Confinement, DashPolicy,
    DenialLog, ExecPath, ExpectedWord, HangupAction, JournalMode, LogPolicy, NetAccess, OnMissing, PathForm,
    Policy, ProcessLimit, Resource, ResourceKey, ResourceValue, Rule, RuleSettings, ScopeMode, Slot,
    SlotCount, StdinMode, SyncMode, SyscallSet, TmpAccess, TtyMode, UnixAccess,
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
    if !policy.caller_writes().is_empty() {
        let paths = policy.caller_writes().iter().map(|path| quoting.word(&path.display().to_string()));
        line(&mut text, &format!("  caller_writes = {}", paths.collect::<Vec<_>>().join(" ")));
    }
    profiles(&mut text, policy);
    for rule in policy.rules() {
        text.push('\n');
        rule.comments().for_each(|comment| line(&mut text, &format!("; {comment}")));
        let words: Vec<_> = rule.words().iter().map(|expected| word(expected, quoting)).collect();
        line(&mut text, &(words.join(" ") + quoting.comment()));
        rule.slots().for_each(|slot| constraint(&mut text, slot));
        widening(&mut text, rule);
        settings(&mut text, &rule.settings, quoting);
        let confinement = rule.settings.confinement.as_deref();
        confinement.into_iter().for_each(|confinement| confined(&mut text, confinement, quoting));
    }
    text
}

/// The profiles that a rule of these names, without keys: these stand in the rules themselves.
fn profiles(text: &mut String, policy: &Policy) {
    let confined = policy.rules().iter().filter_map(|rule| rule.settings.confinement.as_ref());
    let names: BTreeSet<_> = confined.map(|confinement| &*confinement.profile).collect();
    let built_in = |name: &str| BUILT_IN_PROFILES.lines().any(|line| line == format!("profile {name}:"));
    for name in names.into_iter().filter(|name| !built_in(name)) {
        line(text, &format!("profile {name}:"));
    }
}

fn confined(text: &mut String, confinement: &Confinement, quoting: Quoting) {
    let Confinement {
        profile,
        read,
        write,
        exec,
        hide,
        protect,
        net,
        unix,
        syscalls,
        tmp,
        on_missing,
        limits,
    } = confinement;
    if &**profile != "none" {
        line(text, &format!("  confine = {profile}"));
    }
    let places = |places: &[ConfinedPath]| {
        let word = |place: &ConfinedPath| {
            let sign = if place.optional { "-" } else { "" };
            quoting.word(&format!("{sign}{}", place.path.display()))
        };
        places.iter().map(word).collect::<Vec<_>>().join(" ")
    };
    for (key, list) in [("read", read), ("write", write), ("exec", exec)] {
        let Some(list) = list else { continue };
        let list = if list.is_empty() { "none".into() } else { places(list) };
        line(text, &format!("  {key} = {list}"));
    }
    for (key, list) in [("hide", hide), ("protect", protect)] {
        if !list.is_empty() {
            line(text, &format!("  {key} = {}", places(list)));
        }
    }
    let net = match net {
        NetAccess::None => "none".into(),
        NetAccess::Any => "any".into(),
        NetAccess::Tcp(ports) => {
            format!("tcp:{}", ports.iter().map(u16::to_string).collect::<Vec<_>>().join(","))
        }
    };
    let unix = match unix {
        UnixAccess::None => "none".into(),
        UnixAccess::Any => "any".into(),
        UnixAccess::Paths(paths) => places(paths),
    };
    let syscalls = match syscalls {
        SyscallSet::Default => "default",
        SyscallSet::Strict => "strict",
        SyscallSet::Any => "any",
    };
    let tmp = if *tmp == TmpAccess::Private { "private" } else { "shared" };
    let on_missing = if *on_missing == OnMissing::Degrade { "degrade" } else { "refuse" };
    line(text, &format!("  net = {net}\n  unix = {unix}\n  syscalls = {syscalls}"));
    line(text, &format!("  tmp = {tmp}\n  on_missing = {on_missing}"));
    for (limit, most) in limits {
        let key = match limit {
            ProcessLimit::Nofile => "nofile",
            ProcessLimit::Core => "core",
            ProcessLimit::Nproc => "nproc",
            ProcessLimit::Fsize => "fsize",
        };
        line(text, &format!("  {key} = {most}"));
    }
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
        denials,
        // `confined` prints it.
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
        ("denials", if *denials == DenialLog::Kernel { "log" } else { "off" }.into()),
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
