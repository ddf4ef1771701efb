//! A transient scope as the manager is asked for it: its name, its slice, its properties. Pure functions.

use std::os::fd::BorrowedFd;

use libsystemd::unit::escape_name;
use sha2::{Digest, Sha256};
use zbus::zvariant::{Fd, Value};

use crate::ids::{CallId, SocketName};
use crate::limits::{SCOPE_DESCRIPTION_CHARS_MAX, SCOPE_STOP_SPARE, SCOPE_TAG_BYTES_MAX, TERM_GRACE};
use crate::rules::{Resource, ResourceKey, ResourceValue};

/// The name of a scope: `sluice-SOCKET-PID-NUMBER.scope`, which no other scope of the manager has.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct ScopeName(String);

impl ScopeName {
    /// The `number`th scope of the broker `pid`, for a call at `socket`.
    pub fn new(socket: &SocketName, pid: u32, number: u64) -> Self {
        Self(format!("sluice-{}-{pid}-{number}.scope", tag(socket)))
    }

    /// The `number`th scope for a nursery of the broker `pid`. No socket's calls have such a one: a process's
    /// number stands there.
    pub fn of_nursery(pid: u32, number: u64) -> Self {
        Self(format!("sluice-{pid}-nursery-{number}.scope"))
    }

    /// The unit's name.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

/// The slice of a socket's calls; below `sluice.slice`, since each `-` nests.
pub fn slice_of(socket: &SocketName) -> String {
    format!("sluice-{}.slice", tag(socket))
}

/// A socket's name as a part of the name of a unit or group. A long name is cut, and its hash appended.
pub(super) fn tag(socket: &SocketName) -> String {
    let escaped = escape_name(socket.as_str());
    if escaped.is_empty() {
        return "_".into();
    }
    if escaped.len() <= SCOPE_TAG_BYTES_MAX {
        return escaped;
    }
    let hash = format!("{:x}", Sha256::digest(socket.as_str()));
    format!("{}_{}", &escaped[..SCOPE_TAG_BYTES_MAX - 17], &hash[..16])
}

/// The description of a running call, as `systemctl` shows it. The manager writes the text into a unit file,
/// so line ends, backslashes and other characters of the caller's that are not printable ASCII become `?`.
pub fn described<'w>(call: CallId, argv: impl Iterator<Item = &'w str>) -> String {
    let mut text = format!("sluice call {call}");
    for (at, word) in argv.enumerate() {
        text.push_str(if at == 0 { ": " } else { " " });
        text.extend(word.chars().take(SCOPE_DESCRIPTION_CHARS_MAX).map(printable));
        if text.len() > SCOPE_DESCRIPTION_CHARS_MAX {
            text.truncate(SCOPE_DESCRIPTION_CHARS_MAX - 3);
            text.push_str("...");
            break;
        }
    }
    text
}

/// The description of a scope without a call.
pub fn ready_text(socket: &SocketName) -> String {
    format!("sluice: ready for a call at {}", tag(socket))
}

fn printable(ch: char) -> char {
    if matches!(ch, ' '..='~') && ch != '\\' { ch } else { '?' }
}

/// A scope to be made.
#[derive(Clone, Copy, Debug)]
pub struct NewScope<'a> {
    /// Its name.
    pub name: &'a ScopeName,
    /// The socket it is for.
    pub socket: &'a SocketName,
    /// The pid of the process that goes in: a child of ours that is not reaped yet, so the pid is no other
    /// process's.
    pub pid: u32,
    /// The process's pidfd.
    pub pidfd: BorrowedFd<'a>,
    /// The broker's own unit: when it stops, so does the scope.
    pub broker: Option<&'a str>,
    /// The limits of the rule.
    pub resources: &'a [Resource],
}

/// How the process that goes into a scope is handed to the manager.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum HandoverMode {
    /// As a pidfd.
    Pidfd,
    /// As a pid.
    Pid,
}

impl NewScope<'_> {
    /// The properties, with their types on the bus.
    pub(super) fn properties(&self, handover: HandoverMode) -> Vec<(&'static str, Value<'_>)> {
        let grace = u64::try_from((TERM_GRACE + SCOPE_STOP_SPARE).as_micros()).unwrap_or(u64::MAX);
        let mut properties: Vec<(&str, Value<'_>)> = vec![
            ("Description", ready_text(self.socket).into()),
            process(handover, self.pid, self.pidfd),
            ("CollectMode", "inactive-or-failed".into()),
            ("DelegateControllers", self.controllers().into()),
            ("TimeoutStopUSec", grace.into()),
            ("KillMode", "control-group".into()),
            ("SendSIGKILL", true.into()),
        ];
        if let Some(broker) = self.broker {
            properties.push(("BindsTo", vec![broker].into()));
            // Stopping reverses `Before`: the manager stops the broker first, which ends its calls and
            // records their ends.
            properties.push(("Before", vec![broker].into()));
        }
        if !self.resources.iter().any(|resource| resource.key == ResourceKey::Slice) {
            properties.push(("Slice", slice_of(self.socket).into()));
        }
        // A manager leaves a delegated scope alone after a kill for want of memory: the broker does what the
        // rule says (`OOMPolicy`).
        let is_managers = |resource: &&Resource| resource.key != ResourceKey::OomPolicy;
        properties.extend(self.resources.iter().filter(is_managers).map(property));
        properties
    }

    /// The controllers that are delegated: one for the accounts, and one for the tasks of a rule, which are
    /// counted without the anchor. Each costs time in every call.
    fn controllers(&self) -> Vec<&'static str> {
        let has_tasks = self.resources.iter().any(|resource| resource.key == ResourceKey::TasksMax);
        if has_tasks { vec!["memory", "pids"] } else { vec!["memory"] }
    }
}

/// The process that goes into a scope.
fn process(handover: HandoverMode, pid: u32, pidfd: BorrowedFd<'_>) -> (&'static str, Value<'_>) {
    match handover {
        HandoverMode::Pidfd => ("PIDFDs", vec![Fd::from(pidfd)].into()),
        HandoverMode::Pid => ("PIDs", vec![pid].into()),
    }
}

/// The properties of a nursery's scope: it does nothing but end with the nursery.
pub(super) fn shelter(
    handover: HandoverMode,
    pid: u32,
    pidfd: BorrowedFd<'_>,
) -> Vec<(&'static str, Value<'_>)> {
    vec![
        ("Description", "sluice: makes the processes of calls".into()),
        process(handover, pid, pidfd),
        ("CollectMode", "inactive-or-failed".into()),
        ("Slice", "sluice.slice".into()),
    ]
}

fn property(resource: &Resource) -> (&'static str, Value<'_>) {
    let name = match (resource.key, &resource.value) {
        (ResourceKey::MemoryMax, ResourceValue::Share(_)) => "MemoryMaxScale",
        (ResourceKey::MemoryHigh, ResourceValue::Share(_)) => "MemoryHighScale",
        (ResourceKey::MemorySwapMax, ResourceValue::Share(_)) => "MemorySwapMaxScale",
        (ResourceKey::TasksMax, ResourceValue::Share(_)) => "TasksMaxScale",
        (ResourceKey::MemoryMax, _) => "MemoryMax",
        (ResourceKey::MemoryHigh, _) => "MemoryHigh",
        (ResourceKey::MemorySwapMax, _) => "MemorySwapMax",
        (ResourceKey::TasksMax, _) => "TasksMax",
        (ResourceKey::CpuQuota, _) => "CPUQuotaPerSecUSec",
        (ResourceKey::CpuWeight, _) => "CPUWeight",
        (ResourceKey::IoWeight, _) => "IOWeight",
        (ResourceKey::RuntimeMax, _) => "RuntimeMaxUSec",
        (ResourceKey::OomPolicy, _) => "OOMPolicy", // never sent
        (ResourceKey::Slice, _) => "Slice",
    };
    let value = match &resource.value {
        ResourceValue::Number(number) => (*number).into(),
        ResourceValue::Share(share) => (*share).into(),
        ResourceValue::Text(text) => text.as_str().into(),
    };
    (name, value)
}

#[cfg(test)]
mod tests {
    use std::os::fd::AsFd as _;

    use super::*;

    fn check(socket: &str, scope: &str, slice: &str) {
        let socket = SocketName::new(socket);
        assert_eq!(ScopeName::new(&socket, 12, 3).as_str(), scope);
        assert_eq!(slice_of(&socket), slice);
    }

    #[test]
    fn a_name_nests_no_slice_that_is_not_meant() {
        check("agent", "sluice-agent-12-3.scope", "sluice-agent.slice");
        check("my-agent", r"sluice-my\x2dagent-12-3.scope", r"sluice-my\x2dagent.slice");
        check("a/b c", r"sluice-a-b\x20c-12-3.scope", r"sluice-a-b\x20c.slice");
        check("", "sluice-_-12-3.scope", "sluice-_.slice");
    }

    #[test]
    fn a_long_name_stays_a_units_name_and_its_own() {
        let (one, other) = ("é".repeat(120), "é".repeat(121));
        let [one, other] = [one, other].map(|name| slice_of(&SocketName::new(name)));
        assert!(one.len() < 200 && one != other, "{one}");
    }

    #[test]
    fn a_description_is_one_printable_line() {
        let call = CallId::new(7);
        let words = ["sh", "-c", "echo\nMemoryMax=1 \\"];
        assert_eq!(described(call, words.into_iter()), "sluice call 7: sh -c echo?MemoryMax=1 ?");
        assert_eq!(described(call, [].into_iter()), "sluice call 7");
        let long = "x".repeat(10_000);
        assert_eq!(described(call, [long.as_str()].into_iter()).len(), SCOPE_DESCRIPTION_CHARS_MAX);
    }

    /// The values of this property of a scope for socket `a`.
    fn given(key: &str, resources: &[Resource], handover: HandoverMode) -> Vec<String> {
        let socket = SocketName::new("a");
        let name = ScopeName::new(&socket, 1, 1);
        let stdin = std::io::stdin();
        let scope = NewScope {
            name: &name,
            socket: &socket,
            pid: 7,
            pidfd: stdin.as_fd(),
            broker: Some("x"),
            resources,
        };
        let properties = scope.properties(handover);
        properties.iter().filter(|(name, _)| *name == key).map(|(_, value)| value.to_string()).collect()
    }

    #[test]
    fn a_rules_slice_takes_the_place_of_the_sockets() {
        let slice = Resource { key: ResourceKey::Slice, value: ResourceValue::Text("b.slice".into()) };
        let share = Resource { key: ResourceKey::MemoryMax, value: ResourceValue::Share(9) };
        let given = |key| given(key, &[slice.clone(), share.clone()], HandoverMode::Pid);
        assert_eq!(given("Slice"), [r#""b.slice""#]);
        assert_eq!(given("MemoryMaxScale"), ["uint32 9"]);
        assert_eq!(given("BindsTo").len(), 1);
    }

    #[test]
    fn a_process_is_handed_over_once() {
        assert_eq!(given("PIDs", &[], HandoverMode::Pid), ["[uint32 7]"]);
        assert_eq!(given("PIDFDs", &[], HandoverMode::Pid).len(), 0);
        assert_eq!(given("PIDs", &[], HandoverMode::Pidfd).len(), 0);
        assert_eq!(given("PIDFDs", &[], HandoverMode::Pidfd).len(), 1);
    }
}
