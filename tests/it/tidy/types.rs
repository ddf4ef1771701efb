//! The names of types: each is one type's alone, so that a search finds it.

use std::collections::BTreeMap;

use super::{Source, is_comment, none, rust_files};

/// The names of the types that a file defines, outside of its tests.
fn types(source: &Source) -> Vec<String> {
    let is_kind = |word: &str| ["struct", "enum", "trait", "union"].contains(&word);
    let mut names = Vec::new();
    for line in source.code().lines().filter(|line| !is_comment(line)) {
        let mut words = line.split_whitespace().skip_while(|word| word.starts_with("pub") || *word == "in");
        if words.next().is_some_and(is_kind) {
            let name = words.next().unwrap_or_default();
            names.extend(name.split(|c: char| !c.is_alphanumeric()).next().map(str::to_owned));
        }
    }
    names
}

#[test]
fn no_two_types_have_one_name() {
    let mut places: BTreeMap<String, Vec<String>> = BTreeMap::new();
    for source in rust_files("src").into_iter().filter(|source| !source.path.contains("tests")) {
        types(&source).into_iter().for_each(|name| places.entry(name).or_default().push(source.path.clone()));
    }
    assert!(places.len() > 300, "{} types", places.len());
    let shared = places.iter().filter(|(_, files)| files.len() > 1);
    none(&shared.map(|(name, files)| format!("{name}: {}", files.join(", "))).collect::<Vec<_>>());
}
