//! What a record says about the calls of a manifest, taken in one record after the other.

use std::borrow::Cow;

use serde::Deserialize;

use crate::audit::write::leftovers::UnendedCall;
use crate::ids::CallId;
use crate::limits::CALL_NUMBER_MAX;

use super::ManifestScan;

/// What a line says about those that come.
#[derive(Default, Deserialize)]
pub(super) struct CallFacts<'l> {
    #[serde(borrow, default)]
    pub(super) kind: Cow<'l, str>,
    call: Option<u64>,
    last: Option<u64>,
    next: Option<u64>,
    #[serde(default)]
    running: Vec<u64>,
    #[serde(default)]
    capturing: bool,
    #[serde(default)]
    keeping: bool,
    boot: Option<String>,
}

impl<'l> CallFacts<'l> {
    pub(super) fn read(line: &'l [u8]) -> Self {
        serde_json::from_slice(line).unwrap_or_default()
    }

    /// The first number that it leaves free.
    fn after(&self) -> CallId {
        let used = self.call.max(self.last).map_or(CallId::FIRST, |call| CallId::new(call).next());
        used.max(CallId::new(self.next.unwrap_or(0)))
    }
}

impl ManifestScan {
    /// Takes no more than the number from a line that may be a record: where no mark says which is the next,
    /// none must come twice.
    pub(super) fn pass_by(&mut self, bytes: &[u8]) {
        let after = CallFacts::read(bytes).after();
        if after.get() <= CALL_NUMBER_MAX {
            self.next = self.next.max(after);
        }
    }

    /// Lines come that do not follow those so far, and that no mark vouches for.
    pub(super) fn sever(&mut self) {
        self.severed = std::mem::take(&mut self.unfinished);
    }

    pub(super) fn take(&mut self, bytes: &[u8], is_left: fn(&UnendedCall) -> bool) {
        let line = CallFacts::read(bytes);
        self.next = self.next.max(line.after());
        match (&*line.kind, line.call.map(CallId::new)) {
            ("start", Some(call)) => {
                self.unfinished.insert(call, UnendedCall { line: bytes.to_owned(), is_of_other_boot: false });
            }
            ("carried", Some(call)) => {
                let begun = UnendedCall { line: bytes.to_owned(), is_of_other_boot: false };
                if line.capturing || line.keeping {
                    self.end(call, &line, begun, is_left);
                } else {
                    self.unfinished.insert(call, begun);
                }
            }
            ("exit" | "lost", Some(call)) => {
                if let Some(begun) = self.unfinished.remove(&call) {
                    self.end(call, &line, begun, is_left);
                }
            }
            ("capture", Some(call)) => drop(self.capturing.remove(&call)),
            ("kept", Some(call)) => drop(self.keeping.remove(&call)),
            ("open", _) => {
                self.compare_boot(line.boot.as_deref());
                for call in line.running {
                    self.unfinished.entry(CallId::new(call)).or_default();
                }
                self.boot = line.boot;
            }
            // What ran on when a broker left this file ends in another one.
            ("close", _) => {
                self.unfinished.clear();
                self.capturing.clear();
                self.keeping.clear();
            }
            _ => {}
        }
    }

    /// Remembers a call that ended for what of it went on.
    fn end(
        &mut self,
        call: CallId,
        line: &CallFacts<'_>,
        begun: UnendedCall,
        is_left: fn(&UnendedCall) -> bool,
    ) {
        if line.keeping && is_left(&begun) {
            self.keeping.insert(call, begun.clone());
        }
        if line.capturing {
            self.capturing.insert(call, begun);
        }
    }
}

impl ManifestScan {
    /// Marks the calls so far when the host was booted since: it is in this boot now.
    pub(in crate::audit) fn compare_boot(&mut self, now: Option<&str>) {
        if self.boot.is_some() && self.boot.as_deref() != now {
            let begun = self.unfinished.values_mut().chain(self.capturing.values_mut());
            begun.for_each(|begun| begun.is_of_other_boot = true);
            self.keeping.clear();
        }
    }
}
