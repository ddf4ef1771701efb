//! The fuzz targets' seeds, and every input that once broke one, as plain tests.

use std::fs;
use std::panic::catch_unwind;
use std::path::PathBuf;

use proptest::prelude::*;

#[path = "../fuzz/properties/manifest.rs"]
mod manifest;
#[path = "../fuzz/properties/piped.rs"]
mod piped;
#[path = "../fuzz/properties/reply.rs"]
mod reply;
#[path = "../fuzz/properties/request.rs"]
mod request;
#[path = "../fuzz/properties/rules.rs"]
mod rules;
#[path = "../fuzz/properties/template.rs"]
mod template;

/// Holds `property` against every file of `tests/fuzz/seeds/TARGET`, and names those that break it.
fn check(target: &str, property: fn(&[u8])) {
    let dir = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/fuzz/seeds").join(target);
    let mut seeds: Vec<_> = fs::read_dir(&dir).expect("every target has seeds").flatten().collect();
    seeds.sort_by_key(fs::DirEntry::path);
    assert!(seeds.len() > 5, "{} has lost its seeds", dir.display());
    seeds.retain(|seed| {
        let bytes = fs::read(seed.path()).expect("a seed is a plain file");
        catch_unwind(|| property(&bytes)).is_err()
    });
    assert!(seeds.is_empty(), "{seeds:?}");
}

#[test]
fn request_seeds_keep_their_property() {
    check("request", request::check);
}

#[test]
fn reply_seeds_keep_their_property() {
    check("reply", reply::check);
}

#[test]
fn piped_seeds_keep_their_property() {
    check("piped", piped::check);
}

#[test]
fn rules_seeds_keep_their_property() {
    check("rules", rules::check);
}

proptest! {
    /// The fuzzer finds such words too, but not every run of the tests has a fuzzer.
    #[test]
    fn words_of_what_shells_quote_keep_the_property_of_rules(
        text in r#"[ a-z0'"\\$;#`{}!*~?=\x00-\x1f\x7fé\u{a0}\u{202e}\u{1f600}-]{0,60}"#
    ) {
        rules::check(text.as_bytes());
    }
}

#[test]
fn template_seeds_keep_their_property() {
    check("template", template::check);
}

#[test]
fn manifest_seeds_keep_their_property() {
    check("manifest", manifest::check);
}
