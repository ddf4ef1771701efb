//! The vocabulary of rules files: every attribute, and where it may stand. A slot cannot have the name of an
//! attribute.

use super::confinement::ProcessLimit;
use super::resources::ResourceKey;
use super::stated_confinement::{ConfiningKey, PlaceList};

/// The setting of an attribute.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum AttributeKey {
    Timeout,
    Cwd,
    Umask,
    Env,
    Setenv,
    Credential,
    ExecPath,
    Stdin,
    Tty,
    OnHangup,
    Background,
    MaxCalls,
    Log,
    Denials,
    /// The capture of this descriptor.
    Capture(usize),
    CaptureMax,
    Logfile,
    Audit,
    Scope,
    Resource(ResourceKey),
    Journal,
    Fifo,
    Sync,
    AllowDash,
    AllowAny,
    Accepts,
    Refuses,
    /// The profile that confines a rule.
    Confine,
    /// The profile that a profile adds to.
    Extends,
    Confining(ConfiningKey),
    CallerWrites,
}

impl AttributeKey {
    /// Whether a stanza may have it more than once.
    pub(super) fn repeats(self) -> bool {
        let is_list = matches!(self, Self::Confining(ConfiningKey::Places(_)));
        is_list || matches!(self, Self::Setenv | Self::Credential | Self::Accepts | Self::Refuses)
    }
}

/// Where an attribute may stand.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum AttributePlace {
    /// In `defaults:` and in a rule.
    Anywhere,
    Defaults,
    Rule,
    Profile,
    /// In `defaults:`, in a rule and in a profile.
    Everywhere,
}

const ATTRIBUTES: &[(&str, AttributeKey, AttributePlace)] = &[
    ("timeout", AttributeKey::Timeout, AttributePlace::Anywhere),
    ("cwd", AttributeKey::Cwd, AttributePlace::Anywhere),
    ("umask", AttributeKey::Umask, AttributePlace::Anywhere),
    ("env", AttributeKey::Env, AttributePlace::Anywhere),
    ("setenv", AttributeKey::Setenv, AttributePlace::Everywhere),
    ("credential", AttributeKey::Credential, AttributePlace::Rule),
    ("exec_path", AttributeKey::ExecPath, AttributePlace::Anywhere),
    ("stdin", AttributeKey::Stdin, AttributePlace::Anywhere),
    ("tty", AttributeKey::Tty, AttributePlace::Anywhere),
    ("on_hangup", AttributeKey::OnHangup, AttributePlace::Anywhere),
    ("background", AttributeKey::Background, AttributePlace::Anywhere),
    ("max_calls", AttributeKey::MaxCalls, AttributePlace::Anywhere),
    ("log", AttributeKey::Log, AttributePlace::Anywhere),
    ("denials", AttributeKey::Denials, AttributePlace::Anywhere),
    ("stdinfile", AttributeKey::Capture(0), AttributePlace::Anywhere),
    ("stdoutfile", AttributeKey::Capture(1), AttributePlace::Anywhere),
    ("stderrfile", AttributeKey::Capture(2), AttributePlace::Anywhere),
    ("capture_max", AttributeKey::CaptureMax, AttributePlace::Anywhere),
    ("logfile", AttributeKey::Logfile, AttributePlace::Defaults),
    ("audit", AttributeKey::Audit, AttributePlace::Defaults),
    ("scope", AttributeKey::Scope, AttributePlace::Defaults),
    ("MemoryMax", AttributeKey::Resource(ResourceKey::MemoryMax), AttributePlace::Anywhere),
    ("MemoryHigh", AttributeKey::Resource(ResourceKey::MemoryHigh), AttributePlace::Anywhere),
    ("MemorySwapMax", AttributeKey::Resource(ResourceKey::MemorySwapMax), AttributePlace::Anywhere),
    ("TasksMax", AttributeKey::Resource(ResourceKey::TasksMax), AttributePlace::Anywhere),
    ("CPUQuota", AttributeKey::Resource(ResourceKey::CpuQuota), AttributePlace::Anywhere),
    ("CPUWeight", AttributeKey::Resource(ResourceKey::CpuWeight), AttributePlace::Anywhere),
    ("IOWeight", AttributeKey::Resource(ResourceKey::IoWeight), AttributePlace::Anywhere),
    ("RuntimeMaxSec", AttributeKey::Resource(ResourceKey::RuntimeMax), AttributePlace::Anywhere),
    ("OOMPolicy", AttributeKey::Resource(ResourceKey::OomPolicy), AttributePlace::Anywhere),
    ("Slice", AttributeKey::Resource(ResourceKey::Slice), AttributePlace::Anywhere),
    ("journal", AttributeKey::Journal, AttributePlace::Defaults),
    ("fifo", AttributeKey::Fifo, AttributePlace::Defaults),
    ("sync", AttributeKey::Sync, AttributePlace::Defaults),
    ("allow_dash", AttributeKey::AllowDash, AttributePlace::Rule),
    ("allow_any", AttributeKey::AllowAny, AttributePlace::Rule),
    ("accepts", AttributeKey::Accepts, AttributePlace::Rule),
    ("refuses", AttributeKey::Refuses, AttributePlace::Rule),
    ("confine", AttributeKey::Confine, AttributePlace::Anywhere),
    ("extends", AttributeKey::Extends, AttributePlace::Profile),
    ("read", places(PlaceList::Read), AttributePlace::Everywhere),
    ("write", places(PlaceList::Write), AttributePlace::Everywhere),
    ("exec", places(PlaceList::Exec), AttributePlace::Everywhere),
    ("hide", places(PlaceList::Hide), AttributePlace::Everywhere),
    ("protect", places(PlaceList::Protect), AttributePlace::Everywhere),
    ("net", AttributeKey::Confining(ConfiningKey::Net), AttributePlace::Everywhere),
    ("unix", AttributeKey::Confining(ConfiningKey::Unix), AttributePlace::Everywhere),
    ("syscalls", AttributeKey::Confining(ConfiningKey::Syscalls), AttributePlace::Everywhere),
    ("tmp", AttributeKey::Confining(ConfiningKey::Tmp), AttributePlace::Everywhere),
    ("on_missing", AttributeKey::Confining(ConfiningKey::OnMissing), AttributePlace::Everywhere),
    ("nofile", limit(ProcessLimit::Nofile), AttributePlace::Everywhere),
    ("core", limit(ProcessLimit::Core), AttributePlace::Everywhere),
    ("nproc", limit(ProcessLimit::Nproc), AttributePlace::Everywhere),
    ("fsize", limit(ProcessLimit::Fsize), AttributePlace::Everywhere),
    ("caller_writes", AttributeKey::CallerWrites, AttributePlace::Defaults),
];

const fn places(list: PlaceList) -> AttributeKey {
    AttributeKey::Confining(ConfiningKey::Places(list))
}

const fn limit(limit: ProcessLimit) -> AttributeKey {
    AttributeKey::Confining(ConfiningKey::Limit(limit))
}

/// The attributes of this version, in the order of the manual.
pub fn attributes() -> impl Iterator<Item = &'static str> {
    ATTRIBUTES.iter().map(|(name, ..)| *name)
}

/// The setting of the attribute with this name, and where it may stand.
pub(super) fn find(name: &str) -> Option<(AttributeKey, AttributePlace)> {
    let known = ATTRIBUTES.iter().find(|(known, ..)| *known == name);
    known.map(|(_, key, place)| (*key, *place))
}

/// The attributes that a profile may have.
pub(super) fn profile_keys() -> impl Iterator<Item = &'static str> {
    let of_profiles =
        |place: AttributePlace| matches!(place, AttributePlace::Profile | AttributePlace::Everywhere);
    ATTRIBUTES.iter().filter(move |(.., place)| of_profiles(*place)).map(|(name, ..)| *name)
}

/// Whether a name is an attribute's.
pub(super) fn is_attribute(name: &str) -> bool {
    find(name).is_some()
}

/// The name in `known` that `name` is most likely a misspelling of.
pub(super) fn nearest<'n>(name: &str, known: impl IntoIterator<Item = &'n str>) -> Option<&'n str> {
    if name.len() > 32 {
        return None;
    }
    let close = |known: &&str| distance(&known.to_lowercase(), &name.to_lowercase());
    let nearest = known.into_iter().min_by_key(close)?;
    let edits = close(&nearest);
    (edits <= 1 + name.len() / 4 && edits < name.len()).then_some(nearest)
}

/// How many single-character edits lie between two names.
fn distance(from: &str, to: &str) -> usize {
    let to: Vec<char> = to.chars().collect();
    let mut row: Vec<usize> = (0..=to.len()).collect();
    for (above, ch) in from.chars().enumerate() {
        let mut diagonal = std::mem::replace(&mut row[0], above + 1);
        for (at, other) in to.iter().enumerate() {
            let swap = diagonal + usize::from(ch != *other);
            diagonal = row[at + 1];
            row[at + 1] = swap.min(row[at] + 1).min(diagonal + 1);
        }
    }
    row[to.len()]
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(name: &str, want: Option<&str>) {
        assert_eq!(nearest(name, attributes()), want);
    }

    #[test]
    fn a_slip_finds_the_name_that_was_meant() {
        check("timout", Some("timeout"));
        check("exec-path", Some("exec_path"));
        check("Log", Some("log"));
        check("frobnicate", None);
        check("n", None);
        check("", None);
        check(&"x".repeat(40), None);
    }
}
