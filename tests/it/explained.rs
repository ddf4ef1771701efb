//! What a caller is told of a call without an exit status: a second message with the call's number and the
//! reason, and nothing that the listing does not show.

use std::fs::{self, File};
use std::os::fd::{AsFd, BorrowedFd};

use nix::sys::signal::Signal;

use crate::harness::{Broker, MAGIC, SHELL, Status, VERSION, frame, header, sluice, sluicify};

const GREET: &str = "/bin/echo greet #name\n  name = [a-z]+\n";

/// Every message that comes back for these bytes, until the broker closes.
fn answered(broker: &Broker, bytes: &[u8], fds: &[BorrowedFd<'_>]) -> Vec<Vec<u8>> {
    let connection = broker.connect();
    connection.send(bytes, fds);
    connection.messages()
}

/// The status, the call's number and the reason that these words are answered with.
#[track_caller]
fn told<const N: usize>(broker: &Broker, words: [&str; N]) -> (Status, u64, String) {
    let null = File::options().read(true).write(true).open("/dev/null").expect("there is /dev/null");
    read(&answered(broker, &frame(&words), &[null.as_fd(); 3]))
}

#[track_caller]
fn read(messages: &[Vec<u8>]) -> (Status, u64, String) {
    let [reply, why] = messages else { panic!("want a reply and its explanation: {messages:?}") };
    assert_eq!((reply.len(), &reply[..8]), (12, &header(MAGIC, VERSION, 0)[..8]));
    let status = Status(i32::from_le_bytes(reply[8..].try_into().expect("four bytes")));
    assert_eq!(&why[..8], &reply[..8], "{why:?}");
    let call = u64::from_le_bytes(why[8..16].try_into().expect("eight bytes"));
    let length = u32::from_le_bytes(why[16..20].try_into().expect("four bytes"));
    assert_eq!(usize::try_from(length), Ok(why.len() - 20), "{why:?}");
    let reason = String::from_utf8(why[20..].to_vec()).expect("a reason is UTF-8");
    assert!(reason.len() <= 1024 && !reason.contains(char::is_control), "{reason:?}");
    (status, call, reason)
}

#[track_caller]
fn check<const N: usize>(broker: &Broker, words: [&str; N], status: Status, reason: &str) {
    let (got, call, said) = told(broker, words);
    assert_eq!((got, said.as_str()), (status, reason), "{words:.200?}");
    let last = broker.records().into_iter().rfind(|record| ["exit", "reject"].contains(&record.kind()));
    assert_eq!(last.map(|record| record.number("call")), Some(call), "the number is that of the record");
}

#[test]
fn a_refusal_names_the_nearest_rule_and_what_is_wrong() {
    let broker = Broker::new(GREET).start();
    check(
        &broker,
        ["/bin/echo", "greet", "Bob"],
        Status::NO_RULE,
        "nearest is `/bin/echo greet <name>`: <name> matches [a-z]+, and `Bob` does not",
    );
    check(&broker, ["/bin/nope"], Status::NO_RULE, "no rule runs `/bin/nope`");
    let (status, _, reason) = told(&broker, ["/bin/echo", "greet", "\u{1b}[2J\n\u{202e}"]);
    assert_eq!(status, Status::NO_RULE);
    assert!(!reason.contains('\u{202e}') && reason.contains(r"\u{202e}"), "{reason:?}");
}

#[test]
fn a_bound_of_the_rules_is_named() {
    let broker = Broker::new("/bin/echo #words...\n  allow_any = words\n").start();
    let long = "x".repeat(4097);
    let bytes = "takes at most 4096 bytes";
    let (status, _, reason) = told(&broker, ["/bin/echo", &long]);
    assert!(status == Status::NO_RULE && reason.contains(bytes), "{reason}");
    let words: Vec<_> = ["/bin/echo"].into_iter().chain(["x"; 65]).collect();
    sluicify([&[&*broker.socket().to_string_lossy()], &words[..]].concat())
        .exited(129)
        .complained(&["takes at most 64 values", "(call "]);
}

#[test]
fn an_exit_status_is_one_message() {
    let broker = Broker::shell();
    let null = File::open("/dev/null").expect("there is /dev/null");
    for script in ["exit 0", "exit 129", "kill -KILL $$"] {
        let messages = answered(&broker, &frame(&["/bin/sh", "-c", script]), &[null.as_fd(); 3]);
        assert_eq!(messages.iter().map(Vec::len).collect::<Vec<_>>(), [12], "{script}");
    }
    let listing = answered(&broker, &header(MAGIC, VERSION, 0), &[]);
    assert_eq!(listing.len(), 1, "{listing:?}");
}

#[test]
fn what_could_not_start_names_the_step() {
    let rules = "/bin/pwd\n  cwd = @DIR@/gone\n\n/nonexistent/program\n\n@DIR@/script\n";
    let setup = Broker::new(rules);
    let broker = setup.start();
    let script = broker.dir().join("script");
    fs::write(&script, "#!/nonexistent/interpreter\n").expect("a file in an own directory");
    fs::set_permissions(&script, std::os::unix::fs::PermissionsExt::from_mode(0o755)).expect("an own file");
    check(&broker, ["/bin/pwd"], Status::SPAWN, "chdir: No such file or directory");
    check(
        &broker,
        ["/nonexistent/program"],
        Status::SPAWN,
        "/nonexistent/program: No such file or directory",
    );
    let script = script.to_string_lossy();
    let exec = "exec: No such file or directory: the program is there, and not the interpreter that its first line names \
                (`#!`), or its loader";
    check(&broker, [&*script], Status::SPAWN, exec);
}

#[test]
fn a_capture_that_cannot_be_made_is_told_apart_from_the_record() {
    let broker = Broker::new("/bin/true\n  stdoutfile = @DIR@/shared/#$call\n").start();
    let shared = broker.dir().join("shared");
    fs::create_dir(&shared).expect("an own directory takes another");
    fs::set_permissions(&shared, std::os::unix::fs::PermissionsExt::from_mode(0o777))
        .expect("an own directory");
    let (status, _, reason) = told(&broker, ["/bin/true"]);
    assert_eq!(status, Status::AUDIT);
    assert!(reason.starts_with("nothing ran: no file can be made for what it reads and writes"), "{reason}");
    let checked = sluice(["check".as_ref(), broker.rules_path().as_os_str()]).exited(0);
    checked.said(&["rules:5:16: warning: ", "shared can be written by others", "chmod go-w"]);
}

#[test]
fn a_relative_path_that_lies_elsewhere_is_told_where_it_starts() {
    let broker = Broker::new("/bin/echo #f\n  f = in @DIR@\n").start();
    fs::write(broker.dir().join("there"), "").expect("a file in an own directory");
    let (_, _, reason) = told(&broker, ["/bin/echo", "there"]);
    assert!(
        reason.ends_with("`there` is not: a relative path starts at the rule's `cwd`, not at yours"),
        "{reason}"
    );
    let checked = sluice(["check".as_ref(), broker.rules_path().as_os_str()]).exited(0);
    checked.said(&["; a relative one starts at /\n"]);
}

#[test]
fn a_timeout_says_how_long_it_ran() {
    let broker = Broker::new(&format!("{SHELL}  timeout = 200ms\n")).start();
    check(&broker, ["/bin/sh", "-c", "sleep 60"], Status::TIMEOUT, "it ran for 200ms");
}

#[test]
fn wrong_descriptors_are_named() {
    let broker = Broker::new(GREET).start();
    let (null, dir) = (File::open("/dev/null").expect("it is there"), File::open("/").expect("it is there"));
    let request = frame(&["/bin/echo", "greet", "bob"]);
    let (status, _, reason) = read(&answered(&broker, &request, &[null.as_fd(), dir.as_fd(), null.as_fd()]));
    assert_eq!((status, reason.as_str()), (Status::FDS, "descriptor 1 is a directory"));
    let (status, _, reason) = read(&answered(&broker, &request, &[null.as_fd(); 2]));
    assert_eq!((status, reason.as_str()), (Status::FDS, "2 descriptors, not 3"));
    let (status, _, reason) = read(&answered(&broker, b"hello", &[]));
    assert_eq!((status, reason.as_str()), (Status::PROTO, "magic 0x6c6c6568"));
}

#[test]
fn a_stop_says_whether_anything_ran() {
    let mut broker = Broker::shell();
    let connection = broker.connect();
    let (read_end, write_end) = std::io::pipe().expect("a pipe");
    let null = File::open("/dev/null").expect("it is there");
    let request = frame(&["/bin/sh", "-c", "echo began; sleep 60"]);
    connection.send(&request, &[null.as_fd(), write_end.as_fd(), null.as_fd()]);
    drop(write_end);
    let mut line = String::new();
    std::io::BufRead::read_line(&mut std::io::BufReader::new(read_end), &mut line).expect("it began");
    broker.signal(Signal::SIGTERM);
    let (status, _, reason) = read(&connection.messages());
    assert_eq!((status, reason.as_str()), (Status::STOPPING, "it ran, and was ended"));
    broker.ends_with(0);
}

#[test]
fn nothing_is_told_that_the_listing_does_not_show() {
    let rules =
        "/bin/echo #word\n  word  = in @DIR@\n  cwd = /\n  log = exit-only\n  setenv = SECRET=hidden\n";
    let broker = Broker::new(rules).start();
    let dir = broker.dir().to_string_lossy().into_owned();
    fs::write(broker.dir().join("there"), "").expect("a file in an own directory");
    let (_, _, there) = told(&broker, ["/bin/echo", "/etc/passwd"]);
    let (_, _, gone) = told(&broker, ["/bin/echo", "/etc/nothing-of-that-name"]);
    // The same of what is there and of what is not.
    assert_eq!(there.replace("/etc/passwd", "X"), gone.replace("/etc/nothing-of-that-name", "X"));
    assert_eq!(
        there,
        format!("nearest is `/bin/echo <word>`: <word> is a path in {dir}, and `/etc/passwd` is not")
    );
    fs::rename(broker.manifest_path(), broker.dir().join("away")).expect("an own file can be renamed");
    let (status, _, reason) = told(&broker, ["/bin/echo", &format!("{dir}/there")]);
    assert_eq!(status, Status::AUDIT);
    assert!(reason.starts_with("nothing ran: it cannot be put on record"), "{reason}");
    for secret in ["away", "manifest", "jsonl", "hidden", "SECRET"] {
        assert!(!reason.contains(secret), "{reason}");
    }
    broker.hup();
}

#[test]
fn the_client_says_the_reason_and_the_number() {
    let broker =
        Broker::new("/bin/echo greet #name\n  name = [a-z]+\n\n/bin/pwd\n  cwd = @DIR@/gone\n").start();
    let socket = broker.socket().to_string_lossy().into_owned();
    sluicify([&*socket, "/bin/echo", "greet", "Bob"]).exited(129).complained(&[
        "no rule allows: /bin/echo greet Bob (call 1: nearest is `/bin/echo greet <name>`: <name> matches [a-z]+, and \
         `Bob` does not); see what may be called with: sluicify --list",
    ]);
    sluicify([&*socket, "/bin/pwd"])
        .exited(132)
        .complained(&["could not be started", "/bin/pwd (call 2: chdir: No such file or directory)"]);
}

#[test]
fn who_reads_one_message_loses_nothing() {
    let broker = Broker::new(GREET).start();
    for _ in 0..50 {
        // The connection closes with the second message unread, or before it is sent.
        broker.call(["/bin/echo", "greet", "Bob"]).refused(Status::NO_RULE);
    }
    broker.call(["/bin/echo", "greet", "bob"]).exited(0).printed("greet bob\n");
}
