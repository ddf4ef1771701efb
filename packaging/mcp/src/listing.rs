//! The broker's listing, as this program reads it.

use serde::{Deserialize, Serialize};

/// The rules in the order of their file.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
pub(crate) struct Listing {
    pub(crate) rules: Vec<ListedRule>,
}

/// One rule.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
pub(crate) struct ListedRule {
    /// The command line, with slots as `<name>`.
    pub(crate) command: String,
    /// The comment lines above the rule.
    pub(crate) about: Vec<String>,
    pub(crate) words: Vec<ListedWord>,
}

/// A word of a rule.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, Serialize)]
#[serde(untagged)]
pub(crate) enum ListedWord {
    Literal(String),
    Slot(ListedSlot),
}

/// A slot. One that has neither a regex nor a directory takes any value.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, Serialize)]
pub(crate) struct ListedSlot {
    #[serde(rename = "slot")]
    pub(crate) name: String,
    pub(crate) regex: Option<String>,
    #[serde(rename = "in")]
    pub(crate) directory: Option<String>,
    /// Whether a value may start with `-`.
    pub(crate) dash: bool,
    /// Whether the slot takes one value or more, as the last words.
    pub(crate) many: bool,
    pub(crate) max_bytes: usize,
    pub(crate) max_values: usize,
}

impl ListedRule {
    /// The slots from the left.
    pub(crate) fn slots(&self) -> impl Iterator<Item = &ListedSlot> {
        self.words.iter().filter_map(|word| match word {
            ListedWord::Slot(slot) => Some(slot),
            ListedWord::Literal(_) => None,
        })
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;

    /// The rule of these words, in which `<name>` and `<name>...` are slots that take any value.
    pub(crate) fn rule(command: &str) -> ListedRule {
        let words = command.split(' ').map(|word| match word.strip_prefix('<') {
            Some(slot) => {
                let many = slot.ends_with("...");
                let name = slot.trim_end_matches('.').trim_end_matches('>').to_owned();
                let max_values = if many { 64 } else { 1 };
                let (regex, directory, dash) = (None, None, true);
                ListedWord::Slot(ListedSlot {
                    name,
                    regex,
                    directory,
                    dash,
                    many,
                    max_bytes: 4096,
                    max_values,
                })
            }
            None => ListedWord::Literal(word.to_owned()),
        });
        ListedRule { command: command.to_owned(), about: Vec::new(), words: words.collect() }
    }

    #[test]
    fn the_reference_shows_a_listing_that_is_read() {
        let text = r#"{"rules":[{"command":"git log -n <count>","about":["The latest commits."],"words":["git",
            "log","-n",{"slot":"count","regex":"[1-9][0-9]?","dash":false,"many":false,"max_bytes":4096,
            "max_values":1,"later":1}]}],"later":[]}"#;
        let listing: Listing = serde_json::from_str(text).expect("it is one");
        let [rule] = &listing.rules[..] else { panic!("one rule") };
        assert_eq!(rule.words[2], ListedWord::Literal("-n".into()));
        let slot = rule.slots().next().expect("a slot");
        assert_eq!((slot.name.as_str(), slot.regex.as_deref()), ("count", Some("[1-9][0-9]?")));
    }
}
