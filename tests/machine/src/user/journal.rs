//! The journal's copy of each record, read by systemd's own code: it cannot be rewritten by the broker, nor
//! forged by what a caller says.

use journald::JournalEntry;

use crate::harness::{Gate, Manager, SOON, run, skip, within};

const ECHO: &str = "echo #words...\n  allow_any = words\n";

/// The entries that are records, in order, once the last of them is of this kind.
fn records(gate: &Gate, last: &str) -> Vec<JournalEntry> {
    let mut journal = gate.journal();
    journal.has(last, |entry| entry.get_field("SLUICE_KIND") == Some(last));
    journal.entries().iter().filter(|entry| entry.get_field("SLUICE_KIND").is_some()).cloned().collect()
}

/// The one record of this kind.
#[track_caller]
fn record(gate: &Gate, kind: &str) -> JournalEntry {
    let all = records(gate, kind);
    let mut found: Vec<_> =
        all.into_iter().filter(|entry| entry.get_field("SLUICE_KIND") == Some(kind)).collect();
    assert_eq!(found.len(), 1, "records of kind {kind}: {found:?}");
    found.remove(0)
}

#[track_caller]
fn says(entry: &JournalEntry, field: &str, value: &str) {
    assert_eq!(entry.get_field(field), Some(value), "{field} of {entry:?}");
}

#[test]
fn each_record_is_there_once_with_its_fields() {
    let gate = Gate::new(ECHO).enable();
    gate.call(["echo", "a b"]).exited(0);
    gate.call(["nope"]).exited(129);
    let (start, exit, reject) = (record(&gate, "start"), record(&gate, "exit"), record(&gate, "reject"));
    for (entry, call) in [(&start, "1"), (&exit, "1"), (&reject, "2")] {
        says(entry, "SLUICE_CALL", call);
        says(entry, "SLUICE_SOCKET", gate.name());
        says(entry, "SYSLOG_IDENTIFIER", "sluice");
        let id = entry.get_field("MESSAGE_ID").expect("each kind has an id");
        assert!(id.len() == 32 && id.bytes().all(|byte| byte.is_ascii_hexdigit()), "{id}");
    }
    says(&start, "SLUICE_RULE", "1");
    says(&start, "SLUICE_ARGV", "echo 'a b'");
    says(&start, "SLUICE_CALLER_UID", &nix::unistd::getuid().to_string());
    assert!(start.get_field("SLUICE_EXE").is_some_and(|exe| exe.ends_with("/echo")));
    says(&exit, "SLUICE_STATUS", "0");
    assert!(exit.get_field("SLUICE_DURATION_USEC").is_some_and(|usec| usec.parse::<u64>().is_ok()));
    let scope = start.get_field("SLUICE_SCOPE").expect("a start says where it runs");
    assert!(scope.ends_with(".scope"), "{scope}");
    says(&exit, "SLUICE_SCOPE", scope);
    says(&reject, "SLUICE_REASON", "no_rule");
}

#[test]
fn the_journal_has_the_manifests_hashes() {
    let gate = Gate::new(ECHO).enable();
    gate.call(["echo", "hi"]).exited(0);
    // Each line of the manifest carries the hash of the one before it.
    let hash = gate.records("exit")[0]["prev"].as_str().expect("a hash").to_owned();
    let known =
        |entry: &JournalEntry| ["SLUICE_HASH"].iter().any(|field| entry.get_field(field) == Some(&hash));
    assert!(records(&gate, "exit").iter().any(known), "no entry with {hash}");
}

#[test]
fn an_argument_forges_nothing() {
    let gate = Gate::new(ECHO).enable();
    let lines = "x\nMESSAGE=fake\nSLUICE_KIND=forged\nPRIORITY=0\n\u{1b}[31m\u{202e}";
    let long = "y".repeat(4096);
    gate.call(["echo", lines, &long, &long, &long, &long]).exited(0);
    let kinds = records(&gate, "exit");
    assert!(kinds.iter().all(|entry| entry.get_field("SLUICE_KIND") != Some("forged")), "{kinds:?}");
    let start = record(&gate, "start");
    let message = start.get_message().expect("an entry has a message");
    assert!(message != "fake" && !message.contains(['\n', '\u{1b}', '\u{202e}']), "{message:?}");
    assert_ne!(start.get_field("PRIORITY"), Some("0"));
}

#[test]
fn a_call_that_is_to_be_kept_private_leaves_no_argument() {
    let gate = Gate::new(&format!("{ECHO}  log = exit-only\n")).enable();
    gate.call(["echo", "swordfish"]).exited(0);
    let entries = records(&gate, "exit");
    let leak = |entry: &&JournalEntry| entry.get_fields().values().any(|value| value.contains("swordfish"));
    let leaks: Vec<_> = entries.iter().filter(leak).collect();
    assert!(leaks.is_empty(), "{leaks:?}");
}

#[test]
fn the_catalog_explains_each_kind() {
    if std::env::var_os("SLUICE_UNITS").is_some() {
        return skip("no machine of its own, with a message catalog: sudo tests/run");
    }
    let gate = Gate::new(ECHO).enable();
    gate.call(["echo", "hi"]).exited(0);
    gate.call(["nope"]).exited(129);
    gate.write_rules("echo\n");
    gate.systemctl("reload").exited(0);
    gate.systemctl("stop").exited(0);
    for kind in ["open", "start", "exit", "reject", "reload", "close"] {
        let id = record(&gate, kind).get_field("MESSAGE_ID").expect("each kind has an id").to_owned();
        explains(&id);
    }
    // Those that none of the above leaves: `capture`, `kept`, `carried` and `lost`.
    let others = [
        "36aeaaca463b4f0eb8d2c9f15f35ba6f",
        "49f0a394f7f64ab3bde41f5a3ee10768",
        "da0f7b92c7674f87b45e25b8a4acd5cb",
        "031199993ffa483cb9e99400eb5e6cc6",
    ];
    others.into_iter().for_each(explains);
}

#[track_caller]
fn explains(id: &str) {
    run(["journalctl", "--catalog", "--no-pager", "--dump-catalog", id]).exited(0).said(&["Subject: "]);
}

#[test]
fn journalctl_finds_the_records_by_their_unit() {
    let gate = Gate::new(ECHO).enable();
    gate.call(["echo", "hi"]).exited(0);
    let (option, unit) = (Manager::User.option(), gate.service_unit());
    let look = || {
        let shown = run(["journalctl", option, "--no-pager", "-o", "json", "-u", &unit, "SLUICE_KIND=exit"]);
        (shown.stdout().lines().count() == 1).then_some(())
    };
    within(SOON, "journalctl shows the record", look);
}

#[test]
fn a_journal_that_is_off_has_no_record() {
    let gate = Gate::new(&format!("defaults:\n  journal = off\n\n{ECHO}")).enable();
    gate.call(["echo", "hi"]).exited(0);
    gate.systemctl("stop").exited(0);
    let mut journal = gate.journal();
    journal.says("sluice: ready");
    assert!(journal.entries().iter().all(|entry| entry.get_field("SLUICE_KIND").is_none()));
}
