//! What the journal is given. In a mount namespace of the broker's own, the place of the journal's socket is
//! a directory of the test's, and there a socket of the test's stands in for the journal.

use std::os::unix::net::UnixDatagram;
use std::path::Path;
use std::time::{Duration, Instant};

use sha2::{Digest as _, Sha256};
use sluice::audit::RecordKind;

use crate::harness::{Broker, Reply, SHELL, SOON, Setup, Status, Traced, found, needs, needs_mounts};

/// A shell that arranges the broker's `/run` and becomes the broker.
const ARRANGE: &str = "mount -t tmpfs none /run && mkdir -p /run/systemd/journal && \
    mount --bind @DIR@/journal /run/systemd/journal && exec \"$@\"";

/// Where the journal's socket is, in a broker's directory.
const PLACE: &str = "journal/socket";

/// The journal's end of the socket.
struct Journal(UnixDatagram);

/// One entry, field by field, in the order in which they came.
#[derive(Debug)]
struct Entry(Vec<(String, String)>);

impl Journal {
    /// A journal that listens for the broker that has this directory.
    fn at(dir: &Path) -> Self {
        let socket = UnixDatagram::bind(dir.join(PLACE)).expect("an own directory takes a socket");
        socket.set_nonblocking(true).expect("a socket of ours");
        Self(socket)
    }

    /// What came since the last look.
    fn now(&self) -> Vec<Entry> {
        let mut message = vec![0; 1 << 20];
        let next = || self.0.recv(&mut message).ok().map(|bytes| Entry::decode(&message[..bytes]));
        std::iter::from_fn(next).collect()
    }

    /// The same, once it is `enough` or nothing more comes soon.
    fn until(&self, enough: impl Fn(&[Entry]) -> bool) -> Vec<Entry> {
        let mut came = Vec::new();
        found(SOON, || {
            came.extend(self.now());
            enough(&came).then_some(())
        });
        came
    }

    /// The same, with the end of each call that began: the caller hears of that first.
    fn entries(&self) -> Vec<Entry> {
        self.until(|came| count(came, "start") <= count(came, "exit"))
    }

    /// The one entry of this kind among those that came.
    #[track_caller]
    fn entry(&self, kind: &str) -> Entry {
        let mut of_kind = self.until(|came| count(came, kind) > 0);
        of_kind.retain(|entry| entry.is(kind));
        assert_eq!(of_kind.len(), 1, "one {kind}: {of_kind:#?}");
        of_kind.remove(0)
    }
}

fn count(entries: &[Entry], kind: &str) -> usize {
    entries.iter().filter(|entry| entry.is(kind)).count()
}

impl Entry {
    fn is(&self, kind: &str) -> bool {
        self.get("SLUICE_KIND") == Some(kind)
    }
}

impl Entry {
    fn decode(mut bytes: &[u8]) -> Self {
        let text = |bytes: &[u8]| String::from_utf8(bytes.to_vec()).expect("fields are text");
        let mut fields = Vec::new();
        while let Some(end) = bytes.iter().position(|&byte| byte == b'\n') {
            let (line, rest) = (&bytes[..end], &bytes[end + 1..]);
            if let Some(equals) = line.iter().position(|&byte| byte == b'=') {
                fields.push((text(&line[..equals]), text(&line[equals + 1..])));
                bytes = rest;
                continue;
            }
            let (length, rest) = rest.split_first_chunk().expect("a length");
            let length = usize::try_from(u64::from_le_bytes(*length)).expect("it is short");
            fields.push((text(line), text(&rest[..length])));
            bytes = &rest[length + 1..];
        }
        assert!(bytes.is_empty(), "the last field has no end");
        Self(fields)
    }

    fn get(&self, name: &str) -> Option<&str> {
        let mut values = self.0.iter().filter(|(known, _)| known == name);
        let value = values.next().map(|(_, value)| value.as_str());
        assert!(values.next().is_none(), "{name} is there twice: {self:#?}");
        value
    }

    /// These fields have these values.
    #[track_caller]
    fn has(&self, fields: &[(&str, &str)]) {
        for (name, value) in fields {
            assert_eq!(self.get(name), Some(*value), "{name} in {self:#?}");
        }
    }
}

/// A broker to be whose journal is a directory of the test's; `None` where that cannot be had.
fn apart(rules: &str) -> Option<Setup> {
    if !needs_mounts() {
        return None;
    }
    let setup = Broker::new(rules).arranged(|dir| drop(dir.mkdir("journal", 0o700)));
    Some(setup.under(&["unshare", "--mount", "sh", "-c", ARRANGE, "sh"]))
}

/// A running broker, and its journal.
fn journaled(rules: &str) -> Option<(Journal, Broker)> {
    let setup = apart(rules)?;
    let journal = Journal::at(setup.dir().path());
    Some((journal, setup.start()))
}

#[test]
fn each_record_is_one_entry_with_the_hash_of_its_line() {
    let Some((journal, mut broker)) = journaled("/bin/echo a\n") else { return };
    broker.call(["/bin/echo", "a"]).exited(0);
    broker.call(["/bin/echo", "b"]).refused(Status::NO_RULE);
    let mut entries = journal.entries();
    broker.hup();
    broker.stop();
    entries.extend(journal.entries());
    let manifest = std::fs::read_to_string(broker.manifest_path()).expect("there is a manifest");
    let want: Vec<_> = manifest.lines().map(|line| format!("{:x}", Sha256::digest(line))).collect();
    let hashes: Vec<_> = entries.iter().filter_map(|entry| entry.get("SLUICE_HASH")).collect();
    assert_eq!(hashes, want);
    let kinds: Vec<_> = entries.iter().filter_map(|entry| entry.get("SLUICE_KIND")).collect();
    assert_eq!(kinds, ["open", "start", "exit", "reject", "reload", "close"]);
    for entry in &entries {
        let kind = entry.get("SLUICE_KIND");
        let id = kind.and_then(|kind| RecordKind::of(kind.as_bytes())).map(RecordKind::message_id);
        assert_eq!(entry.get("MESSAGE_ID"), id);
        entry.has(&[("SYSLOG_IDENTIFIER", "sluice")]);
    }
}

#[test]
fn a_start_says_who_runs_what() {
    let Some((journal, broker)) = journaled(SHELL) else { return };
    broker.sh("exit 0").exited(0);
    let start = journal.entry("start");
    start.has(&[
        ("MESSAGE", "call 1 on it starts: /bin/sh -c 'exit 0'"),
        ("PRIORITY", "6"),
        ("SLUICE_CALL", "1"),
        ("SLUICE_SOCKET", "it"),
        ("SLUICE_ARGV", "/bin/sh -c 'exit 0'"),
        ("SLUICE_EXE", "/bin/sh"),
        ("SLUICE_CALLER_PID", &std::process::id().to_string()),
        ("SLUICE_CALLER_UID", "0"),
    ]);
    let record = broker.record("start");
    assert_eq!(start.get("SLUICE_RULE"), Some(&*record.number("rule").to_string()));
    assert_eq!(start.get("SLUICE_SCOPE"), Some(record.text("scope")));
}

/// Its end is told with some delay; what comes in between must not make it longer.
#[test]
fn the_end_of_a_call_is_told_while_the_next_one_runs() {
    for defaults in ["", "defaults:\n  log = exit-only\n\n"] {
        let Some((journal, broker)) = journaled(&format!("{defaults}{SHELL}")) else { return };
        for call in 1..=5 {
            broker.sh("exit 0").exited(0);
            let mut next = broker.begin_sh("echo up; exec sleep 60");
            assert_eq!(journal.entry("exit").get("SLUICE_CALL"), Some(&*(2 * call - 1).to_string()));
            assert_eq!(next.line(), "up");
            next.hang_up();
            journal.entry("exit");
        }
    }
}

#[test]
fn the_end_of_a_call_is_told_while_one_by_other_rules_runs() {
    let Some(setup) = apart(SHELL) else { return };
    if !needs("systemd-socket-activate", "systemd") {
        return;
    }
    let rules = |name| format!("defaults:\n  logfile = @DIR@/{name}.jsonl\n\n{SHELL}");
    let setup = setup.activated(&["one", "two"]).file("one.rules", &rules("one"));
    let setup = setup.file("two.rules", &rules("two")).by_name();
    let journal = Journal::at(setup.dir().path());
    let broker = setup.start();
    let [one, two] = ["one", "two"].map(|name| broker.socket_of(name));
    for _ in 0..5 {
        broker.request(&["/bin/sh", "-c", "exit 0"]).over(&one).run().exited(0);
        let mut next = broker.request(&["/bin/sh", "-c", "echo up; exec sleep 60"]).over(&two).begin();
        assert_eq!(journal.entry("exit").get("SLUICE_SOCKET"), Some("one"));
        assert_eq!(next.line(), "up");
        next.hang_up();
        assert_eq!(journal.entry("exit").get("SLUICE_SOCKET"), Some("two"));
    }
}

#[test]
fn an_exit_says_how_it_ended() {
    let Some((journal, broker)) = journaled(&format!("{SHELL}  timeout = 500ms\n")) else { return };
    broker.sh("exit 3").exited(3);
    let exit = journal.entry("exit");
    exit.has(&[("SLUICE_STATUS", "3"), ("SLUICE_CALL", "1"), ("SLUICE_EXE", "/bin/sh"), ("PRIORITY", "6")]);
    assert!(
        exit.get("SLUICE_DURATION_USEC").is_some_and(|usec| usec.parse::<u64>().is_ok_and(|usec| usec > 0))
    );
    broker.sh("exec sleep 60").refused(Status::TIMEOUT);
    let fields = [("SLUICE_STATUS", "-7"), ("SLUICE_SIGNAL", "15"), ("SLUICE_REASON", "timed_out")];
    journal.entry("exit").has(&fields);
}

#[test]
fn a_flood_of_refusals_is_few_entries() {
    let Some((journal, mut broker)) = journaled("/bin/echo a\n") else { return };
    for _ in 0..30 {
        broker.call(["/bin/echo", "b"]).refused(Status::NO_RULE);
    }
    broker.stop();
    let entries = journal.entries();
    let of_kind = |kind| entries.iter().filter(move |entry| entry.get("SLUICE_KIND") == Some(kind));
    assert_eq!(of_kind("reject").count(), broker.records_of("reject").len());
    let counts = of_kind("reject")
        .map(|entry| entry.get("SLUICE_COUNT").map_or(1, |count| count.parse().expect("a number")));
    assert_eq!(counts.sum::<u64>(), 30);
}

#[test]
fn an_argument_forges_nothing() {
    let Some((journal, broker)) = journaled("/bin/true #word\n  allow_any = word\n") else { return };
    let long = format!("x\nMESSAGE=fake\n\u{1b}[31m\u{e9}{}", "y\n".repeat(2000));
    broker.call(["/bin/true", &long]).exited(0);
    broker.call(["/bin/false", &long]).refused(Status::NO_RULE);
    for entry in journal.entries().iter().skip(1) {
        assert!(!entry.get("MESSAGE").unwrap_or_default().contains(['\n', '\u{1b}']), "{entry:#?}");
        assert!(!entry.get("MESSAGE").unwrap_or_default().starts_with("fake"), "{entry:#?}");
        let argv = entry.get("SLUICE_ARGV").unwrap_or_default();
        assert!(argv.bytes().all(|byte| matches!(byte, b' '..=b'~')), "{entry:#?}");
        let names = entry.0.iter().map(|(name, _)| name.as_str());
        assert!(
            names.into_iter().all(|name| name.starts_with("SLUICE_") || KNOWN.contains(&name)),
            "{entry:#?}"
        );
    }
}

const KNOWN: [&str; 4] = ["MESSAGE", "MESSAGE_ID", "PRIORITY", "SYSLOG_IDENTIFIER"];

#[test]
fn words_that_no_record_keeps_are_in_no_entry() {
    let rules = "/bin/sh -c #script secret\n  allow_any = script\n  log = exit-only\n";
    let Some((journal, mut broker)) = journaled(rules) else { return };
    broker.call(["/bin/sh", "-c", "exit 4", "secret"]).exited(4);
    broker.call(["/bin/sh", "secret"]).refused(Status::NO_RULE);
    broker.stop();
    let entries = journal.entries();
    let kinds: Vec<_> = entries.iter().filter_map(|entry| entry.get("SLUICE_KIND")).collect();
    assert_eq!(kinds, ["open", "exit", "reject", "close"]);
    let whole = format!("{entries:?}");
    assert!(
        !whole.contains("secret") && !whole.contains("exit 4") && !whole.contains("SLUICE_ARGV"),
        "{whole}"
    );
}

#[test]
fn journal_off_sends_nothing() {
    let Some((journal, mut broker)) = journaled("defaults:\n  journal = off\n\n/bin/echo a\n") else {
        return;
    };
    broker.call(["/bin/echo", "a"]).exited(0);
    assert!(journal.entries().is_empty());
    broker.reload("defaults:\n  journal = on\n\n/bin/echo a\n");
    broker.call(["/bin/echo", "a"]).exited(0);
    assert_eq!(journal.entry("start").get("SLUICE_CALL"), Some("2"));
}

#[test]
fn without_a_journal_it_says_so_once_and_goes_on() {
    let Some(setup) = apart(SHELL) else { return };
    let mut broker = setup.start();
    broker.sh("true").exited(0);
    broker.sh("true").exited(0);
    assert_eq!(broker.said().matches("no journal here").count(), 1, "{}", broker.said());
    let journal = Journal::at(broker.dir());
    broker.sh("true").exited(0);
    assert_eq!(journal.entry("start").get("SLUICE_CALL"), Some("3"));
    broker.stop();
}

#[test]
fn a_journal_that_hangs_holds_nobody_up() {
    let Some((journal, broker)) = journaled(SHELL) else { return };
    // Its queue holds some hundred entries at most, if it is not ten.
    for _ in 0..300 {
        broker.sh("true").exited(0).took(Duration::ZERO, Duration::from_secs(2));
    }
    assert_eq!(broker.said().matches("cannot write the journal").count(), 1, "{}", broker.said());
    journal.now();
    broker.sh("true").exited(0);
    let of_it = |came: &[Entry]| came.iter().filter(|entry| entry.get("SLUICE_CALL") == Some("301")).count();
    assert_eq!(of_it(&journal.until(|came| of_it(came) == 2)), 2);
    let is_back = || {
        journal.now();
        broker.sh("true").exited(0);
        broker.said().contains("the journal takes entries again").then_some(())
    };
    assert!(found(SOON, is_back).is_some(), "{}", broker.said());
}

#[test]
fn a_journal_that_takes_an_entry_now_and_then_is_waited_for_once() {
    let Some((journal, broker)) = journaled(SHELL) else { return };
    let is_full = || {
        broker.sh("true").exited(0);
        broker.said().contains("cannot write the journal").then_some(())
    };
    assert!(found(SOON, is_full).is_some(), "{}", broker.said());
    let round = || {
        let (began, mut room) = (Instant::now(), [0; 1 << 16]);
        for _ in 0..20 {
            journal.0.recv(&mut room).expect("its queue is full");
            broker.sh("true").exited(0);
        }
        began.elapsed()
    };
    // With a wait for every call a round takes 2 s and more; without, a busy machine may take long for some.
    let rounds: Vec<_> = (0..4).map(|_| round()).collect();
    assert!(rounds.iter().any(|took| *took < Duration::from_millis(1500)), "20 calls took {rounds:?}");
    assert_eq!(broker.said().matches("cannot write the journal").count(), 1, "{}", broker.said());
}

#[test]
fn what_a_required_journal_does_not_take_does_not_run() {
    for defaults in [
        "journal = require",
        "journal = require\n  audit = best-effort",
        "journal = require\n  log = exit-only",
    ] {
        let Some((journal, broker)) = journaled(&format!("defaults:\n  {defaults}\n\n{SHELL}")) else {
            return;
        };
        broker.sh("echo ran").exited(0).printed("ran\n");
        std::fs::remove_file(broker.dir().join(PLACE)).expect("an own file can be removed");
        drop(journal);
        broker.sh("echo ran").refused(Status::AUDIT).printed("").audited(["reject reason=audit status=-6"]);
        let again = Journal::at(broker.dir());
        broker.sh("echo ran").exited(0).printed("ran\n");
        assert_eq!(again.entry("exit").get("SLUICE_STATUS"), Some("0"));
    }
}

/// A start that the journal does not take is written, noted, taken back: wherever that ends, nothing is
/// missed.
#[test]
fn a_kill_while_a_start_is_taken_back_looks_like_no_cut() {
    let rules = format!("defaults:\n  journal = require\n  scope = off\n\n{SHELL}");
    let Some((journal, mut broker)) = journaled(&rules) else { return };
    broker.sh("true").exited(0);
    std::fs::remove_file(broker.dir().join(PLACE)).expect("an own file can be removed");
    drop(journal);
    let mut killed = 0;
    for (name, at) in
        [("pwrite64", 1), ("pwrite64", 2), ("pwrite64", 3), ("ftruncate", 1), ("write", 1), ("write", 2)]
    {
        let Some(traced) = Traced::fatal(&broker, name, at) else { return };
        killed += u32::from(broker.begin_sh("true").stay().reply() == Reply::Closed);
        broker.kill();
        drop(traced);
        broker.start_again();
        let open = broker.records_of("open").pop().expect("an open record");
        assert!(open.is("open !missing"), "{name} {at}: {open}");
    }
    assert!(killed >= 5, "the kills came too late: {killed}");
}

#[test]
fn the_catalog_explains_every_kind() {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/systemd/catalog/sluice.catalog");
    let catalog = std::fs::read_to_string(path).expect("there is a catalog");
    let explained: Vec<_> = catalog.lines().filter_map(|line| line.strip_prefix("-- ")).collect();
    assert_eq!(explained, RecordKind::ALL.map(RecordKind::message_id));
    let subjects = catalog.lines().filter(|line| line.starts_with("Subject: ")).count();
    assert_eq!(subjects, explained.len());
}
