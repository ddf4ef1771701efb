//! `sluice verify` beside a real journal: what the file alone cannot show of its end, the journal does.

use std::fs;
use std::os::unix::net::UnixDatagram;
use std::path::{Path, PathBuf};

use crate::harness::manifest::{chain_anew, hash};
use crate::harness::{Ended, Gate, SOON, sluice, within};

const ECHO: &str = "echo #words...\n  allow_any = words\n";

/// A gate with calls on record that is not written any more, once the journal has all of it.
fn written() -> (Gate, PathBuf) {
    let gate = Gate::new(ECHO).enable();
    gate.call(["echo", "hi"]).exited(0);
    gate.call(["nope"]).exited(129);
    stopped(gate)
}

/// The same gate, and its manifest, once its broker has left and the journal has every record.
fn stopped(gate: Gate) -> (Gate, PathBuf) {
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

/// All lines with other words in them, and the chain with them: what the file alone cannot show.
fn write_anew(path: &Path) -> Vec<String> {
    let mut written = Vec::new();
    edit(path, |lines| {
        let changed: Vec<_> = lines.iter().map(|line| line.replacen("\"ts\"", "\"x\":1,\"ts\"", 1)).collect();
        *lines = chain_anew(&changed);
        written.clone_from(lines);
    });
    written
}

const OTHER: &str =
    "manifest.jsonl:1: another manifest than was written here: the journal has 5 records of that time";

#[test]
fn a_manifest_that_was_written_anew_as_a_whole_is_found() {
    let (_gate, path) = written();
    write_anew(&path);
    verify(&path, &["--journal=none"]).exited(0);
    verify(&path, &[]).exited(1).said(&[OTHER, "not good"]);
    // A change that leaves the first line as it was is named where it is.
    fs::remove_file(path).expect("an own file can be removed");
}

#[test]
fn entries_that_another_process_sent_prove_nothing() {
    let (_gate, path) = written();
    let journal = UnixDatagram::unbound().expect("a socket");
    let mut prev = "0".repeat(64);
    for line in write_anew(&path) {
        let kind = line.split('"').nth(3).unwrap_or_default();
        let fields = format!(
            "MESSAGE=forged\nSYSLOG_IDENTIFIER=sluice\nSLUICE_KIND={kind}\nSLUICE_HASH={}\nSLUICE_PREV={prev}\n\
             SLUICE_MANIFEST={}\n",
            hash(&line),
            path.display()
        );
        journal.send_to(fields.as_bytes(), "/run/systemd/journal/socket").expect("the journal listens");
        prev = hash(&line);
    }
    let note = "the journal has 5 of the records from another process";
    within(SOON, "the journal has what was forged", || {
        verify(&path, &[]).stdout().contains(note).then_some(())
    });
    verify(&path, &[]).exited(1).said(&[OTHER, note, "the journal does not have 5 of the 5 records"]);
    verify(&path, &["--strict"]).exited(1);
    fs::remove_file(path).expect("an own file can be removed");
}

/// Nor can they make a good one look bad.
#[test]
fn entries_that_another_process_sent_deny_nothing() {
    let (_gate, path) = written();
    let text = fs::read_to_string(&path).expect("there is a manifest");
    let journal = UnixDatagram::unbound().expect("a socket");
    for prev in text.lines().map(hash) {
        let fields = format!(
            "MESSAGE=forged\nSYSLOG_IDENTIFIER=sluice\nSLUICE_KIND=exit\nSLUICE_HASH={}\nSLUICE_PREV={prev}\n\
             SLUICE_MANIFEST={}\n",
            "ab".repeat(32),
            path.display()
        );
        journal.send_to(fields.as_bytes(), "/run/systemd/journal/socket").expect("the journal listens");
    }
    let mut entries = crate::harness::Journal::filtered("SLUICE_KIND=exit");
    entries.has("what was forged", |entry| entry.get_message() == Some("forged"));
    verify(&path, &["--strict"]).exited(0);
}

#[test]
fn manifests_that_were_exchanged_are_found() {
    let [one, other] = [(); 2].map(|()| Gate::new(ECHO).start());
    for gate in [&one, &other] {
        gate.call(["echo", "hi"]).exited(0);
    }
    let ((_one, path), (_other, second)) = (stopped(one), stopped(other));
    let [first_text, second_text] = [&path, &second].map(|path| fs::read(path).expect("there is a manifest"));
    fs::write(&path, second_text).expect("an own file can be written");
    fs::write(&second, first_text).expect("an own file can be written");
    for path in [path, second] {
        verify(&path, &["--journal=none"]).exited(0);
        verify(&path, &[]).exited(1).said(&["manifest.jsonl:1: another manifest than was written here"]);
        fs::remove_file(path).expect("an own file can be removed");
    }
}

#[test]
fn a_copy_in_another_place_is_told_of() {
    let (_gate, path) = written();
    let copy = path.with_file_name("copy.jsonl");
    fs::copy(&path, &copy).expect("an own file can be copied");
    verify(&copy, &[])
        .exited(0)
        .said(&["the journal has 5 of the records as of a manifest in another place"]);
    verify(&copy, &["--strict"]).exited(1);
    let rotated = path.with_file_name("manifest.jsonl.1");
    fs::rename(&path, &rotated).expect("an own file can be renamed");
    verify(&rotated, &["--strict"]).exited(0);
    fs::rename(&rotated, &path).expect("an own file can be renamed");
}
