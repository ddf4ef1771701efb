//! The published rules for a tree that an agent writes, as a test serves them: the tree is where they say,
//! below a home of the test's own.

/// The rules as they are published.
pub(super) const PUBLISHED: &str = include_str!("../../../examples/confined.rules");

/// One more rule, by which an attack that reaches the broker would be on record.
const REACHED: &str = "\n/bin/echo reached\n";

/// How the commands of the published rules are confined.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Policy {
    /// Not at all, and what they leave running stays: the positive control.
    Unconfined,
    /// As published.
    Published,
    /// By the built-in profile of this name.
    BuiltIn(&'static str),
}

/// The published rules under this policy, with their manifest where a test's broker has it.
pub(super) fn rules(policy: Policy) -> String {
    let mut lines = Vec::new();
    let mut is_profile = false;
    for line in PUBLISHED.lines() {
        let key = line.trim().split(" =").next().unwrap_or_default().trim_end();
        if !line.starts_with([' ', ';']) {
            is_profile = line.starts_with("profile ");
        }
        let line = match (key, policy) {
            ("logfile", _) => "  logfile = @DIR@/audit/manifest.jsonl".to_owned(),
            ("confine", Policy::Unconfined) => "  background = keep".to_owned(),
            ("confine", Policy::BuiltIn(name)) => format!("  confine = {name}"),
            ("caller_writes", Policy::Unconfined) => continue,
            _ if is_profile && policy != Policy::Published => continue,
            _ => line.to_owned(),
        };
        lines.push(line);
    }
    lines.join("\n") + REACHED
}
