//! What the journal has of the kernel's denials of one call, for a broker that could not read the audit log
//! itself. Whoever may read the kernel's entries in the journal can ask.

use serde_json::Value;

use crate::audit::DeniedAccesses;
use crate::confine::LandlockEvent;
use crate::limits::AUDIT_ENTRY_DELAY;
use crate::sd::{JournalScope, read_audit_log};

/// A call whose records are being shown.
#[derive(Debug, Default)]
pub(super) struct DenialSearch {
    process: Option<i64>,
    since_ms: u64,
    failed_ms: Option<u64>,
}

impl DenialSearch {
    /// Takes note of a record of the call.
    pub(super) fn note(&mut self, line: &[u8]) {
        let Ok(record) = serde_json::from_slice::<Value>(line) else { return };
        let ts = record["ts"].as_u64().unwrap_or_default();
        match record["kind"].as_str() {
            Some("start") if record["confinement"]["landlock"].is_u64() => {
                (self.process, self.since_ms) = (record["child"].as_i64(), ts);
            }
            Some("exit") if record["status"].as_i64() != Some(0) && record["denied"].is_null() => {
                self.failed_ms = Some(ts);
            }
            Some(_) | None => {}
        }
    }

    /// The denials of a confined call that failed, and whose records have none. None where the journal cannot
    /// be read, and where it has none.
    pub(super) fn find(&self) -> DeniedAccesses {
        let (Some(process), Some(until_ms)) = (self.process, self.failed_ms) else {
            return DeniedAccesses::default();
        };
        let mut events = Vec::new();
        let take = |kind, text: &str| events.extend(LandlockEvent::read(kind, text));
        // Without the right to read them, nothing is claimed.
        read_audit_log(&JournalScope::All, self.since_ms, until_ms + AUDIT_ENTRY_DELAY, take).ok();
        denials_of(process, &events)
    }
}

/// The denials of the domain that a process entered, whose record may stand behind its first denial, and
/// which the journal may have twice, from the audit log and from the kernel's messages.
fn denials_of(process: i64, events: &[LandlockEvent]) -> DeniedAccesses {
    let entered = events.iter().find_map(|event| match event {
        LandlockEvent::Entered(domain, by) if i64::from(*by) == process => Some(*domain),
        LandlockEvent::Entered(..) | LandlockEvent::Denied(..) | LandlockEvent::Ended(..) => None,
    });
    let mut denied = DeniedAccesses::default();
    for event in events {
        match event {
            LandlockEvent::Denied(domain, access) if Some(*domain) == entered => denied.add(access.clone()),
            LandlockEvent::Denied(..) | LandlockEvent::Entered(..) | LandlockEvent::Ended(..) => {}
        }
    }
    denied
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_denials_are_those_of_the_calls_own_process() {
        let denied = |domain, access: &str| LandlockEvent::Denied(domain, access.into());
        let events = [
            denied(7, "fs.read_file /a"),
            LandlockEvent::Entered(7, 100),
            denied(8, "fs.read_file /b"),
            LandlockEvent::Entered(8, 200),
            denied(7, "fs.read_file /a"),
            denied(7, "fs.make_reg /c"),
            LandlockEvent::Ended(7, 2),
        ];
        assert_eq!(denials_of(100, &events).texts(), ["fs.read_file /a", "fs.make_reg /c"]);
        assert!(denials_of(300, &events).texts().is_empty());
    }

    #[test]
    fn the_journal_is_asked_for_a_confined_call_that_failed_and_tells_nothing_itself() {
        let asks = |lines: &[&str]| {
            let mut search = DenialSearch::default();
            lines.iter().for_each(|line| search.note(line.as_bytes()));
            search.process.is_some() && search.failed_ms.is_some()
        };
        let start = r#"{"kind":"start","ts":5,"child":9,"confinement":{"landlock":7}}"#;
        assert!(asks(&[start, r#"{"kind":"exit","ts":6,"status":3}"#]));
        assert!(!asks(&[start, r#"{"kind":"exit","ts":6,"status":0}"#]));
        assert!(!asks(&[start, r#"{"kind":"exit","ts":6,"status":3,"denied":["x"]}"#]));
        let unconfined = r#"{"kind":"start","ts":5,"child":9}"#;
        assert!(!asks(&[unconfined, r#"{"kind":"exit","ts":6,"status":3}"#]));
    }
}
