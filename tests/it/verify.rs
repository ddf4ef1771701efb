//! `sluice verify`: a manifest that a broker wrote is good, however it ended and was rotated, and one that
//! somebody changed is not. Every kind of change in every place is tried by the unit tests of
//! `src/audit/verify`.

use std::fs;
use std::io::Write as _;
use std::path::{Path, PathBuf};

use crate::harness::{Broker, Ended, Status, needs, run, sluice, sluice_bin};

fn verify(files: &[PathBuf], words: &[&str]) -> Ended {
    let words = ["verify", "--journal=none"].iter().chain(words).map(Path::new);
    sluice(words.chain(files.iter().map(PathBuf::as_path)))
}

/// A manifest that is not written any more, of a few calls.
fn written() -> (Broker, PathBuf) {
    let mut broker = Broker::shell();
    broker.sh("exit 1").exited(1);
    broker.call(["nope"]).refused(Status::NO_RULE);
    broker.sh("exit 3").exited(3);
    broker.stop();
    let path = broker.dir().join("copy.jsonl");
    fs::copy(broker.manifest_path(), &path).expect("an own file can be copied");
    (broker, path)
}

fn edit(path: &Path, edit: impl FnOnce(&mut Vec<String>)) {
    let text = fs::read_to_string(path).expect("there is a manifest");
    let mut lines: Vec<_> = text.split_inclusive('\n').map(str::to_owned).collect();
    edit(&mut lines);
    fs::write(path, lines.concat()).expect("an own file can be written");
}

#[test]
fn what_a_broker_wrote_is_good() {
    let (_broker, path) = written();
    verify(std::slice::from_ref(&path), &[]).exited(0).said(&[
        "copy.jsonl: 7 records",
        "note: not compared with the journal",
        "good: 7 records of 3 calls",
    ]);
    let json = verify(&[path], &["--json"]).exited(0).stdout();
    let answer: serde_json::Value = serde_json::from_str(&json).expect("JSON");
    assert_eq!((&answer["good"], &answer["records"], &answer["calls"]), (&true.into(), &7.into(), &3.into()));
}

#[test]
fn the_first_line_that_does_not_fit_is_named() {
    let check = |change: &dyn Fn(&mut Vec<String>), want: &str| {
        let (_broker, path) = written();
        edit(&path, |lines| change(lines));
        let ended = verify(&[path], &[]).exited(1).said(&["not good"]);
        assert!(ended.stdout().contains(want), "{want}\n{ended}");
    };
    check(&|lines| lines[2] = lines[2].replace("\"status\":1", "\"status\":0"), "copy.jsonl:3: changed");
    check(&|lines| drop(lines.remove(3)), "copy.jsonl:3: changed, or lines after it are missing");
    check(&|lines| drop(lines.remove(0)), "copy.jsonl:1: lines before it are missing");
    check(&|lines| lines.swap(2, 3), "copy.jsonl:3: swapped");
    check(&|lines| lines.insert(3, lines[2].clone()), "copy.jsonl:4: doubled");
    check(&|lines| lines.insert(5, lines[1].clone()), "copy.jsonl:6: does not belong here");
    check(&|lines| lines[6].truncate(30), "copy.jsonl:7: torn: 30 bytes");
    check(&|lines| lines[1] = "dear diary\n".into(), "copy.jsonl:2: is not a record");
}

#[test]
fn a_cut_at_the_end_is_the_journals_to_find() {
    let (_broker, path) = written();
    edit(&path, |lines| lines.truncate(5));
    let files = [path];
    verify(&files, &[]).exited(0).said(&["lines cut off the end would not show", "no end of call 3"]);
    verify(&files, &["--strict"]).exited(1).said(&["not good"]);
}

#[test]
fn rotated_files_follow_each_other_in_whatever_order_they_are_given() {
    let mut broker = Broker::shell();
    let path = broker.manifest_path();
    let [old, older] = [".1", ".2"].map(|end| path.with_extension(format!("jsonl{end}")));
    for rotated in [&older, &old] {
        broker.sh("true").exited(0);
        fs::rename(&path, rotated).expect("an own file can be renamed");
        broker.hup();
    }
    broker.sh("true").exited(0);
    broker.stop();
    verify(&[path.clone(), older.clone(), old.clone()], &[]).exited(0).said(&["good: 14 records of 3 calls"]);
    verify(&[old.clone(), path.clone()], &[]).exited(0).said(&["goes on from a file that was not given"]);
    verify(&[path.clone(), older.clone()], &[])
        .exited(1)
        .said(&["manifest.jsonl:1: lines are missing before it"]);
    run("gzip".into(), [&older], b"").exited(0);
    let packed = older.with_extension("2.gz");
    verify(&[path.clone(), packed.clone(), old.clone()], &[]).exited(0).said(&["good: 14 records"]);
    let whole = fs::read(&packed).expect("there is a packed file");
    fs::write(&packed, &whole[..whole.len() - 20]).expect("an own file can be written");
    verify(&[path.clone(), packed, old.clone()], &[]).exited(1).said(&["2.gz:", "cannot be unpacked"]);
    if !needs("zstd", "zstd") {
        return;
    }
    run("zstd".into(), ["--rm".as_ref(), "-q".as_ref(), old.as_os_str()], b"").exited(0);
    let packed = old.with_extension("1.zst");
    verify(&[path, packed], &[]).exited(0).said(&["good: 10 records"]);
}

#[test]
fn what_a_killed_broker_tore_is_vouched_for_by_the_next() {
    let mut broker = Broker::shell();
    broker.sh("true").exited(0);
    broker.kill();
    let file = fs::File::options().append(true).open(broker.manifest_path());
    file.and_then(|mut file| file.write_all(br#"{"kind":"start","call":7,"ts":17000"#)).expect("written");
    let files = [broker.manifest_path()];
    verify(&files, &[]).exited(1).said(&["manifest.jsonl:4: torn: 35 bytes"]);
    broker.start_again();
    broker.sh("true").exited(0);
    verify(&files, &[]).exited(0).said(&["1 torn by a crash and set apart"]);
    let copy = [broker.dir().join("copy.jsonl")];
    for line in [2, 3] {
        fs::copy(&files[0], &copy[0]).expect("an own file can be copied");
        edit(&copy[0], |lines| drop(lines.remove(line)));
        verify(&copy, &[]).exited(1);
    }
}

#[test]
fn what_cannot_be_read_is_no_answer() {
    let (broker, path) = written();
    verify(&[broker.dir().join("none")], &[]).exited(2).complained(&["none"]);
    let xz = broker.dir().join("m.xz");
    fs::write(&xz, b"\xfd7zXZ\0rest").expect("an own directory takes a file");
    verify(&[path.clone(), xz], &[]).exited(2).complained(&["xz -dk"]);
    let empty = broker.dir().join("empty");
    fs::write(&empty, "").expect("an own directory takes a file");
    verify(std::slice::from_ref(&empty), &[]).exited(2).complained(&["no record"]);
    verify(&[empty, path], &[]).exited(0);
    sluice(["verify"]).exited(2);
    sluice(["verify", "--journal=elsewhere", "x"]).exited(2);
}

#[test]
fn a_name_stands_for_all_files_of_its_manifest() {
    let (broker, path) = written();
    let text = fs::read(&path).expect("there is a manifest");
    let home = broker.dir().join("home");
    let place = home.join(".local/state/sluice/agent");
    fs::create_dir_all(&place).expect("an own directory takes another");
    fs::create_dir_all(home.join(".config/sluice")).expect("an own directory takes another");
    fs::write(home.join(".config/sluice/agent.rules"), "true\n").expect("an own directory takes a file");
    fs::write(place.join("manifest.jsonl"), &text).expect("an own directory takes a file");
    let set = format!("HOME={}", home.display());
    let bin = sluice_bin().display().to_string();
    let named = |name: &str| {
        let words = ["-u", "XDG_CONFIG_HOME", &set, &bin, "verify", "--journal=none", name];
        run("env".into(), words, b"")
    };
    named("agent").exited(0).said(&["agent/manifest.jsonl: 7 records", "good: 7 records of 3 calls"]);
    named("agnt").exited(2).complained(&["agnt", "the names are: agent"]);
    fs::rename(place.join("manifest.jsonl"), place.join("manifest.jsonl.1")).expect("renamed");
    fs::write(place.join("manifest.jsonl"), "dear diary\n").expect("an own file can be written");
    named("agent").exited(1).said(&["manifest.jsonl.1: 7 records", "manifest.jsonl:1: is not a record"]);
}

#[test]
fn where_there_is_no_journal_it_is_said() {
    let (_broker, path) = written();
    let (bin, path) = (sluice_bin().display().to_string(), path.display().to_string());
    let nowhere = run("env".into(), ["-i", "PATH=/nonexistent", &bin, "verify", &path], b"");
    nowhere.exited(0).said(&["not compared with the journal (journalctl cannot be started"]);
}
