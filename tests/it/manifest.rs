//! The record of every call: what it says, in which order it is written, and what happens when it cannot be.

use std::fs;
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _};
use std::time::Duration;

use nix::sys::signal::Signal;
use sha2::{Digest as _, Sha256};

use crate::harness::{Broker, Record, Setup, Status, sluice};

/// Words that try to leave their place in a record, or to reach a terminal.
const HOSTILE: [&str; 22] = [
    "\"",
    "\\",
    "\\\"",
    "a\nb",
    "\r\n",
    "{\"kind\":\"exit\",\"call\":1,\"status\":0}",
    "\"}\n{\"call\":999,\"kind\":\"start\",\"argv\":[\"forged\"]}",
    "\t\x08\x0c",
    "\x01\x1f",
    "\u{7f}",
    "\u{9b}31m",
    "\x1b[2J\x1b]0;title\x07",
    "\u{2028}\u{2029}",
    "\u{1f600}",
    "e\u{301}",
    "\u{202e}gnp.exe",
    "\u{d7ff}\u{e000}",
    "\u{fffd}",
    "\u{ffff}",
    "%s%n",
    "\\u0000",
    "",
];

fn any_word() -> Setup {
    Broker::new("/bin/echo #word\n  allow_any = word\n")
}

#[test]
fn hostile_words_are_recorded_exactly_and_on_one_line() {
    let broker = any_word().start();
    let mut sent: Vec<Vec<String>> = Vec::new();
    for word in HOSTILE {
        broker.call(["/bin/echo", word]).exited(0);
        broker.call(["/bin/nope", word]).refused(Status::NO_RULE);
        sent.extend(["/bin/echo", "/bin/nope"].map(|program| vec![program.to_owned(), word.to_owned()]));
    }
    let records = broker.records();
    let of_calls = records.iter().filter(|record| record.is("start") || record.is("reject"));
    assert_eq!(of_calls.map(Record::argv).collect::<Vec<_>>(), sent);
}

#[test]
fn a_record_says_who_asked_and_what_ran() {
    let broker = Broker::new("/bin/echo #word\n  word = [a-z]+\n  cwd = /usr\n").start();
    let ours = std::process::id();
    let (uid, gid) = (nix::unistd::getuid(), nix::unistd::getgid());
    let who = format!("pid={ours} uid={uid} gid={gid} !connector socket=it");
    let start = format!(
        r#"start call=1 rule=4 argv=["/bin/echo","a"] resolved=/bin/echo cwd=/usr scope=off {who} !file"#
    );
    broker.call(["/bin/echo", "a"]).exited(0).audited([&*start, "exit call=1 status=0 duration_ms"]);
    let reject = format!(r#"reject call=2 reason=no_rule status=-1 argv=["/bin/nope"] {who}"#);
    broker.call(["/bin/nope"]).refused(Status::NO_RULE).audited([&*reject]);
    let start = broker.record("start");
    assert_eq!(start.get("policy"), broker.record("open").get("policy"));
    assert!(start.number("child") > 1 && start.text("policy").len() == 64, "{start}");
}

#[test]
fn a_rule_of_an_included_file_is_recorded_with_its_file() {
    let broker =
        Broker::new("include more.rules\n").file("more.rules", "; A comment.\n/bin/echo a\n").start();
    let file = broker.dir().join("more.rules");
    broker
        .call(["/bin/echo", "a"])
        .exited(0)
        .audited([&*format!("start rule=2 file={}", file.display()), "exit"]);
}

#[test]
fn keys_stand_in_their_order_with_prev_last() {
    let broker = Broker::shell();
    broker.sh("true").exited(0);
    let text = broker.record("start").to_string();
    let keys = [
        "kind", "call", "ts", "socket", "rule", "argv", "resolved", "cwd", "pid", "uid", "gid", "child",
        "scope", "policy", "prev",
    ];
    let places: Vec<_> = keys.iter().map(|key| text.find(&format!("\"{key}\":"))).collect();
    assert!(places.iter().all(Option::is_some) && places.is_sorted(), "{text}");
}

#[test]
fn the_start_is_on_record_before_the_command_runs() {
    let broker = Broker::new("/bin/cat @DIR@/audit/manifest.jsonl\n").start();
    let path = broker.manifest_path();
    let text = broker.call(["/bin/cat", &*path.to_string_lossy()]).exited(0).text();
    let last = text.lines().last().unwrap_or_default();
    assert!(last.contains(r#""kind":"start""#) && last.contains("manifest.jsonl"), "{text}");
}

#[test]
fn the_recorded_child_is_the_command_itself() {
    let broker = Broker::shell();
    let answer = broker.sh("echo $$").exited(0);
    let pid: u64 = answer.text().trim().parse().expect("a pid");
    assert_eq!(answer.record("start").number("child"), pid);
}

#[test]
fn a_long_argv_is_cut_with_its_length_and_hash() {
    let broker = any_word().start();
    let words = ["/bin/nope".to_owned(), "a".repeat(5000), "b".repeat(5000), "\u{1}".repeat(16000)];
    let answer = broker.request(&words).run().refused(Status::NO_RULE);
    let record = answer.record("reject");
    assert_eq!(record.number("argv_bytes"), 26013, "with a NUL after each word");
    assert_eq!(record.text("argv_sha256").len(), 64);
    assert!(record.line.len() <= 64 * 1024, "{} bytes", record.line.len());
    assert_eq!(record.argv()[..2], words[..2]);
    let kept: usize = record.argv().iter().map(String::len).sum();
    assert!(kept <= 8192, "{kept} bytes are kept");
}

#[test]
fn an_argv_of_eight_kibibytes_is_whole() {
    let broker = any_word().start();
    let words = ["/bin/nope".to_owned(), "a".repeat(4000), "b".repeat(4000)];
    let record = broker.request(&words).run().refused(Status::NO_RULE).record("reject");
    assert!(record.is("reject !argv_bytes !argv_sha256"), "{record}");
    assert_eq!(record.argv(), words);
}

#[test]
fn refusals_of_control_characters_do_not_swell() {
    let broker = any_word().start();
    let before = fs::metadata(broker.manifest_path()).expect("there is a manifest").len();
    let words = [vec!["/bin/nope".to_owned()], vec!["\u{1}".repeat(15900); 12]].concat();
    for turn in 0..20 {
        let words = [words.clone(), vec![turn.to_string()]].concat();
        broker.request(&words).run().refused(Status::NO_RULE);
    }
    let grown = fs::metadata(broker.manifest_path()).expect("there is a manifest").len() - before;
    assert!(grown <= 20 * 65536, "{grown} bytes for 20 refusals");
}

#[test]
fn equal_refusals_are_folded_into_one_with_a_count() {
    let broker = any_word().start();
    for _ in 0..500 {
        broker.request(&["/bin/nope", "again"]).quick().run().refused(Status::NO_RULE);
    }
    broker.call(["/bin/echo", "a"]).exited(0);
    let folded =
        || broker.records_of("reject").iter().map(|one| one.get("count").as_u64().unwrap_or(1)).sum::<u64>();
    crate::harness::within(Duration::from_secs(5), "500 refusals on record", || {
        (folded() == 500).then_some(())
    });
    let records = broker.records_of("reject");
    assert!(records.len() < 100, "{} records for 500 equal refusals", records.len());
    let counted = records.iter().find(|record| record.is("reject count last")).expect("repeats are counted");
    assert_eq!(counted.number("last") - counted.number("call") + 1, counted.number("count"), "{counted}");
}

#[test]
fn different_refusals_are_not_folded() {
    let broker = any_word().start();
    for turn in 0..50 {
        broker.request(&["/bin/nope", &*turn.to_string()]).run().refused(Status::NO_RULE);
    }
    assert_eq!(broker.records_of("reject !count").len(), 50);
}

#[test]
fn repeats_are_recorded_when_the_broker_stops() {
    let mut broker = any_word().start();
    for _ in 0..3 {
        broker.request(&["/bin/nope", "again"]).run().refused(Status::NO_RULE);
    }
    broker.stop();
    let counts: Vec<_> =
        broker.records_of("reject").iter().map(|one| one.get("count").as_u64().unwrap_or(1)).collect();
    assert_eq!(counts.iter().sum::<u64>(), 3, "{counts:?}");
}

#[test]
fn exit_only_leaves_no_argument_anywhere() {
    let broker = Broker::new("/bin/echo #secret\n  secret = [a-z0-9]+\n  log = exit-only\n").start();
    broker.call(["/bin/echo", "hunter2"]).exited(0).audited(["exit call=1 status=0 !argv"]);
    broker.call(["/bin/echo", "not so"]).refused(Status::NO_RULE);
    let text = fs::read_to_string(broker.manifest_path()).expect("there is a manifest");
    assert!(!text.contains("hunter2"), "{text}");
}

#[test]
fn argv_only_is_full_without_captures() {
    let broker = Broker::new("/bin/echo a\n  log = argv-only\n").start();
    broker.call(["/bin/echo", "a"]).exited(0).audited([r#"start argv=["/bin/echo","a"]"#, "exit status=0"]);
}

#[test]
fn numbers_rise_by_one_and_go_on_after_a_restart() {
    let mut broker = any_word().start();
    broker.call(["/bin/echo", "a"]).exited(0).audited(["start call=1", "exit call=1"]);
    broker.call(["/bin/nope"]).refused(Status::NO_RULE).audited(["reject call=2"]);
    broker.raw(b"nonsense", &[]);
    broker.stop();
    broker.start_again();
    broker.call(["/bin/echo", "b"]).exited(0).audited(["start call=4", "exit call=4"]);
    broker.stop();
    broker.start_again();
    broker.call(["/bin/nope"]).refused(Status::NO_RULE).audited(["reject call=5"]);
    let kinds: Vec<_> = broker.records().iter().map(|record| record.kind().to_owned()).collect();
    assert_eq!(kinds.iter().filter(|kind| *kind == "open").count(), 3, "{kinds:?}");
    assert_eq!(kinds.iter().filter(|kind| *kind == "close").count(), 2, "{kinds:?}");
}

#[test]
fn a_reload_is_recorded_with_the_policy_that_is_in_force() {
    let mut broker = any_word().start();
    assert!(broker.reload("/bin/echo other\n").contains("reloaded"));
    assert!(broker.reload("/bin/echo #word\n").contains("failed"));
    broker.call(["/bin/echo", "other"]).exited(0);
    let [good, bad] = &broker.records_of("reload")[..] else { panic!("{}", broker.transcript(0)) };
    assert!(good.is("reload ok=true !error") && bad.is("reload ok=false error"), "{good}\n{bad}");
    assert_eq!(good.get("policy"), bad.get("policy"));
    assert_ne!(good.get("policy"), broker.record("open").get("policy"));
    assert_eq!(broker.record("start").get("policy"), good.get("policy"));
}

#[test]
fn a_reload_reopens_the_manifest_at_its_path() {
    let broker = any_word().start();
    broker.call(["/bin/echo", "before"]).exited(0);
    let rotated = broker.dir().join("audit/manifest.1");
    let old = fs::read(broker.manifest_path()).expect("there is a manifest");
    fs::rename(broker.manifest_path(), &rotated).expect("an own file can be renamed");
    broker.hup();
    broker.call(["/bin/echo", "after"]).exited(0).audited(["start call=2", "exit call=2"]);
    let kept = fs::read(rotated).expect("the old manifest is there");
    assert!(kept.starts_with(&old));
    assert!(!String::from_utf8_lossy(&kept).contains("after"));
}

#[test]
fn files_are_private_whatever_the_umask() {
    let setup = Broker::new("defaults:\n  logfile = @DIR@/new/deep/manifest.jsonl\n\n/bin/echo a\n");
    let broker = setup.under(&["sh", "-c", "umask 000; exec \"$@\"", "sh"]).start();
    broker.call(["/bin/echo", "a"]).exited(0);
    let mode = |name: &str| fs::metadata(broker.dir().join(name)).expect("it was made").mode() & 0o7777;
    assert_eq!(mode("new/deep/manifest.jsonl"), 0o600);
    assert_eq!((mode("new"), mode("new/deep")), (0o700, 0o700));
}

#[test]
fn the_policy_is_a_hash_of_the_rules_in_force() {
    let broker = any_word().start();
    let again = any_word().start();
    let policy = |broker: &Broker| broker.record("open").text("policy").to_owned();
    assert_eq!(policy(&broker).len(), Sha256::output_size() * 2);
    let other = Broker::new("/bin/echo a\n").start();
    assert_ne!(policy(&broker), policy(&other));
    drop(again);
}

#[test]
fn the_open_record_says_what_runs() {
    let broker = any_word().start();
    let open = broker.record("open");
    assert!(open.is(&format!("open broker={} next=1 !torn", broker.pid().0)), "{open}");
    assert_eq!(open.text("rules"), broker.rules_path().to_string_lossy());
    assert!(sluice(["--version"]).exited(0).stdout().contains(open.text("version")));
}

#[test]
fn a_hangup_of_the_operators_terminal_is_a_reload_not_an_end() {
    let broker = any_word().start();
    broker.signal(Signal::SIGHUP);
    broker.says("sluice: reloaded");
    broker.serves_on();
    assert_eq!(
        fs::metadata(broker.manifest_path()).expect("there is a manifest").permissions().mode() & 0o777,
        0o600
    );
}
