//! What an earlier version wrote, by this one: the manifest of a broker that rotated it, was killed in a call
//! and left a mark, and the rules that it served. They verify, show, load, and are gone on with.

use std::fs;
use std::path::{Path, PathBuf};

use crate::harness::{Broker, Setup, sluice};

fn fixture(name: &str) -> Vec<u8> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/earlier").join(name);
    fs::read(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

/// A broker, not started, in whose directory the earlier one has been.
fn taken_over() -> Setup {
    let rules = String::from_utf8(fixture("agent.rules")).expect("rules are text");
    Setup::new(&rules).arranged(|dir| {
        dir.write("audit/manifest.jsonl.1", fixture("manifest.jsonl.1"));
        dir.write("audit/manifest.jsonl", fixture("manifest.jsonl"));
        dir.write("audit/.manifest.jsonl.mark", fixture("manifest.jsonl.mark"));
    })
}

fn files(broker: &Broker) -> [PathBuf; 2] {
    [broker.manifest_path().with_extension("jsonl.1"), broker.manifest_path()]
}

#[test]
fn what_an_earlier_version_wrote_is_verified_and_shown() {
    let broker = taken_over().start();
    let [old, new] = files(&broker);
    for (name, path) in [("manifest.jsonl.1", &old), ("manifest.jsonl", &new)] {
        assert!(fs::read(path).expect("it is there").starts_with(&fixture(name)), "{name} was changed");
    }
    let words = ["verify", "--journal=none"].map(Path::new);
    sluice(words.into_iter().chain([&*old, &*new])).exited(0).said(&[
        "manifest.jsonl.1: 14 records",
        "manifest.jsonl: 8 records",
        "good: 22 records of 11 calls",
    ]);
    let words = ["log", "--json", "--file"].map(Path::new);
    let shown = sluice(words.into_iter().chain([&*new])).exited(0).stdout();
    let of = |text: &str| shown.lines().filter(|line| line.contains(text)).count();
    assert_eq!((of(r#""kind":"start""#), of(r#""kind":"exit""#), of(r#""kind":"reject""#)), (6, 6, 3));
    assert_eq!(of(r#""kind":"lost","call":10,"#), 1, "{shown}");
    let words = ["log", "--file"].map(Path::new);
    sluice(words.into_iter().chain([&*new])).exited(0).said(&[
        r"/bin/echo hello $'café a\x1b[31mb'",
        "no_rule x3",
        "SIGTERM",
        "/bin/sh -c 'sleep 300'",
    ]);
}

#[test]
fn a_broker_goes_on_after_an_earlier_version() {
    let mut broker = taken_over().start();
    broker.call(["/bin/echo", "third"]).exited(0);
    broker.stop();
    let records = fs::read_to_string(broker.manifest_path()).expect("there is a manifest");
    let added: Vec<_> = records.lines().skip(6).collect();
    let kinds: Vec<_> = added.iter().map(|line| line.split('"').nth(3).unwrap_or_default()).collect();
    assert_eq!(kinds, ["open", "lost", "start", "exit", "close"], "{records}");
    assert!(added[0].contains(r#""next":13,"#) && !added[0].contains("missing"), "{}", added[0]);
    assert!(added[1].contains(r#""call":10,"#) && added[2].contains(r#""call":13,"#), "{records}");
}
