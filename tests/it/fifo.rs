//! The FIFO door from outside: files that are opened, read and written, and nothing else.

use std::ffi::OsStr;
use std::fs::{self, File, OpenOptions};
use std::io::{Read as _, Write as _};
use std::os::unix::fs::{FileTypeExt as _, MetadataExt as _, OpenOptionsExt as _, symlink};
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::time::{Duration, Instant};

use nix::fcntl::{Flock, FlockArg};
use nix::libc::O_NONBLOCK;
use nix::sys::signal::{Signal, kill};

use crate::harness::{
    Broker, DONE, LISTING, Pid, REFUSED, Record, SHELL, SOON, STARTED, piped_call, piped_frames,
    readable_within, sluicify, sluicify_bin, within, word,
};

/// A broker with a door, and the door's directory once its lanes are there.
fn with_door(rules: &str) -> (Broker, PathBuf) {
    let broker = Broker::new(&format!("defaults:\n  fifo = yes\n\n{rules}")).start();
    let door = broker.dir().join("s.sock.fifo");
    within(SOON, "the door opens", || door.join("7").exists().then_some(()));
    (broker, door)
}

/// A caller's ends of a lane.
struct Caller {
    request: Flock<File>,
    stdin: Option<File>,
    stdout: File,
    reply: File,
}

fn reader(path: &Path) -> File {
    let file = OpenOptions::new().read(true).custom_flags(O_NONBLOCK).open(path).expect("a FIFO");
    let flags = nix::fcntl::OFlag::empty();
    nix::fcntl::fcntl(&file, nix::fcntl::FcntlArg::F_SETFL(flags)).expect("a flag");
    file
}

fn writer(path: &Path) -> Option<File> {
    OpenOptions::new().write(true).custom_flags(O_NONBLOCK).open(path).ok().inspect(|file| {
        let flags = nix::fcntl::OFlag::empty();
        nix::fcntl::fcntl(file, nix::fcntl::FcntlArg::F_SETFL(flags)).expect("a flag");
    })
}

impl Caller {
    /// Opens the first free lane.
    fn open(door: &Path) -> Self {
        within(SOON, "a lane is free", || {
            (0..8).find_map(|lane| {
                let lane = door.join(lane.to_string());
                let request = Flock::lock(writer(&lane.join("request"))?, FlockArg::LockExclusiveNonblock);
                let request = request.ok()?;
                let [stdout, _stderr, reply] =
                    ["stdout", "stderr", "reply"].map(|name| reader(&lane.join(name)));
                std::mem::forget(_stderr);
                let stdin = writer(&lane.join("stdin"));
                Some(Self { request, stdin, stdout, reply })
            })
        })
    }

    /// Opens a lane and writes these bytes.
    fn write(door: &Path, bytes: &[u8]) -> Self {
        let caller = Self::open(door);
        (&*caller.request).write_all(bytes).expect("written");
        caller
    }

    fn ask(door: &Path, message: &[u8]) -> Self {
        Self::write(door, &with_length(message))
    }

    fn frames(&self) -> Vec<(u32, Vec<u8>)> {
        piped_frames(self.reply.try_clone().expect("a copy"))
    }

    fn status(&self) -> i32 {
        let frames = self.frames();
        let (kind, payload) = frames.last().expect("a frame");
        assert_eq!(*kind, DONE, "{frames:?}");
        word(payload).cast_signed()
    }
}

fn with_length(message: &[u8]) -> Vec<u8> {
    [&u32::try_from(message.len()).expect("short").to_le_bytes(), message].concat()
}

fn sh(script: &str) -> Vec<u8> {
    piped_call(&["/bin/sh", "-c", script])
}

#[test]
fn a_call_through_a_lane_runs_and_its_caller_is_not_known() {
    let (broker, door) = with_door(SHELL);
    for status in 1..=20 {
        let mut caller = Caller::ask(&door, &sh(&format!("read word; echo got $word; exit {status}")));
        caller.stdin.take().expect("open").write_all(b"hello\n").expect("written");
        let frames = caller.frames();
        assert_eq!(frames.iter().map(|(kind, _)| *kind).collect::<Vec<_>>(), [STARTED, DONE]);
        assert_eq!(word(&frames[1].1), status);
        let mut output = String::new();
        caller.stdout.read_to_string(&mut output).expect("read");
        assert_eq!(output, "got hello\n");
    }
    let start = broker.record("start door=fifo");
    assert!(start.get("pid").is_null() && start.get("uid").is_u64());
}

/// Runs `sluicify` with a directory in the place of a socket.
fn through(directory: &Path, words: &[&str], stdin: &[u8]) -> Output {
    let mut client = Command::new(sluicify_bin());
    client.arg(directory).args(words).env_remove("SLUICE_FD").stdin(Stdio::piped());
    let mut client = client.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().expect("it starts");
    let (mut pipe, bytes) = (client.stdin.take().expect("piped"), stdin.to_vec());
    // A command that does not read all leaves a broken pipe.
    let feed = std::thread::spawn(move || drop(pipe.write_all(&bytes)));
    let output = client.wait_with_output().expect("it ends");
    feed.join().expect("it has written");
    output
}

#[test]
fn sluicify_comes_through_the_door() {
    let (broker, door) = with_door(SHELL);
    let ran = through(&door, &["/bin/sh", "-c", "cat; echo err >&2; exit 7"], b"hello\n");
    assert_eq!(
        (ran.status.code(), &ran.stdout[..], &ran.stderr[..]),
        (Some(7), &b"hello\n"[..], &b"err\n"[..])
    );
    let refused = through(&door, &["true"], b"");
    assert_eq!(refused.status.code(), Some(129), "{}", String::from_utf8_lossy(&refused.stderr));
    let many = through(&door, &["/bin/sh", "-c", "for i in $(seq 20000); do echo line $i; done"], b"");
    assert_eq!(String::from_utf8_lossy(&many.stdout).lines().count(), 20_000);
    let early = through(&door, &["/bin/sh", "-c", "exit 3"], &vec![7; 1 << 20]);
    assert_eq!(early.status.code(), Some(3), "a command that reads nothing");
    let bytes: Vec<u8> =
        (0..4_u32 << 20).map(|number| number.wrapping_mul(2_654_435_761).to_be_bytes()[0]).collect();
    let copied = through(&door, &["/bin/sh", "-c", "exec cat"], &bytes);
    assert!(copied.status.success() && copied.stdout == bytes);
    broker.record("start door=fifo");
}

#[test]
fn the_listing_comes_through_the_door_each_time() {
    let (broker, door) = with_door(SHELL);
    for turn in 0..60 {
        let listed = sluicify([OsStr::new("--list"), door.as_os_str()]);
        listed.exited(0).printed(&broker.listing());
        assert_eq!(through(&door, &["/bin/sh", "-c", "exit 4"], b"").status.code(), Some(4), "turn {turn}");
    }
}

#[test]
fn a_client_that_is_told_to_end_hangs_up_at_once() {
    let (broker, door) = with_door(SHELL);
    let mut client = Command::new(sluicify_bin());
    client.arg(&door).args(["/bin/sh", "-c", "trap 'exit 6' TERM; echo up; sleep 60 & wait"]);
    let mut client = client.stdout(Stdio::piped()).spawn().expect("it starts");
    client.stdout.as_mut().expect("piped").read_exact(&mut [0; 3]).expect("it is up");
    kill(nix::unistd::Pid::from_raw(client.id().cast_signed()), Signal::SIGTERM).expect("it is there");
    // The end of a client that cannot hang up is a signal's, after a while.
    assert_eq!(client.wait().expect("it ends").code(), Some(6));
    broker.record("exit hangup=true status=6");
}

#[test]
fn a_client_that_is_killed_ends_its_call() {
    let (broker, door) = with_door(SHELL);
    let mut client = Command::new(sluicify_bin());
    client.arg(&door).args(["/bin/sh", "-c", "echo up; exec sleep 60"]).stdout(Stdio::piped());
    let mut client = client.spawn().expect("it starts");
    let mut up = [0; 3];
    client.stdout.as_mut().expect("piped").read_exact(&mut up).expect("it is up");
    client.kill().expect("it is there");
    client.wait().expect("it ends");
    broker.record("exit hangup=true");
}

#[test]
fn a_directory_stands_for_the_door_that_is_open() {
    let setup = Broker::new(&format!("defaults:\n  fifo = yes\n\n{SHELL}")).arranged(|dir| {
        dir.mkdir("gate", 0o700);
    });
    let mut broker = setup.socket_at("gate/sock").start();
    let gate = broker.dir().join("gate");
    within(SOON, "the door opens", || gate.join("fifo/7").exists().then_some(()));
    assert_eq!(through(&gate, &["/bin/sh", "-c", "exit 4"], b"").status.code(), Some(4));
    assert!(broker.record("start").get("door").is_null(), "by the socket");
    // As a sandbox sees it that has the FIFO door's directory alone.
    let other = broker.dir().join("other");
    fs::create_dir(&other).expect("a directory");
    symlink(gate.join("fifo"), other.join("fifo")).expect("a link");
    assert_eq!(through(&other, &["/bin/sh", "-c", "exit 5"], b"").status.code(), Some(5));
    broker.record("start door=fifo");
    broker.kill();
    let none = through(&gate, &["true"], b"");
    let said = String::from_utf8_lossy(&none.stderr).into_owned();
    assert_eq!(none.status.code(), Some(125), "{said}");
    assert!(said.contains("the socket: ") && said.contains("the FIFO door: "), "{said}");
}

#[test]
fn lanes_are_private_files_that_are_new_for_each_call() {
    let (_broker, door) = with_door(SHELL);
    assert_eq!(fs::metadata(&door).expect("it is there").mode() & 0o7777, 0o700);
    let inode = || fs::metadata(door.join("0/stdout")).expect("it is there").ino();
    for name in ["request", "stdin", "stdout", "stderr", "reply"] {
        let found = fs::metadata(door.join("0").join(name)).expect("it is there");
        assert!(found.file_type().is_fifo() && found.mode() & 0o7777 == 0o600);
    }
    let before = inode();
    assert_eq!(Caller::ask(&door, &sh("exit 5")).status(), 5);
    assert_ne!(before, inode());
}

#[test]
fn refusals_listings_and_what_is_malformed_are_answered() {
    let (broker, door) = with_door("echo #word\n  word = [a-z]{1,9}\n");
    let refused = |message: &[u8]| {
        let frames = Caller::ask(&door, message).frames();
        let [(REFUSED, payload)] = &frames[..] else { panic!("{frames:?}") };
        (word(payload).cast_signed(), String::from_utf8_lossy(&payload[4..]).into_owned())
    };
    assert_eq!(refused(&piped_call(&["echo", "NO"])).0, -1);
    assert_eq!(refused(b"XCLS\x02\0\0\0\x09\0\0\0"), (-2, "call 2: a request of kind 9".into()));
    assert_eq!(refused(&b"XCLS\x01\0\0\0\x01\0\0\0"[..]), (-2, "call 3: version 1".into()));
    let frames = Caller::ask(&door, b"XCLS\x02\0\0\0\x02\0\0\0\x01\0\0\0").frames();
    assert_eq!(frames.iter().map(|(kind, _)| *kind).collect::<Vec<_>>(), [LISTING]);
    broker.record("reject door=fifo reason=no_rule");
}

#[test]
fn a_caller_that_leaves_ends_its_call() {
    let (broker, door) = with_door(SHELL);
    let caller = Caller::ask(&door, &sh("exec sleep 60"));
    broker.record("start rule=5");
    drop(caller);
    broker.record("exit hangup=true");
}

#[test]
fn bytes_pass_unchanged_both_ways() {
    let (_broker, door) = with_door("/bin/cat\n");
    let mut caller = Caller::ask(&door, &piped_call(&["/bin/cat"]));
    let sent: Vec<u8> =
        (0..8_u32 << 20).map(|number| number.wrapping_mul(2_654_435_761).to_be_bytes()[0]).collect();
    let (copy, mut stdin) = (sent.clone(), caller.stdin.take().expect("it is open"));
    let feed = std::thread::spawn(move || stdin.write_all(&copy).expect("written"));
    let mut got = Vec::new();
    // Until the command has stdout, its reader sees an end.
    while got.len() < sent.len() {
        let mut piece = vec![0; 1 << 16];
        let length = caller.stdout.read(&mut piece).expect("read");
        got.extend_from_slice(&piece[..length]);
    }
    feed.join().expect("it wrote all");
    assert!(got == sent);
    assert_eq!(caller.status(), 0);
}

#[test]
fn callers_that_write_nothing_half_or_too_much_hold_up_no_other() {
    let (_broker, door) = with_door(SHELL);
    let silent: Vec<_> = (0..3).map(|_| Caller::open(&door)).collect();
    let half = Caller::write(&door, &[200, 0, 0, 0, 1, 2, 3]);
    let huge = Caller::write(&door, &[0xff; 64]);
    for status in [1, 2, 3, 4, 5] {
        assert_eq!(Caller::ask(&door, &sh(&format!("exit {status}"))).status(), status);
    }
    drop((silent, half, huge));
}

#[test]
fn what_is_no_whole_request_is_refused_and_recorded() {
    let (broker, door) = with_door(SHELL);
    let refusal = |caller: &Caller| {
        let frames = caller.frames();
        let [(REFUSED, payload)] = &frames[..] else { panic!("{frames:?}") };
        word(payload).cast_signed()
    };
    let rejects = || broker.records_of("reject").len();
    let recorded = |count| within(SOON, "it is recorded", || (rejects() == count).then_some(()));
    assert_eq!(refusal(&Caller::write(&door, &[0xff; 64])), -2, "no message is so long");
    recorded(1);
    // The message is whole in itself, and its length says that more belongs to it.
    let call = sh("exit 0");
    let longer = [&1000_u32.to_le_bytes()[..], &call].concat();
    assert_eq!(refusal(&Caller::write(&door, &longer)), -2, "the rest does not come");
    recorded(2);
    drop(Caller::write(&door, &longer[..6]));
    recorded(3);
    let is_malformed = |record: &Record| record.is("reject door=fifo reason=malformed");
    // The door may find the reply of the last one open or closed.
    assert!(broker.records_of("reject")[..2].iter().all(is_malformed));
    // stdout and stderr that nobody reads.
    let lane = door.join("0");
    let (request, reply) = within(SOON, "a lane is free", || {
        Some((writer(&lane.join("request"))?, reader(&lane.join("reply"))))
    });
    (&request).write_all(&with_length(&call)).expect("written");
    let frames = piped_frames(reply);
    let [(REFUSED, payload)] = &frames[..] else { panic!("{frames:?}") };
    assert_eq!(word(payload).cast_signed(), -3, "{}", String::from_utf8_lossy(&payload[4..]));
    recorded(4);
    assert!(broker.records_of("start").is_empty());
}

#[test]
fn requests_whose_refusal_nobody_reads_are_recorded_each() {
    let (broker, door) = with_door(SHELL);
    let rejects = || broker.records_of("reject").len();
    for count in 1..=150 {
        let request = within(SOON, "a lane is free", || writer(&door.join("0/request")));
        (&request).write_all(&with_length(&sh(&format!("exit {count}")))).expect("written");
        drop(request);
        // A lane that nobody wrote to is left without a word.
        drop(writer(&door.join("1/request")));
        within(SOON, "it is recorded", || (rejects() == count).then_some(()));
    }
    broker.record("reject door=fifo reason=fds");
    assert_eq!(Caller::ask(&door, &sh("exit 4")).status(), 4);
}

#[test]
fn requests_that_the_broker_has_no_room_for_wait_and_none_is_lost() {
    let (broker, door) = with_door(SHELL);
    broker.signal(Signal::SIGSTOP);
    // Three or four of them fill the connection.
    let callers: Vec<_> = (0..8).map(|_| Caller::ask(&door, &sh(&"x".repeat(60_000)))).collect();
    let long = Duration::from_secs(5);
    assert!(!readable_within(&callers[7].reply, long), "the broker is stopped");
    broker.signal(Signal::SIGCONT);
    for (number, caller) in callers.iter().enumerate() {
        let frames = caller.frames();
        assert!(matches!(&frames[..], [(REFUSED, _)]), "{number}: {frames:?}");
    }
    broker.record("reject door=fifo");
    assert_eq!(Caller::ask(&door, &sh("exit 4")).status(), 4);
}

#[test]
fn two_writers_at_once_get_one_answer_and_harm_nobody() {
    let (_broker, door) = with_door(SHELL);
    let first = Caller::open(&door);
    let second = writer(&door.join("0/request")).expect("a lock is not a wall");
    let message = sh("exit 7");
    (&second).write_all(&[&with_length(&message)[..], &[9; 64]].concat()).expect("written");
    (&*first.request).write_all(&with_length(&message)).ok();
    assert_eq!(first.status(), 7);
    assert_eq!(Caller::ask(&door, &sh("exit 8")).status(), 8);
}

#[test]
fn names_that_were_taken_by_links_and_files_lead_nowhere() {
    let (broker, door) = with_door(SHELL);
    let victim = broker.dir().join("victim");
    fs::write(&victim, "untouched").expect("written");
    let caller = Caller::open(&door);
    for name in ["stdout", "reply", "stderr"] {
        fs::remove_file(door.join("0").join(name)).expect("removed");
        symlink(&victim, door.join("0").join(name)).expect("a link");
    }
    let message = sh("echo to-stdout; echo to-stderr >&2; exit 3");
    (&*caller.request).write_all(&with_length(&message)).expect("written");
    assert_eq!(caller.status(), 3, "it goes to the FIFOs that had the names");
    assert_eq!(fs::read_to_string(&victim).expect("read"), "untouched");
    // A lane that became a link to another directory: what the door removes there is a FIFO of its own.
    let elsewhere = broker.dir().join("elsewhere");
    fs::create_dir(&elsewhere).expect("a directory");
    fs::write(elsewhere.join("stdout"), "kept").expect("written");
    fs::rename(door.join("1"), door.join("moved")).expect("renamed");
    symlink(&elsewhere, door.join("1")).expect("a link");
    for status in [4, 5, 6] {
        assert_eq!(Caller::ask(&door, &sh(&format!("exit {status}"))).status(), status);
    }
    assert_eq!(fs::read_to_string(elsewhere.join("stdout")).expect("read"), "kept");
}

#[test]
fn a_door_that_is_killed_is_opened_again_and_calls_go_on() {
    let (broker, door) = with_door(SHELL);
    let mut caller = Caller::ask(&door, &sh("read line; exit 9"));
    broker.record("start rule=5");
    let inode = fs::metadata(door.join("0")).expect("it is there").ino();
    children(&broker, "sluice-door\n").iter().for_each(|door| door.signal(Signal::SIGKILL));
    within(SOON, "new lanes", || {
        fs::metadata(door.join("0")).is_ok_and(|lane| lane.ino() != inode).then_some(())
    });
    within(SOON, "the last lane is new too", || writer(&door.join("7/request")).map(drop));
    caller.stdin.take().expect("open").write_all(b"\n").expect("written");
    assert_eq!(caller.status(), 9);
    assert_eq!(Caller::ask(&door, &sh("exit 2")).status(), 2);
}

/// The broker's processes with this line in their `comm`.
fn children(broker: &Broker, comm: &str) -> Vec<Pid> {
    let is_it =
        |pid: &Pid| fs::read_to_string(format!("/proc/{}/comm", pid.0)).is_ok_and(|name| name == comm);
    broker.pid().children().into_iter().filter(is_it).collect()
}

/// Waits until the last lane is another one than that of an inode, because the door was opened again.
fn await_new_lanes(door: &Path, inode: u64) {
    within(SOON, "new lanes", || {
        fs::metadata(door.join("7")).is_ok_and(|lane| lane.ino() != inode).then_some(())
    });
}

#[test]
fn a_door_opens_beside_what_is_left_in_its_directory_and_removes_nothing_else() {
    let (broker, door) = with_door(SHELL);
    let (left, others) = (door.join(".3-4"), door.join(".cache"));
    for directory in [&left, &others] {
        fs::create_dir(directory).expect("a directory");
        fs::write(directory.join("reply"), "").expect("written");
        fs::write(directory.join("other"), "kept").expect("written");
    }
    let inode = fs::metadata(door.join("7")).expect("it is there").ino();
    children(&broker, "sluice-door\n").iter().for_each(|door| door.signal(Signal::SIGKILL));
    await_new_lanes(&door, inode);
    assert_eq!(Caller::ask(&door, &sh("exit 6")).status(), 6);
    assert!(!broker.said().contains("no FIFO door"));
    let kept = [left.join("other"), others.join("other"), others.join("reply")];
    assert!(kept.iter().all(|file| file.exists()));
}

#[test]
fn a_door_goes_on_where_an_adapter_stands_still() {
    let (broker, door) = with_door(SHELL);
    assert_eq!(Caller::ask(&door, &sh("exit 1")).status(), 1);
    let inode = || fs::metadata(door.join("7")).expect("it is there").ino();
    let before = inode();
    // Until one of those that were stopped was free, which costs 5 s.
    let is_held_up = |_| {
        let began = Instant::now();
        children(&broker, "sluice-adapter\n").iter().for_each(|adapter| adapter.signal(Signal::SIGSTOP));
        assert_eq!(Caller::ask(&door, &sh("exit 2")).status(), 2);
        began.elapsed() >= Duration::from_secs(5)
    };
    assert!((0..100).any(is_held_up), "no stopped adapter is used");
    assert_eq!(Caller::ask(&door, &sh("exit 3")).status(), 3);
    assert_eq!(inode(), before, "it was not opened again");
    assert!(broker.records_of("reject").is_empty());
}

#[test]
fn a_door_follows_the_rules_and_ends_with_its_broker() {
    let (mut broker, door) = with_door(SHELL);
    broker.reload(SHELL);
    within(SOON, "the door is closed", || (!door.join("0").exists()).then_some(()));
    broker.reload(&format!("defaults:\n  fifo = yes\n\n{SHELL}"));
    within(SOON, "the door is open", || door.join("7").exists().then_some(()));
    assert_eq!(Caller::ask(&door, &sh("exit 4")).status(), 4);
    broker.stop();
    assert!(!door.join("0").exists(), "{}", broker.said());
}

#[test]
fn a_directory_that_others_can_enter_is_no_door() {
    let setup = Broker::new(&format!("defaults:\n  fifo = yes\n\n{SHELL}")).arranged(|dir| {
        let door = dir.path().join("s.sock.fifo");
        fs::create_dir(&door).expect("a directory");
        fs::set_permissions(&door, std::os::unix::fs::PermissionsExt::from_mode(0o755)).expect("a mode");
    });
    let mut broker = setup.start();
    broker.sh("exit 0").exited(0);
    let said = broker.stop_and_read();
    assert!(said.contains("no FIFO door in") && said.contains("s.sock.fifo"), "{said}");
}
