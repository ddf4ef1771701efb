//! The words of the language: every attribute, where it may stand, and whether this version has it. A slot cannot have
//! one of these names.

use super::resources::ResourceKey;

/// What an attribute sets.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Key {
    Timeout,
    Cwd,
    Umask,
    Env,
    Setenv,
    ExecPath,
    Stdin,
    Tty,
    OnHangup,
    Background,
    MaxCalls,
    Log,
    /// The capture of this descriptor.
    Capture(usize),
    CaptureMax,
    Logfile,
    Audit,
    Scope,
    Resource(ResourceKey),
    Journal,
    Sync,
    AllowDash,
    AllowAny,
    Accepts,
    Refuses,
    /// Described, but not built yet: an error wherever it stands.
    Later,
}

impl Key {
    /// Whether a stanza may have it more than once.
    pub(super) fn repeats(self) -> bool {
        matches!(self, Self::Setenv | Self::Accepts | Self::Refuses)
    }
}

/// Where an attribute may stand.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Place {
    Anywhere,
    Defaults,
    Rule,
}

const ATTRIBUTES: &[(&str, Key, Place)] = &[
    ("timeout", Key::Timeout, Place::Anywhere),
    ("cwd", Key::Cwd, Place::Anywhere),
    ("umask", Key::Umask, Place::Anywhere),
    ("env", Key::Env, Place::Anywhere),
    ("setenv", Key::Setenv, Place::Anywhere),
    ("exec_path", Key::ExecPath, Place::Anywhere),
    ("stdin", Key::Stdin, Place::Anywhere),
    ("tty", Key::Tty, Place::Anywhere),
    ("on_hangup", Key::OnHangup, Place::Anywhere),
    ("background", Key::Background, Place::Anywhere),
    ("max_calls", Key::MaxCalls, Place::Anywhere),
    ("log", Key::Log, Place::Anywhere),
    ("stdinfile", Key::Capture(0), Place::Anywhere),
    ("stdoutfile", Key::Capture(1), Place::Anywhere),
    ("stderrfile", Key::Capture(2), Place::Anywhere),
    ("capture_max", Key::CaptureMax, Place::Anywhere),
    ("logfile", Key::Logfile, Place::Defaults),
    ("audit", Key::Audit, Place::Defaults),
    ("scope", Key::Scope, Place::Defaults),
    ("MemoryMax", Key::Resource(ResourceKey::MemoryMax), Place::Anywhere),
    ("MemoryHigh", Key::Resource(ResourceKey::MemoryHigh), Place::Anywhere),
    ("MemorySwapMax", Key::Resource(ResourceKey::MemorySwapMax), Place::Anywhere),
    ("TasksMax", Key::Resource(ResourceKey::TasksMax), Place::Anywhere),
    ("CPUQuota", Key::Resource(ResourceKey::CpuQuota), Place::Anywhere),
    ("CPUWeight", Key::Resource(ResourceKey::CpuWeight), Place::Anywhere),
    ("IOWeight", Key::Resource(ResourceKey::IoWeight), Place::Anywhere),
    ("RuntimeMaxSec", Key::Resource(ResourceKey::RuntimeMax), Place::Anywhere),
    ("OOMPolicy", Key::Resource(ResourceKey::OomPolicy), Place::Anywhere),
    ("Slice", Key::Resource(ResourceKey::Slice), Place::Anywhere),
    ("journal", Key::Journal, Place::Defaults),
    ("sync", Key::Sync, Place::Defaults),
    ("allow_dash", Key::AllowDash, Place::Rule),
    ("allow_any", Key::AllowAny, Place::Rule),
    ("accepts", Key::Accepts, Place::Rule),
    ("refuses", Key::Refuses, Place::Rule),
];

const LATER: &[&str] = &["confine", "read", "write", "exec", "net", "unix", "syscalls", "on_missing"];

/// The attributes of this version, in the order of the manual.
pub fn attributes() -> impl Iterator<Item = &'static str> {
    ATTRIBUTES.iter().map(|(name, ..)| *name)
}

/// What an attribute sets, and where it may stand.
pub(super) fn find(name: &str) -> Option<(Key, Place)> {
    let known = ATTRIBUTES.iter().find(|(known, ..)| *known == name);
    let later = || LATER.contains(&name).then_some((Key::Later, Place::Anywhere));
    known.map(|(_, key, place)| (*key, *place)).or_else(later)
}

/// Whether a name is an attribute's, in this version or a later one.
pub(super) fn is_attribute(name: &str) -> bool {
    find(name).is_some()
}

/// The one of `known` that `name` is most likely a slip for.
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
