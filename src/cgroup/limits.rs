//! Writes resource properties into the files of a cgroup that no manager looks after. The properties mean the
//! same as with systemd: systemd.resource-control(5), and cgroup-v2 in the kernel's documentation.

use std::fmt;
use std::fs;
use std::io;

use nix::sys::sysinfo::sysinfo;

use crate::rules::{Resource, ResourceKey, ResourceValue};

use super::group::Cgroup;

/// The period of a quota of processor time, in microseconds: the default of the kernel and of systemd.
const PERIOD: u64 = 100_000;

/// The controllers that limit and measure calls.
const CONTROLLERS: [&str; 4] = ["cpu", "io", "memory", "pids"];

/// Enables this cgroup's controllers for the cgroups in it, as far as there are any and they were delegated.
/// A missing controller shows when a limit is set.
pub fn hand_on(group: &Cgroup) {
    let has = group.controllers().unwrap_or_default();
    for controller in CONTROLLERS.iter().filter(|controller| has.iter().any(|own| own == *controller)) {
        group.set("cgroup.subtree_control", &format!("+{controller}")).ok();
    }
}

/// Why a group does not have a limit that it should have.
#[derive(Debug)]
pub enum LimitError {
    /// No file of a cgroup sets this property; a manager implements it itself.
    ForManagers(ResourceKey),
    /// The property's controller does not exist, or is not enabled in the group.
    NoController(ResourceKey, &'static str),
    /// The kernel refuses the value.
    Refused(ResourceKey, &'static str, io::Error),
}

impl fmt::Display for LimitError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::ForManagers(key) => write!(f, "{} needs a manager's scope", key.as_str()),
            Self::NoController(key, controller) => {
                write!(f, "{}: the broker's cgroup has no controller `{controller}`", key.as_str())
            }
            Self::Refused(key, file, source) => write!(f, "{}: {file}: {source}", key.as_str()),
        }
    }
}

impl std::error::Error for LimitError {}

/// A file of a cgroup, the controller that it belongs to, and the value to write.
struct LimitFile {
    controller: &'static str,
    file: &'static str,
    value: String,
}

/// Sets all these limits on a group. Errors: the first that cannot be set.
pub fn limit(group: &Cgroup, resources: &[Resource]) -> Result<(), LimitError> {
    if resources.is_empty() {
        return Ok(());
    }
    let has = group.controllers().unwrap_or_default();
    for resource in resources {
        let key = resource.key;
        if resource.is_for_managers() {
            return Err(LimitError::ForManagers(key));
        }
        let Some(control) = control(resource, &MachineSize::look) else { continue };
        if !has.iter().any(|controller| controller == control.controller) {
            return Err(LimitError::NoController(key, control.controller));
        }
        let refused = |source| LimitError::Refused(key, control.file, source);
        group.set(control.file, &control.value).map_err(refused)?;
    }
    Ok(())
}

/// The whole of which a percentage is a part: the machine's memory and number of tasks.
struct MachineSize {
    memory: u64,
    tasks: u64,
}

impl MachineSize {
    fn look() -> Self {
        let number = |path: &str| fs::read_to_string(path).ok().and_then(|text| text.trim().parse().ok());
        let limits = ["/proc/sys/kernel/pid_max", "/proc/sys/kernel/threads-max"].into_iter();
        Self {
            memory: sysinfo().map_or(u64::MAX, |info| info.ram_total()),
            tasks: limits.filter_map(number).min().unwrap_or(u64::MAX),
        }
    }
}

/// The file for a property; `None` if a new group has the value already.
fn control(resource: &Resource, machine: &dyn Fn() -> MachineSize) -> Option<LimitFile> {
    let of = |controller, file, value| Some(LimitFile { controller, file, value });
    let value = &resource.value;
    let memory = |file| of("memory", file, most(value, || machine().memory));
    match (resource.key, value) {
        (ResourceKey::MemoryMax, _) => memory("memory.max"),
        (ResourceKey::MemoryHigh, _) => memory("memory.high"),
        (ResourceKey::MemorySwapMax, _) => memory("memory.swap.max"),
        (ResourceKey::TasksMax, _) => of("pids", "pids.max", most(value, || machine().tasks)),
        (ResourceKey::CpuQuota, ResourceValue::Number(quota)) => {
            of("cpu", "cpu.max", format!("{} {PERIOD}", quota / (1_000_000 / PERIOD)))
        }
        (ResourceKey::CpuWeight, ResourceValue::Number(0)) => of("cpu", "cpu.idle", "1".into()),
        (ResourceKey::CpuWeight, ResourceValue::Number(weight)) => {
            of("cpu", "cpu.weight", weight.to_string())
        }
        (ResourceKey::IoWeight, ResourceValue::Number(weight)) => {
            of("io", "io.weight", format!("default {weight}"))
        }
        (ResourceKey::OomPolicy, ResourceValue::Text(policy)) if policy == "kill" => {
            of("memory", "memory.oom.group", "1".into())
        }
        _ => None,
    }
}

/// A limit as the kernel reads it: a number, or `max`.
fn most(value: &ResourceValue, whole: impl FnOnce() -> u64) -> String {
    match value {
        ResourceValue::Number(u64::MAX) | ResourceValue::Text(_) => "max".into(),
        ResourceValue::Number(number) => number.to_string(),
        ResourceValue::Share(share) => {
            let part = u128::from(whole()) * u128::from(*share) / u128::from(u32::MAX);
            part.max(1).to_string()
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(key: ResourceKey, value: ResourceValue, want: Option<(&str, &str, &str)>) {
        let machine = || MachineSize { memory: 1 << 30, tasks: 1000 };
        let control = control(&Resource { key, value }, &machine);
        let got = control.as_ref().map(|control| (control.controller, control.file, control.value.as_str()));
        assert_eq!(got, want);
    }

    fn number(number: u64) -> ResourceValue {
        ResourceValue::Number(number)
    }

    #[test]
    fn a_property_is_the_file_that_a_manager_would_write() {
        check(ResourceKey::MemoryMax, number(1 << 20), Some(("memory", "memory.max", "1048576")));
        check(ResourceKey::MemoryHigh, number(u64::MAX), Some(("memory", "memory.high", "max")));
        check(ResourceKey::MemorySwapMax, number(0), Some(("memory", "memory.swap.max", "0")));
        check(ResourceKey::TasksMax, number(20), Some(("pids", "pids.max", "20")));
        check(ResourceKey::CpuQuota, number(200_000), Some(("cpu", "cpu.max", "20000 100000")));
        check(ResourceKey::CpuQuota, number(10_000), Some(("cpu", "cpu.max", "1000 100000")));
        check(ResourceKey::CpuWeight, number(10_000), Some(("cpu", "cpu.weight", "10000")));
        check(ResourceKey::CpuWeight, number(0), Some(("cpu", "cpu.idle", "1")));
        check(ResourceKey::IoWeight, number(50), Some(("io", "io.weight", "default 50")));
    }

    #[test]
    fn a_percentage_is_of_the_whole_machine() {
        let half = || ResourceValue::Share(u32::MAX / 2 + 1);
        check(ResourceKey::MemoryMax, half(), Some(("memory", "memory.max", "536870912")));
        check(ResourceKey::TasksMax, half(), Some(("pids", "pids.max", "500")));
        check(ResourceKey::TasksMax, ResourceValue::Share(1), Some(("pids", "pids.max", "1")));
    }

    #[test]
    fn an_end_for_want_of_memory_is_the_whole_groups_or_not() {
        let text = |text: &str| ResourceValue::Text(text.into());
        check(ResourceKey::OomPolicy, text("kill"), Some(("memory", "memory.oom.group", "1")));
        check(ResourceKey::OomPolicy, text("continue"), None);
    }
}
