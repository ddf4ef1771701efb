//! `sluice verify` beside a real journal: what the file alone cannot show of its end, the journal does.

use std::fs;
use std::path::{Path, PathBuf};

use crate::harness::{Ended, Gate, SOON, sluice, within};

const ECHO: &str = "echo #words...\n  allow_any = words\n";

/// A gate with calls on record that is not written any more, once the journal has all of it.
fn written() -> (Gate, PathBuf) {
    let gate = Gate::new(ECHO).enable();
    gate.call(["echo", "hi"]).exited(0);
    gate.call(["nope"]).exited(129);
    gate.systemctl("stop").exited(0);
    let path = gate.manifest();
    within(SOON, "the journal has every record", || {
        let said = verify(&path, &["--strict"]);
        (said.code() == Some(0)).then_some(())
    });
    (gate, path)
}

fn verify(path: &Path, words: &[&str]) -> Ended {
    sluice(&[&["verify"], words, &[path.to_str().expect("a test's path is UTF-8")]].concat())
}

/// Changes a manifest. It is removed at the end: a gate's has to be good.
fn edit(path: &Path, edit: impl FnOnce(&mut Vec<String>)) {
    let text = fs::read_to_string(path).expect("there is a manifest");
    let mut lines: Vec<_> = text.split_inclusive('\n').map(str::to_owned).collect();
    edit(&mut lines);
    fs::write(path, lines.concat()).expect("an own file can be written");
}

#[test]
fn every_record_is_in_the_journal() {
    let (_gate, path) = written();
    verify(&path, &[]).exited(0).said(&["manifest.jsonl: 5 records, 5 of them in the journal"]);
    verify(&path, &["--journal=user"]).exited(0);
}

#[test]
fn lines_that_were_cut_off_the_end_are_found() {
    let (_gate, path) = written();
    edit(&path, |lines| lines.truncate(2));
    verify(&path, &["--journal=none"]).exited(0);
    verify(&path, &[]).exited(1).said(&[
        "manifest.jsonl:2: the last line here, but the journal has 3 more: the exit of call 1 is missing first",
    ]);
    fs::remove_file(path).expect("an own file can be removed");
}

#[test]
fn a_last_line_that_was_changed_is_found() {
    let (_gate, path) = written();
    edit(&path, |lines| lines[4] = lines[4].replace("\"next\":3", "\"next\":4"));
    verify(&path, &["--journal=none"]).exited(0);
    verify(&path, &[])
        .exited(1)
        .said(&["manifest.jsonl:5: changed: the journal has the record `close` here"]);
    fs::remove_file(path).expect("an own file can be removed");
}

#[test]
fn lines_that_are_missing_are_named_by_the_journal() {
    let (_gate, path) = written();
    edit(&path, |lines| drop(lines.remove(2)));
    verify(&path, &[])
        .exited(1)
        .said(&["manifest.jsonl:2: lines after it are missing: the journal has the exit of call 1 next"]);
    fs::remove_file(path).expect("an own file can be removed");
}
