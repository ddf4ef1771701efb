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

/// Values of each key that confines.
const VALUES: [(&str, &[&str]); 10] = [
    ("net", &["none", "any", "tcp:443,22,443", "tcp:1"]),
    ("unix", &["none", "any", "/s /a/s", "-$XDG_RUNTIME_DIR/bus", "\"/q s\""]),
    ("syscalls", &["default", "strict", "any"]),
    ("tmp", &["private", "shared"]),
    ("on_missing", &["refuse", "degrade"]),
    ("nofile", &["4", "256", "infinity"]),
    ("core", &["0", "1G"]),
    ("nproc", &["5", "infinity"]),
    ("fsize", &["0", "7K"]),
    ("setenv", &["A=1", "B='x y' A=2"]),
];

/// Places of each list, few of which contradict those of another list.
const PLACES: [(&str, &[&str]); 5] = [
    (
        "read",
        &["/a", "-/a", "/a/b", "/c/", ".", "b/./c", "-'x y'", "$HOME/k", "./none", "\"/\u{e9};'\"", "/h/x"],
    ),
    ("write", &["/a", "-/a", ".", "b", "/tmp/z", "/c/p/q"]),
    ("exec", &["/a", "-/bin", "."]),
    ("hide", &["/h", "-/h/x", "-$HOME/.s"]),
    ("protect", &["-./b/d", "./e"]),
];

/// Keys of a stanza, each once but for lists of places.
fn confining_keys() -> impl Strategy<Value = String> {
    let places = prop::collection::vec((0..6usize, prop::collection::vec(0..12usize, 0..4)), 0..4);
    let values = prop::collection::vec(prop::option::weighted(0.3, 0..5usize), VALUES.len());
    (places, values).prop_map(|(lists, values)| {
        let mut text = String::new();
        for (list, chosen) in lists {
            let (key, places) = PLACES[list % PLACES.len()];
            let chosen: Vec<_> = chosen.into_iter().map(|at| places[at % places.len()]).collect();
            let chosen = if chosen.is_empty() { "none".into() } else { chosen.join(" ") };
            text += &format!("  {key} = {chosen}\n");
        }
        for ((key, choices), chosen) in VALUES.iter().zip(values) {
            text +=
                &chosen.map_or(String::new(), |at| format!("  {key} = {}\n", choices[at % choices.len()]));
        }
        text
    })
}

/// A file with profiles, of which each may extend another, defaults and rules.
fn confined_rules() -> impl Strategy<Value = String> {
    let of = |bases| (prop::sample::select(bases), confining_keys());
    let built_in = &["", "", "system", "workspace", "build", "git"][..];
    let stanza = || of(&["", "", "p", "q", "none", "system", "workspace", "build", "git"][..]);
    let with = |key: &str, base: &str| {
        if base.is_empty() { String::new() } else { format!("  {key} = {base}\n") }
    };
    (
        of(built_in),
        of(&["", "p", "git"][..]),
        stanza(),
        prop::collection::vec((stanza(), any::<bool>()), 1..4),
    )
        .prop_map(move |((p, of_p), (q, of_q), (default, of_defaults), rules)| {
            let mut text = format!("defaults:\n  cwd = /w\n{}{of_defaults}", with("confine", default));
            text +=
                &format!("profile p:\n{}{of_p}profile q:\n{}{of_q}", with("extends", p), with("extends", q));
            for (at, ((base, keys), has_cwd)) in rules.into_iter().enumerate() {
                let cwd = if has_cwd { "  cwd = /a\n" } else { "" };
                text += &format!("x {at}\n{cwd}{}{keys}", with("confine", base));
            }
            text
        })
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 200, ..ProptestConfig::default() })]

    #[test]
    fn confinements_keep_the_property_of_rules(text in confined_rules()) {
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
