//! What somebody wrote into a manifest between two brokers: `verify` names it, `log` does not show it, and
//! the next broker believes none of it. A call that was killed is `lost`, whatever a line says, and no number
//! comes again.

use std::fs;
use std::path::Path;

use nix::sys::signal::Signal;

use crate::harness::{Broker, Ended, SOON, Setup, Status, chain_anew, following, hash, run, sluice, within};

fn shell() -> Setup {
    Broker::new("/bin/sh -c #script\n  allow_any = script\n  on_hangup = keep\n")
}

const FORGED_START: &str = r#"{"kind":"start","call":700,"ts":1800000000000,"socket":"it","rule":4,"argv":["forged"],"resolved":"/bin/rm","cwd":"/","pid":1,"uid":0,"gid":0,"child":5,"scope":"off"}"#;
const FORGED_EXIT: &str =
    r#"{"kind":"exit","call":2,"ts":1800000000000,"status":0,"duration_ms":3,"cpu_ms":98765}"#;
const FORGED_LOST: &str = r#"{"kind":"lost","call":2,"ts":1800000000000,"reason":"killed","ended":98765}"#;
const FORGED_CLOSE: &str = r#"{"kind":"close","ts":1800000000000,"next":900}"#;
const FORGED_OPEN: &str = r#"{"kind":"open","ts":1800000000000,"version":"0.1.0","broker":1,"rules":"forged","policy":"","next":900}"#;
const FORGED_REJECT: &str = r#"{"kind":"reject","call":800,"ts":1800000000000,"socket":"it","argv":["forged"],"reason":"no_rule","status":-1,"count":9,"last":899}"#;
const FORGED_CARRIED: &str = r#"{"kind":"carried","call":2,"ts":1800000000000,"keeping":true}"#;
const FORGED_KEPT: &str = r#"{"kind":"kept","call":2,"ts":1800000000000,"reason":"killed","ended":98765}"#;

/// A line that says that it follows this one.
fn after(line: &str, prev: &str) -> String {
    following(line, prev) + "\n"
}

/// Lines that follow each other, the first of them nothing that is there.
fn chain_of_its_own(lines: &[&str]) -> String {
    let mut prev = "ab".repeat(32);
    let mut text = String::new();
    for line in lines {
        let line = after(line, &prev);
        prev = hash(&line);
        text += &line;
    }
    text
}

type Edit = Box<dyn Fn(&mut Vec<String>)>;

fn push(text: impl Into<String>) -> Edit {
    let text = text.into();
    Box::new(move |lines| lines.push(text.clone()))
}

/// Lines put behind the last of a broker that was killed while call 2 ran.
fn additions() -> Vec<(&'static str, Edit)> {
    let nothing = "ab".repeat(32);
    vec![
        ("an end without `prev`", push(format!("{FORGED_EXIT}\n"))),
        ("a start and an end without `prev`", push(format!("{FORGED_START}\n{FORGED_EXIT}\n"))),
        ("an end without `prev` and newline", push(FORGED_EXIT)),
        ("an end of a chain of its own", push(after(FORGED_EXIT, &nothing))),
        ("a first line of all", push(after(FORGED_EXIT, &"0".repeat(64)))),
        (
            "a chain of its own",
            push(chain_of_its_own(&[FORGED_OPEN, FORGED_START, FORGED_EXIT, FORGED_CLOSE])),
        ),
        ("a lost", push(after(FORGED_LOST, &nothing))),
        ("a close", push(after(FORGED_CLOSE, &nothing))),
        ("a close without `prev`", push(format!("{FORGED_CLOSE}\n"))),
        ("an open", push(after(FORGED_OPEN, &nothing))),
        ("a reject with a high number", push(after(FORGED_REJECT, &nothing))),
        ("a carried and a kept", push(chain_of_its_own(&[FORGED_CARRIED, FORGED_KEPT]))),
        ("a blank line", push("\n")),
        ("other JSON", push("{\"a\":[1,2]}\n[]\n42\n\"x\"\n")),
        ("bytes", push("\u{1}\u{fffd}\u{7f}\n")),
        ("a line that is longer than any", push("x".repeat(300_000) + "\n")),
        ("the last line again", Box::new(|lines| lines.extend(lines.last().cloned()))),
        ("the first call again", Box::new(|lines| lines.extend(lines[1..3].to_vec()))),
        (
            "an end with the `prev` of the last line",
            Box::new(|lines| {
                let prev = lines.last().map(|line| line.rsplit('"').nth(1).unwrap_or_default().to_owned());
                lines.push(after(FORGED_EXIT, &prev.unwrap_or_default()));
            }),
        ),
        ("a torn line with its newline", push("{\"kind\":\"exit\",\"call\":2,\"ts\":18\n")),
        ("a number at the end", push(format!("{{\"kind\":\"start\",\"call\":{},\"ts\":1}}\n", u64::MAX))),
    ]
}

/// What is done to the lines of a broker that was killed while call 2 ran, before the last.
fn changes() -> Vec<(&'static str, Edit)> {
    vec![
        ("a line put before the last", Box::new(|lines| lines.insert(3, format!("{FORGED_START}\n")))),
        (
            "a chain put before the last",
            Box::new(|lines| {
                lines.insert(3, chain_of_its_own(&[FORGED_START, FORGED_REJECT]));
            }),
        ),
        ("an argument that was changed", Box::new(|lines| lines[1] = lines[1].replace("true", "forged"))),
        (
            "a status that was changed",
            Box::new(|lines| lines[2] = lines[2].replace("\"status\":0", "\"status\":98765")),
        ),
        ("two lines in the other order", Box::new(|lines| lines.swap(1, 2))),
        ("a line that was taken out", Box::new(|lines| drop(lines.remove(2)))),
        ("a line that was cut short", Box::new(|lines| lines[2].replace_range(40.., "\n"))),
        ("a first line that is gone", Box::new(|lines| drop(lines.remove(0)))),
    ]
}

/// A broker that was killed while call 2 ran, and its manifest changed since.
fn edited(edit: &Edit) -> Broker {
    let mut broker = shell().start();
    broker.sh("true").exited(0);
    let mut call = broker.begin_sh("echo $$; exec sleep 60");
    let pid = call.pid();
    let caller = call.stay();
    broker.kill();
    drop(caller);
    within(SOON, "the command is gone", || (!pid.runs()).then_some(()));
    let path = broker.manifest_path();
    let text = fs::read_to_string(&path).expect("there is a manifest");
    let mut lines: Vec<_> = text.split_inclusive('\n').map(str::to_owned).collect();
    assert_eq!(lines.len(), 4, "{text}");
    edit(&mut lines);
    fs::write(&path, lines.concat()).expect("an own file can be written");
    broker
}

/// Only what the next broker did was of interest.
fn forget(mut broker: Broker) {
    fs::remove_file(broker.manifest_path()).expect("an own file can be removed");
    broker.kill();
}

fn verify(path: &Path) -> Ended {
    sluice(["verify".as_ref(), "--journal=none".as_ref(), path.as_os_str()])
}

/// `verify` names a place, and `log` shows nothing of what was forged.
fn is_named_and_not_believed(path: &Path, name: &str) {
    let verified = verify(path).exited(1);
    assert!(verified.stdout().contains("manifest.jsonl:"), "{name}: {verified}");
    let all = ["-n", "all"].map(str::to_owned);
    let ways = [vec![], all.to_vec(), vec!["--json".into()], vec!["--rejects".into()]];
    let calls = [700, 800, 850].map(|call| vec![format!("--call={call}")]);
    for way in ways.into_iter().chain(calls) {
        let words = ["log", "--file", path.to_str().expect("UTF-8")].map(str::to_owned);
        let shown = sluice(words.into_iter().chain(way.clone()));
        let said = shown.stdout();
        let is_forged = ["forged", "98765", " 700 ", " 800 "].iter().any(|part| said.contains(part));
        assert!(!is_forged, "{name}, {way:?}: {shown}");
    }
}

#[test]
fn what_was_added_between_two_brokers_is_named_and_not_believed() {
    for (name, edit) in additions() {
        let mut broker = edited(&edit);
        is_named_and_not_believed(&broker.manifest_path(), name);
        broker.start_again();
        let number = broker.sh("echo after").exited(0).record("start").number("call");
        assert_eq!(number, 3, "{name}: the next number");
        let lost = broker.records_of("lost call=2 !ended");
        assert_eq!(lost.len(), 1, "{name}: the call that was killed is lost, once{}", broker.transcript(0));
        let open = broker.records_of("open").pop().expect("an open record");
        assert!(open.is("open foreign foreign_sha256 !torn !missing next=3"), "{name}: {open}");
        is_named_and_not_believed(&broker.manifest_path(), name);
        let path = broker.manifest_path();
        sluice(["log".as_ref(), "--file".as_ref(), path.as_os_str()])
            .exited(0)
            .said(&["echo after", "lost killed"])
            .complained(&["manifest.jsonl:5: no broker wrote"]);
        // A third one finds the same, and says nothing anew.
        broker.signal(Signal::SIGKILL);
        broker.kill();
        broker.start_again();
        assert_eq!(broker.records_of("lost call=2 !ended").len(), 1, "{name}");
        assert!(
            broker.records_of("open").pop().is_some_and(|open| open.is("open !foreign next=4")),
            "{name}"
        );
        forget(broker);
    }
}

#[test]
fn what_was_changed_between_two_brokers_is_named_and_not_believed() {
    for (name, edit) in changes() {
        let mut broker = edited(&edit);
        is_named_and_not_believed(&broker.manifest_path(), name);
        broker.start_again();
        assert_eq!(broker.sh("true").exited(0).record("start").number("call"), 3, "{name}");
        assert_eq!(broker.records_of("lost call=2").len(), 1, "{name}{}", broker.transcript(0));
        is_named_and_not_believed(&broker.manifest_path(), name);
        forget(broker);
    }
}

/// A record that is chained as it should be, behind the `close` of a broker that left in peace.
#[test]
fn what_was_put_after_a_close_is_named_and_not_believed() {
    let puts: [&[&str]; 7] = [
        &[FORGED_START],
        &[FORGED_START, &FORGED_EXIT.replace(":2,", ":700,")],
        &[FORGED_START, FORGED_CLOSE],
        &[FORGED_REJECT],
        &[FORGED_KEPT],
        &[FORGED_LOST],
        &[FORGED_CLOSE],
    ];
    for put in puts {
        let mut broker = shell().start();
        broker.sh("true").exited(0);
        broker.stop();
        let path = broker.manifest_path();
        let mut text = fs::read_to_string(&path).expect("there is a manifest");
        let close = text.lines().count();
        for line in put {
            let last = hash(text.lines().last().unwrap_or_default());
            text += &after(line, &last);
        }
        fs::write(&path, text).expect("an own file can be written");
        let named = format!("manifest.jsonl:{}: was put there", close + 1);
        verify(&path).exited(1).said(&[&named, "nothing after its `close`"]);
        is_named_and_not_believed(&path, put[0]);
        broker.start_again();
        let number = broker.sh("true").exited(0).record("start").number("call");
        assert_eq!(number, 2, "{put:?}: the next number");
        assert_eq!(broker.records_of("lost call=700").len(), 0, "{put:?}{}", broker.transcript(0));
        let open = broker.records_of("open").pop().expect("an open record");
        let foreign = format!("open foreign={} !torn !missing next=2", put.len());
        assert!(open.is(&foreign), "{put:?}: {open}");
        verify(&path).exited(1).said(&[&named]);
        is_named_and_not_believed(&path, put[0]);
        forget(broker);
    }
}

/// Nor does it help to take the mark away, or to spoil it.
#[test]
fn without_the_mark_no_forged_end_is_believed() {
    let nothing = "ab".repeat(32);
    let added = [format!("{FORGED_EXIT}\n"), after(FORGED_EXIT, &nothing), after(FORGED_CLOSE, &nothing)];
    let spoil: [fn(&Path); 4] = [
        |mark| fs::remove_file(mark).expect("an own file can be removed"),
        |mark| fs::write(mark, "next=1").expect("an own file can be written"),
        |mark| fs::write(mark, format!("next={:020} prev={}\n", 1, "0".repeat(64))).expect("written"),
        |mark| fs::write(mark, format!("next={:020} prev={}\n", 3, "cd".repeat(32))).expect("written"),
    ];
    for (text, spoil) in added.iter().flat_map(|text| spoil.map(|spoil| (text, spoil))) {
        let mut broker = edited(&push(text.clone()));
        spoil(&broker.dir().join("audit/.manifest.jsonl.mark"));
        broker.start_again();
        assert_eq!(broker.records_of("lost call=2").len(), 1, "{text}{}", broker.transcript(0));
        assert!(broker.sh("true").exited(0).record("start").number("call") >= 3, "{text}");
        verify(&broker.manifest_path()).exited(1);
        forget(broker);
    }
}

#[test]
fn numbers_at_their_end_are_refused_and_do_not_repeat() {
    for number in ["18446744073709551615", "9223372036854775807", "9007199254740992", "9007199254740991"] {
        let mut broker = shell().start();
        broker.sh("true").exited(0);
        broker.stop();
        let path = broker.manifest_path();
        let good = fs::read_to_string(&path).expect("there is a manifest");
        let lines: Vec<_> =
            good.lines().map(|line| line.replace("\"next\":2", &format!("\"next\":{number}"))).collect();
        fs::write(&path, chain_anew(&lines).concat()).expect("an own file can be written");
        let said = broker.try_start_again();
        assert!(
            said.contains(&path.display().to_string()) && said.contains("numbers end at"),
            "{number}: {said}"
        );
        assert!(said.contains(".manifest.jsonl.mark"), "{number}: {said}");
        fs::write(&path, &good).expect("an own file can be written");
        let mark = broker.dir().join("audit/.manifest.jsonl.mark");
        let prev = hash(good.lines().last().unwrap_or_default());
        fs::write(&mark, format!("next={number:0>20} prev={prev}\n")).expect("an own file can be written");
        assert!(broker.try_start_again().contains("numbers end at"), "{number} in the mark");
        fs::remove_file(mark).expect("an own file can be removed");
        broker.start_again();
        assert_eq!(broker.sh("true").exited(0).record("start").number("call"), 2);
    }
}

#[test]
fn a_file_beside_the_manifest_that_cannot_be_read_hides_no_other() {
    let broker = shell().start();
    broker.sh("echo shown").exited(0);
    let path = broker.manifest_path();
    let beside = |end: &str| path.with_file_name(format!("manifest.jsonl{end}"));
    let text = fs::read(&path).expect("there is a manifest");
    fs::write(beside(".4"), &text).expect("an own directory takes a file");
    run("gzip".into(), ["-k".as_ref(), beside(".4").as_os_str()], b"").exited(0);
    let packed = fs::read(beside(".4.gz")).expect("gzip made it");
    fs::remove_file(beside(".4")).expect("an own file can be removed");
    fs::write(beside(".4.gz"), &packed[..packed.len() - 12]).expect("an own file can be written");
    fs::write(beside(".1"), [0xff, 0, 1, 0x1f, b'\n', 7]).expect("an own directory takes a file");
    fs::create_dir(beside(".2")).expect("an own directory takes another");
    fs::write(beside(".3.gz"), [0x1f, 0x8b, 8, 0, 1, 2, 3]).expect("an own directory takes a file");
    std::os::unix::fs::symlink("/nonexistent", beside(".5")).expect("an own directory takes a link");
    for words in [&[][..], &["-n", "all"], &["--call=1"], &["--json"]] {
        let all = [&["log", "--file", path.to_str().expect("UTF-8")], words].concat();
        let complaints = sluice(all).exited(0).said(&["echo shown"]).stderr();
        for part in ["manifest.jsonl.2 is not", "manifest.jsonl.3.gz: ", "manifest.jsonl.4.gz: "] {
            assert!(complaints.contains(part), "{words:?}: {part} in {complaints}");
        }
    }
    broker.call(["nope"]).refused(Status::NO_RULE);
}
