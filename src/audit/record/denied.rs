//! The accesses that the kernel denied a confined command, as the record of its end has them.

use serde::Serialize;

use crate::limits::{DENIAL_BYTES_MAX, DENIALS_BYTES_MAX, DENIALS_SHOWN_MAX};

/// Accesses that were denied. There may be others, of which the kernel said nothing.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct DeniedAccesses {
    /// Each different one, in order: the right and its object.
    #[serde(rename = "denied", skip_serializing_if = "Vec::is_empty")]
    texts: Vec<String>,
    /// How many more there were, where they are too many to be kept.
    #[serde(rename = "denied_more", skip_serializing_if = "is_none_left")]
    more: u64,
    /// All that were counted.
    #[serde(skip)]
    counted: u64,
    /// Those that are in `texts`, however often each was denied.
    #[serde(skip)]
    told: u64,
    /// The bytes that `texts` take in a record.
    #[serde(skip)]
    bytes: usize,
}

impl DeniedAccesses {
    /// Adds a denied access.
    pub fn add(&mut self, mut access: String) {
        self.counted += 1;
        let end = (0..=DENIAL_BYTES_MAX.min(access.len())).rev().find(|end| access.is_char_boundary(*end));
        access.truncate(end.unwrap_or_default());
        let bytes = recorded_bytes(&access);
        if self.texts.contains(&access) {
            self.told += 1;
        } else if self.texts.len() < DENIALS_SHOWN_MAX && self.bytes + bytes <= DENIALS_BYTES_MAX {
            self.texts.push(access);
            self.bytes += bytes;
            self.told += 1;
        }
        self.more = self.counted - self.told;
    }

    /// Notes that there were so many in all.
    pub fn count_all(&mut self, all: u64) {
        self.counted = self.counted.max(all);
        self.more = self.counted - self.told;
    }

    /// The different ones that are kept, in order.
    pub fn texts(&self) -> &[String] {
        &self.texts
    }
}

/// The bytes of a text in a record, with its quotes and a comma: printable ASCII, all else as `\uXXXX`.
fn recorded_bytes(text: &str) -> usize {
    let bytes = |ch: char| match ch {
        '"' | '\\' => 2,
        ' '..='~' => 1,
        _ => 6 * ch.len_utf16(),
    };
    text.chars().map(bytes).sum::<usize>() + 3
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde passes a reference")]
fn is_none_left(value: &u64) -> bool {
    *value == 0
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_access_stands_once_and_the_others_are_counted() {
        let mut denied = DeniedAccesses::default();
        assert_eq!(serde_json::to_string(&denied).ok().as_deref(), Some("{}"));
        for at in 0..DENIALS_SHOWN_MAX + 2 {
            denied.add(format!("fs.read_file /{at}"));
            denied.add("fs.read_file /0".into());
        }
        assert_eq!(denied.texts().len(), DENIALS_SHOWN_MAX);
        assert_eq!(denied.more, 2);
        denied.count_all(100);
        assert_eq!(denied.more, 100 - denied.told);
    }

    #[test]
    fn a_long_path_is_cut() {
        let mut denied = DeniedAccesses::default();
        denied.add("ä".repeat(DENIAL_BYTES_MAX));
        assert!(denied.texts()[0].len() <= DENIAL_BYTES_MAX && denied.texts()[0].ends_with('ä'));
    }

    #[test]
    fn all_of_them_fit_into_the_room_that_is_kept_for_an_end() {
        for odd in ["\u{1f600}", "ä", "\"", "\\", "x"] {
            let mut denied = DeniedAccesses::default();
            (0..DENIALS_SHOWN_MAX).for_each(|at| denied.add(odd.repeat(DENIAL_BYTES_MAX - at)));
            assert!(!denied.texts().is_empty());
            let written = crate::audit::to_ascii(&serde_json::json!(denied.texts()));
            assert!(written.len() <= DENIALS_BYTES_MAX + 2, "{} bytes of {odd:?}", written.len());
        }
    }
}
