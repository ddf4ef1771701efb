//! The names of tools. A name is made of the rule's own words, so that it stays the same while the rule does,
//! whatever other rules come and go.

use std::collections::HashSet;

use crate::limits::{NAME_BYTES_MAX, NAME_WORDS_MAX};
use crate::listing::{ListedRule, ListedWord};

/// The hexadecimal digits behind a name that another rule has already.
const SUFFIX_DIGITS: usize = 6;

/// A name for each rule, in order; `None` for a rule that has the same words as one before it, because no
/// call reaches it.
pub(crate) fn names(rules: &[ListedRule]) -> Vec<Option<String>> {
    let (mut taken, mut seen) = (HashSet::new(), HashSet::new());
    rules
        .iter()
        .map(|rule| {
            let words = serde_json::to_string(&rule.words).unwrap_or_default();
            let hash = fnv(words.as_bytes());
            seen.insert(words).then(|| free_name(&plain_name(rule), hash, &mut taken))
        })
        .collect()
}

/// The name itself, or with a suffix that depends on the rule's words alone. The number that comes after two
/// suffixes that are equal does not.
fn free_name(name: &str, hash: u64, taken: &mut HashSet<String>) -> String {
    let cut = name.get(..NAME_BYTES_MAX - SUFFIX_DIGITS - 1).unwrap_or(name);
    let suffixed = (0..).map(|more| format!("{cut}_{:06x}", hash.wrapping_add(more) & 0xff_ffff));
    let mut names = std::iter::once(name.to_owned()).chain(suffixed);
    names.find(|name| taken.insert(name.clone())).unwrap_or_default()
}

/// The program's own name and the words behind it that begin with a letter and have neither `/` nor `=`, in
/// ASCII letters, digits, `-` and `_`.
fn plain_name(rule: &ListedRule) -> String {
    let mut literals = rule.words.iter().filter_map(|word| match word {
        ListedWord::Literal(literal) => Some(literal.as_str()),
        ListedWord::Slot(_) => None,
    });
    let program = literals.next().and_then(|program| program.rsplit('/').next()).unwrap_or_default();
    let is_verb =
        |word: &&str| word.starts_with(|ch: char| ch.is_ascii_alphabetic()) && !word.contains(['/', '=']);
    let words = std::iter::once(program).chain(literals.filter(is_verb).take(NAME_WORDS_MAX));
    let name = words.map(allowed).collect::<Vec<_>>().join("_");
    let name = name.get(..NAME_BYTES_MAX).unwrap_or(&name);
    if name.is_empty() { "command".to_owned() } else { name.to_owned() }
}

fn allowed(word: &str) -> String {
    word.chars().map(|ch| if ch.is_ascii_alphanumeric() || ch == '-' { ch } else { '_' }).collect()
}

/// FNV-1a, of 64 bits: a hash that is the same in every version.
fn fnv(bytes: &[u8]) -> u64 {
    bytes.iter().fold(0xcbf2_9ce4_8422_2325, |hash, byte| {
        (hash ^ u64::from(*byte)).wrapping_mul(0x0000_0100_0000_01b3)
    })
}

#[cfg(test)]
mod tests {
    use crate::listing::tests::rule;

    use super::*;

    fn check(commands: &[&str], want: &[Option<&str>]) {
        let rules: Vec<_> = commands.iter().map(|command| rule(command)).collect();
        let got = names(&rules);
        assert_eq!(got.iter().map(Option::as_deref).collect::<Vec<_>>(), want);
        assert!(got.iter().flatten().all(|name| name.len() <= 64
            && name.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"_-".contains(&byte))));
    }

    #[test]
    fn a_name_is_the_program_and_its_verbs() {
        check(
            &["git --no-pager -C /home/you/review log --oneline -n <count>", "/usr/bin/make -C <dir> all"],
            &[Some("git_log"), Some("make_all")],
        );
        check(&["/opt/g++.x a.b x=1 3 <x> c d e", "/ <x>"], &[Some("g___x_a_b_c_d"), Some("command")]);
        let long = format!("{} {}", "p".repeat(60), "q".repeat(60));
        check(&[&long], &[Some(&format!("{}_{}", "p".repeat(60), "q".repeat(3)))]);
    }

    #[test]
    fn rules_of_one_name_are_told_apart_by_their_own_words() {
        let names_of =
            |commands: &[&str]| names(&commands.iter().map(|command| rule(command)).collect::<Vec<_>>());
        let three = names_of(&["git log", "git log <a>", "git log <b>"]);
        assert_eq!(three[0].as_deref(), Some("git_log"));
        assert!(three[1].as_ref().is_some_and(|name| name.starts_with("git_log_") && name.len() == 14));
        assert_eq!(names_of(&["git log", "git log <b>"])[1], three[2]);
    }

    #[test]
    fn a_rule_that_no_call_reaches_has_no_tool() {
        check(&["git log <a>", "git log <a>"], &[Some("git_log"), None]);
    }
}
