//! Parses the resource properties that a rule gives the scope of its call, named and written as in
//! systemd.resource-control(5) and systemd.scope(5). `sd` puts the values into the form of the bus.

use std::time::Duration;

use crate::limits::UNIT_NAME_BYTES_MAX;

use super::fault::RulesFault;
use super::word::QuotedWord;

/// The properties, as rules files name them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ResourceKey {
    /// `MemoryMax`
    MemoryMax,
    /// `MemoryHigh`
    MemoryHigh,
    /// `MemorySwapMax`
    MemorySwapMax,
    /// `TasksMax`
    TasksMax,
    /// `CPUQuota`
    CpuQuota,
    /// `CPUWeight`
    CpuWeight,
    /// `IOWeight`
    IoWeight,
    /// `RuntimeMaxSec`
    RuntimeMax,
    /// `OOMPolicy`
    OomPolicy,
    /// `Slice`
    Slice,
}

/// The value of a property.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ResourceValue {
    /// Bytes, tasks, a weight, or microseconds (for a quota: in each second). `u64::MAX` is no limit.
    Number(u64),
    /// A part of the machine's whole, in units of 2^-32 of it.
    Share(u32),
    /// A word or a unit's name.
    Text(String),
}

/// One property with its value.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Resource {
    /// The property.
    pub key: ResourceKey,
    /// The value, which fits the key.
    pub value: ResourceValue,
}

/// No limit, as a manager writes it.
const INFINITY: u64 = u64::MAX;

const SIZES: &[(&str, u64)] =
    &[("K", 1 << 10), ("M", 1 << 20), ("G", 1 << 30), ("T", 1 << 40), ("P", 1 << 50), ("", 1)];

/// Units of time, in microseconds.
const TIMES: &[(&str, u64)] = &[
    ("us", 1),
    ("ms", 1_000),
    ("s", 1_000_000),
    ("sec", 1_000_000),
    ("m", 60_000_000),
    ("min", 60_000_000),
    ("h", 3_600_000_000),
    ("hr", 3_600_000_000),
    ("d", 86_400_000_000),
    ("w", 604_800_000_000),
    ("", 1_000_000),
];

impl Resource {
    /// Whether only a service manager can set this: no file of a cgroup does.
    pub fn is_for_managers(&self) -> bool {
        match (self.key, &self.value) {
            (ResourceKey::RuntimeMax | ResourceKey::Slice, _) => true,
            (ResourceKey::OomPolicy, ResourceValue::Text(policy)) => policy == "stop",
            _ => false,
        }
    }
}

impl ResourceKey {
    /// Whether its value is a number of bytes.
    pub fn is_bytes(self) -> bool {
        matches!(self, Self::MemoryMax | Self::MemoryHigh | Self::MemorySwapMax)
    }

    /// The name, as rules files have it.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::MemoryMax => "MemoryMax",
            Self::MemoryHigh => "MemoryHigh",
            Self::MemorySwapMax => "MemorySwapMax",
            Self::TasksMax => "TasksMax",
            Self::CpuQuota => "CPUQuota",
            Self::CpuWeight => "CPUWeight",
            Self::IoWeight => "IOWeight",
            Self::RuntimeMax => "RuntimeMaxSec",
            Self::OomPolicy => "OOMPolicy",
            Self::Slice => "Slice",
        }
    }

    /// Parses a value of this property.
    pub(super) fn parse(self, word: &QuotedWord) -> Result<Resource, RulesFault> {
        let text = word.text();
        let value = match self {
            Self::MemoryMax | Self::MemoryHigh | Self::MemorySwapMax => limit(&text, SIZES),
            Self::TasksMax => limit(&text, &[("", 1)]).filter(|value| *value != ResourceValue::Number(0)),
            Self::CpuQuota => quota(&text),
            Self::CpuWeight if text == "idle" => Some(ResourceValue::Number(0)),
            Self::CpuWeight | Self::IoWeight => weight(&text),
            Self::RuntimeMax => span(&text).map(ResourceValue::Number),
            Self::OomPolicy => {
                ["continue", "stop", "kill"].contains(&&*text).then(|| ResourceValue::Text(text.clone()))
            }
            Self::Slice => is_slice(&text).then(|| ResourceValue::Text(text.clone())),
        };
        let Some(value) = value else {
            let fault = RulesFault::new(word.span, format!("`{text}` does not fit here"));
            return Err(fault.help(self.help()));
        };
        Ok(Resource { key: self, value })
    }

    fn help(self) -> &'static str {
        match self {
            Self::MemoryMax | Self::MemoryHigh | Self::MemorySwapMax => {
                "write whole bytes with K, M, G or T, a percentage, or infinity: `512M`, `10%`"
            }
            Self::TasksMax => "write a number above 0, a percentage, or infinity: `50`, `10%`",
            Self::CpuQuota => "write a percentage of one processor: `50%`, `200%`",
            Self::CpuWeight => "write a number from 1 to 10000, or idle",
            Self::IoWeight => "write a number from 1 to 10000",
            Self::RuntimeMax => "write a time such as `30s`, `5min` or `1h 30min`, or infinity",
            Self::OomPolicy => "write continue, stop or kill",
            Self::Slice => "write the whole name of a slice: `batch.slice`",
        }
    }
}

/// Whole bytes, with `K`, `M`, `G`, `T` or `P` for powers of 1024.
pub(super) fn bytes(text: &str) -> Option<u64> {
    scaled(text, SIZES)
}

/// A number with a suffix, a percentage, or `infinity`.
fn limit(text: &str, units: &[(&str, u64)]) -> Option<ResourceValue> {
    if text == "infinity" {
        return Some(ResourceValue::Number(INFINITY));
    }
    if let Some(percent) = text.strip_suffix('%') {
        let percent = whole(percent)?;
        let share = (percent <= 100).then(|| percent * u64::from(u32::MAX) / 100)?;
        return u32::try_from(share).ok().map(ResourceValue::Share);
    }
    scaled(text, units).filter(|number| *number != INFINITY).map(ResourceValue::Number)
}

fn quota(text: &str) -> Option<ResourceValue> {
    let percent = whole(text.strip_suffix('%')?).filter(|percent| *percent > 0)?;
    percent.checked_mul(10_000).map(ResourceValue::Number)
}

fn weight(text: &str) -> Option<ResourceValue> {
    whole(text).filter(|weight| (1..=10_000).contains(weight)).map(ResourceValue::Number)
}

/// Microseconds of `1h 30min`, `5s`, a bare number of seconds, or `infinity`.
fn span(text: &str) -> Option<u64> {
    if text == "infinity" {
        return Some(INFINITY);
    }
    let mut total = Duration::ZERO;
    let mut parts = text.split_ascii_whitespace().peekable();
    parts.peek()?;
    for part in parts {
        total = total.checked_add(Duration::from_micros(scaled(part, TIMES)?))?;
    }
    u64::try_from(total.as_micros()).ok().filter(|total| *total > 0 && *total < INFINITY)
}

fn scaled(text: &str, units: &[(&str, u64)]) -> Option<u64> {
    let digits = text.bytes().take_while(u8::is_ascii_digit).count();
    let (number, unit) = text.split_at(digits);
    let (_, factor) = units.iter().find(|(name, _)| *name == unit)?;
    whole(number)?.checked_mul(*factor)
}

fn whole(text: &str) -> Option<u64> {
    text.bytes().all(|byte| byte.is_ascii_digit()).then(|| text.parse().ok()).flatten()
}

/// Whether a manager accepts this as a slice's name: each `-` nests, so none may stand at an end or beside
/// another.
fn is_slice(text: &str) -> bool {
    let Some(name) = text.strip_suffix(".slice") else { return false };
    let known = |byte: u8| byte.is_ascii_alphanumeric() || b":-_.\\".contains(&byte);
    let nests = !name.starts_with('-') && !name.ends_with('-') && !name.contains("--");
    !name.is_empty() && text.len() <= UNIT_NAME_BYTES_MAX && nests && name.bytes().all(known)
}

#[cfg(test)]
mod tests {
    use super::super::lexer::LineTail;
    use super::super::word::SourceLine;
    use super::*;

    fn check(key: ResourceKey, text: &str, want: Option<ResourceValue>) {
        let text = format!("'{text}'");
        let word = LineTail::new(SourceLine { text: &text, file: 0, number: 0 }, 0)
            .value()
            .ok()
            .flatten()
            .expect("a value");
        assert_eq!(key.parse(&word).ok().map(|resource| resource.value), want, "{text}");
    }

    fn number(number: u64) -> Option<ResourceValue> {
        Some(ResourceValue::Number(number))
    }

    fn text(text: &str) -> Option<ResourceValue> {
        Some(ResourceValue::Text(text.into()))
    }

    #[test]
    fn memory_is_bytes_a_share_or_no_limit() {
        check(ResourceKey::MemoryMax, "512M", number(512 << 20));
        check(ResourceKey::MemoryHigh, "1024", number(1024));
        check(ResourceKey::MemorySwapMax, "0", number(0));
        check(ResourceKey::MemoryMax, "infinity", number(u64::MAX));
        check(ResourceKey::MemoryMax, "50%", Some(ResourceValue::Share(u32::MAX / 2)));
        check(ResourceKey::MemoryMax, "100%", Some(ResourceValue::Share(u32::MAX)));
        for bad in ["", "M", "-1", "1.5G", "1MB", "101%", "18446744073709551615", "99999999999T", "+1"] {
            check(ResourceKey::MemoryMax, bad, None);
        }
    }

    #[test]
    fn tasks_weights_and_quotas_have_bounds() {
        check(ResourceKey::TasksMax, "20", number(20));
        check(ResourceKey::TasksMax, "0", None);
        check(ResourceKey::TasksMax, "20K", None);
        check(ResourceKey::CpuQuota, "20%", number(200_000));
        check(ResourceKey::CpuQuota, "0%", None);
        check(ResourceKey::CpuQuota, "20", None);
        check(ResourceKey::CpuWeight, "idle", number(0));
        check(ResourceKey::CpuWeight, "10000", number(10_000));
        check(ResourceKey::IoWeight, "idle", None);
        check(ResourceKey::IoWeight, "10001", None);
    }

    #[test]
    fn a_runtime_is_a_span_of_time() {
        check(ResourceKey::RuntimeMax, "90", number(90_000_000));
        check(ResourceKey::RuntimeMax, "1h 30min", number(5_400_000_000));
        check(ResourceKey::RuntimeMax, "250ms", number(250_000));
        check(ResourceKey::RuntimeMax, "infinity", number(u64::MAX));
        for bad in ["", "0", "1 hour and", "5x", "-1s", "99999999999999w"] {
            check(ResourceKey::RuntimeMax, bad, None);
        }
    }

    #[test]
    fn words_and_names_are_those_of_a_manager() {
        check(ResourceKey::OomPolicy, "kill", text("kill"));
        check(ResourceKey::OomPolicy, "maybe", None);
        check(ResourceKey::Slice, "batch.slice", text("batch.slice"));
        check(ResourceKey::Slice, "batch-low.slice", text("batch-low.slice"));
        for bad in
            ["batch", "-.slice", "-x.slice", "x-.slice", "a--b.slice", "a b.slice", "a/b.slice", ".slice"]
        {
            check(ResourceKey::Slice, bad, None);
        }
    }
}
