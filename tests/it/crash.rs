//! Sudden ends: of the nursery, of the broker, in the middle of a line. No command runs on, and the record
//! goes on.

use std::collections::HashSet;
use std::fs;
use std::io::Write as _;
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, PoisonError};
use std::thread;
use std::time::Duration;

use nix::sys::signal::Signal;

use crate::faults::report;
use crate::harness::{Broker, Connection, Pid, Reply, SOON, Status, frame, serve_words, within};

/// The child of the broker that leads the group in which launchers wait.
fn nursery(broker: &Broker) -> Pid {
    let leads = |pid: &Pid| pid.group() == Some(pid.0) && pid.command_line().contains("nursery");
    within(SOON, "the broker has a nursery", || broker.pid().children().into_iter().find(leads))
}

/// Kills these, and waits until they are gone.
fn kill_all(pids: &[Pid]) {
    pids.iter().for_each(|pid| pid.signal(Signal::SIGKILL));
    within(SOON, "the killed are gone", || pids.iter().all(|pid| !pid.runs()).then_some(()));
}

#[test]
fn a_nursery_that_is_killed_is_replaced_and_said() {
    let broker = Broker::shell();
    broker.sh("echo before").exited(0);
    let old = nursery(&broker);
    old.signal(Signal::SIGKILL);
    broker.says("nursery");
    for _ in 0..20 {
        broker.sh("echo after").exited(0).printed("after\n");
    }
    within(SOON, "another nursery", || (nursery(&broker) != old).then_some(()));
}

#[test]
fn a_nursery_that_is_killed_again_and_again_loses_no_call() {
    let broker = Broker::shell();
    for _ in 0..5 {
        kill_all(&[nursery(&broker)]);
        broker.sh("echo on").exited(0).printed("on\n");
    }
}

#[test]
fn a_running_call_survives_the_nursery() {
    let broker = Broker::shell();
    let mut call = broker.request(&["/bin/sh", "-c", "echo up; read go; echo done"]).stdin_open().begin();
    call.line();
    nursery(&broker).signal(Signal::SIGKILL);
    broker.says("nursery");
    call.write(b"go\n");
    call.wait().exited(0).printed("done\n");
}

#[test]
fn parked_launchers_that_are_killed_lose_no_call() {
    let broker = Broker::shell();
    for _ in 0..3 {
        kill_all(&broker.pid().children());
        broker.sh("echo on").exited(0).printed("on\n");
    }
}

#[test]
fn launchers_that_are_killed_while_they_wait_are_reaped() {
    let broker = Broker::shell();
    let killed = broker.pid().children();
    kill_all(&killed);
    within(SOON, "they are reaped in passing", || {
        broker.sh("true").exited(0);
        killed
            .iter()
            .all(|pid| fs::exists(format!("/proc/{}", pid.0)).is_ok_and(|there| !there))
            .then_some(())
    });
}

#[test]
fn no_command_outlives_a_broker_that_is_killed() {
    let mut broker = Broker::shell();
    let mut call = broker.begin_sh("echo $$; exec sleep 60");
    let pid = call.pid();
    let below = broker.pid().descendants();
    let (socket, manifest) = (broker.socket(), broker.manifest_path());
    drop(call);
    let again = Connection::open(&socket).expect("the broker listens");
    broker.kill();
    within(SOON, "the command is gone", || (!pid.runs()).then_some(()));
    within(SOON, "nursery and launchers are gone", || below.iter().all(|pid| !pid.runs()).then_some(()));
    assert_eq!(again.reply(), Reply::Closed);
    let before = fs::read(&manifest).expect("there is a manifest");
    broker.start_again();
    broker.sh("echo again").exited(0).audited(["start call=2", "exit call=2 status=0"]);
    assert!(fs::read(&manifest).expect("there is a manifest").starts_with(&before), "the record goes on");
}

#[test]
fn a_torn_last_line_is_set_apart() {
    let mut broker = Broker::shell();
    broker.sh("true").exited(0);
    broker.kill();
    let torn = br#"{"kind":"start","call":7,"ts":17000"#;
    let file = fs::File::options().append(true).open(broker.manifest_path());
    file.and_then(|mut file| file.write_all(torn)).expect("an own file can be written");
    broker.start_again();
    let open = broker.records_of("open").pop().expect("there is an open record");
    assert_eq!(open.number("torn"), 35, "{open}");
    let answer = broker.sh("echo on").exited(0).printed("on\n");
    assert!(answer.record("start").number("call") >= 2);
}

#[test]
fn a_manifest_that_is_not_ours_is_not_written_to() {
    let mut broker = Broker::shell();
    broker.kill();
    fs::write(broker.manifest_path(), "somebody's diary\nof two lines\n")
        .expect("an own file can be written");
    // Either it is refused, or it is set apart; it is never lost.
    let setup_said = broker.try_start_again();
    let text = fs::read_to_string(broker.manifest_path()).expect("the file is there");
    assert!(text.starts_with("somebody's diary\nof two lines\n"), "{setup_said}\n{text}");
    fs::remove_file(broker.manifest_path()).expect("an own file can be removed");
}

#[test]
fn after_20_kills_at_random_moments_the_record_is_whole() {
    kill_at_random(20);
}

#[test]
#[ignore = "takes minutes; tests/faults runs it"]
fn after_200_kills_at_random_moments_no_promise_is_broken() {
    kill_at_random(200);
}

/// Kills the broker so many times, each time some milliseconds after the first answers to three callers who
/// do not rest. What was answered is on record with its end; the harness checks the rest.
fn kill_at_random(rounds: u64) {
    let mut broker = Broker::new("/bin/echo #word\n  word = [a-z0-9]+\n").start();
    let answered = Mutex::new(Vec::new());
    let mut moments = Moments(u64::from(std::process::id()));
    for round in 0..rounds {
        let (stop, socket, moment) = (AtomicBool::new(false), broker.socket(), moments.next());
        let before = answered.lock().unwrap_or_else(PoisonError::into_inner).len();
        thread::scope(|scope| {
            for lane in 0..3 {
                let (stop, answered, socket) = (&stop, &answered, &socket);
                scope.spawn(move || keep_calling(socket, stop, answered, &format!("r{round}l{lane}")));
            }
            let some = || answered.lock().unwrap_or_else(PoisonError::into_inner).len() > before;
            within(SOON, "an answer in this round", || some().then_some(()));
            thread::sleep(moment);
            broker.kill();
            stop.store(true, Ordering::SeqCst);
        });
        broker.start_again();
    }
    broker.call(["/bin/echo", "last"]).exited(0);
    let records = broker.records();
    let of = |kind: &'static str| records.iter().filter(move |record| record.kind() == kind);
    let ends: HashSet<_> = of("exit").map(|end| end.number("call")).collect();
    let ended = of("start").filter(|start| ends.contains(&start.number("call")));
    let words: HashSet<_> = ended.map(|start| start.argv()[1].clone()).collect();
    let answered = answered.into_inner().unwrap_or_else(PoisonError::into_inner);
    let missing: Vec<_> = answered.iter().filter(|word| !words.contains(*word)).collect();
    assert!(missing.is_empty(), "answered, but not on record: {missing:?}");
    let lost = of("lost").count();
    report(&format!("killed at {rounds} moments, {} answers, {lost} calls cut off", answered.len()));
    assert!(lost > 0, "no kill came in the middle of a call");
    assert_eq!(of("start").count(), ends.len() + lost);
}

/// Calls again and again until it is told to stop, and notes the words of calls that were answered.
fn keep_calling(socket: &Path, stop: &AtomicBool, answered: &Mutex<Vec<String>>, name: &str) {
    for turn in 0.. {
        if stop.load(Ordering::SeqCst) {
            return;
        }
        let word = format!("{name}t{turn}");
        if echo(socket, &word) {
            answered.lock().unwrap_or_else(PoisonError::into_inner).push(word);
        }
    }
}

/// Pseudo-random moments of up to 16 ms (xorshift).
struct Moments(u64);

impl Moments {
    fn next(&mut self) -> Duration {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        Duration::from_micros(self.0 % 16_384)
    }
}

/// Whether a call was answered with 0; a broker that dies in between answers nothing.
fn echo(socket: &Path, word: &str) -> bool {
    let null = fs::File::options().read(true).write(true).open("/dev/null").expect("there is /dev/null");
    let fd = std::os::fd::AsFd::as_fd(&null);
    let Ok(connection) = Connection::open(socket) else {
        thread::sleep(Duration::from_millis(2));
        return false;
    };
    connection.send(&frame(&["/bin/echo", word]), &[fd; 3]);
    connection.reply() == Reply::Status(Status(0))
}

#[test]
fn a_broker_whose_socket_is_taken_away_leaves_in_order() {
    let take: [fn(&Path); 3] = [
        |path| fs::remove_file(path).expect("an own file can be removed"),
        |path| fs::rename(path, path.with_extension("away")).expect("an own file can be renamed"),
        |path| {
            fs::remove_file(path).expect("an own file can be removed");
            drop(std::os::unix::net::UnixListener::bind(path).expect("the name is free"));
        },
    ];
    for take in take {
        let mut broker = Broker::shell();
        let mut call = broker.begin_sh("echo $$; exec sleep 60");
        let pid = call.pid();
        take(&broker.socket());
        call.wait().refused(Status::STOPPING);
        broker.says("somebody removed or replaced the socket");
        broker.ends_with(2);
        assert!(!pid.runs());
    }
}

#[test]
fn a_socket_whose_mode_changes_is_not_taken_away() {
    use std::os::unix::fs::PermissionsExt as _;
    let broker = Broker::shell();
    fs::set_permissions(broker.socket(), fs::Permissions::from_mode(0o660))
        .expect("an own file takes a mode");
    broker.sh("true").exited(0);
    broker.serves_on();
}

#[test]
fn a_stale_socket_is_replaced_and_a_live_one_is_not() {
    let mut broker = Broker::shell();
    broker.kill();
    assert!(broker.socket().exists());
    broker.start_again();
    broker.sh("true").exited(0);
    let second = std::process::Command::new(env!("CARGO_BIN_EXE_sluice"))
        .args(serve_words())
        .arg("--rules")
        .arg(broker.rules_path())
        .arg("--socket")
        .arg(broker.socket())
        .output()
        .expect("sluice can be started");
    assert_eq!(second.status.code(), Some(2), "{second:?}");
    broker.sh("echo mine").exited(0).printed("mine\n");
}
