//! The journal, read back by systemd's own library.

use std::time::Instant;

use journald::JournalEntry;
use journald::reader::{JournalFiles, JournalReader, JournalReaderConfig, JournalSeek};

use super::manager::Manager;
use super::wait::SOON;

/// Entries of one unit, or of all, in their order.
pub(crate) struct Journal {
    reader: JournalReader,
    read: Vec<JournalEntry>,
}

impl Journal {
    /// What this unit's processes wrote.
    pub(crate) fn of(manager: Manager, unit: &str) -> Self {
        let field = match manager {
            Manager::User => "_SYSTEMD_USER_UNIT",
            Manager::System => "_SYSTEMD_UNIT",
        };
        Self::filtered(&format!("{field}={unit}"))
    }

    /// What this field says so of.
    pub(crate) fn filtered(filter: &str) -> Self {
        let config = JournalReaderConfig { files: JournalFiles::All, ..JournalReaderConfig::default() };
        let mut reader = JournalReader::open(&config).expect("the journal can be read");
        reader.add_filter(filter).expect("a field can be looked for");
        reader.seek(JournalSeek::Head).expect("a journal has a beginning");
        Self { reader, read: Vec::new() }
    }

    /// Every entry until now.
    pub(crate) fn entries(&mut self) -> &[JournalEntry] {
        while let Some(entry) = self.reader.next_entry().expect("the journal can be read") {
            self.read.push(entry);
        }
        &self.read
    }

    /// Waits for an entry whose message holds this, and gives it.
    #[track_caller]
    pub(crate) fn says(&mut self, part: &str) -> JournalEntry {
        self.has(part, |entry| entry.get_message().is_some_and(|message| message.contains(part)))
    }

    /// Waits for an entry, and gives it; fails with `what` when it does not come.
    #[track_caller]
    pub(crate) fn has(&mut self, what: &str, is: impl Fn(&JournalEntry) -> bool) -> JournalEntry {
        let end = Instant::now() + SOON;
        loop {
            if let Some(entry) = self.entries().iter().find(|entry| is(entry)) {
                return entry.clone();
            }
            let left = end.saturating_duration_since(Instant::now());
            assert!(!left.is_zero(), "the journal does not have {what:?}, only\n{}", self.text());
            self.reader.wait_timeout(left).expect("the journal can be waited for");
        }
    }

    /// Every message until now, for a person.
    pub(crate) fn text(&mut self) -> String {
        let messages = self.entries().iter().filter_map(JournalEntry::get_message);
        messages.collect::<Vec<_>>().join("\n")
    }
}
