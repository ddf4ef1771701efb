//! The accesses that the kernel denied a confined command, as the record of its end has them.

use serde::Serialize;

use crate::limits::{DENIAL_BYTES_MAX, DENIALS_SHOWN_MAX};

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
}

impl DeniedAccesses {
    /// Adds a denied access.
    pub fn add(&mut self, mut access: String) {
        self.counted += 1;
        let end = (0..=DENIAL_BYTES_MAX.min(access.len())).rev().find(|end| access.is_char_boundary(*end));
        access.truncate(end.unwrap_or_default());
        let is_known = self.texts.contains(&access);
        if !is_known && self.texts.len() < DENIALS_SHOWN_MAX {
            self.texts.push(access);
            self.told += 1;
        } else if is_known {
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
}
