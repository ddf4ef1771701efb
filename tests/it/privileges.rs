//! What a broker may be started with, and what is left of it: read from outside, in `/proc/PID/status`.

use std::ffi::OsStr;
use std::fs;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};

use nix::unistd::{Gid, Uid, chown};

use crate::harness::{
    Broker, Pid, Setup, TempDir, chmod, needs, needs_root, python, run, skip, sluice, sluice_bin,
};

/// The sets of a process, as the kernel calls them. The last is what an exec can bring back.
const SETS: [&str; 5] = ["CapInh", "CapPrm", "CapEff", "CapAmb", "CapBnd"];

/// Prints the sets of the process that it runs in.
const SHOW: &str = "/bin/grep ^Cap /proc/self/status\n";

/// A user without any privilege.
const NOBODY: u32 = 65534;

/// The bit of `CAP_NET_RAW`.
const NET_RAW: u64 = 1 << 13;

/// Gives everything in the directory to this user.
fn give(path: &Path, user: u32) {
    chown(path, Some(Uid::from_raw(user)), Some(Gid::from_raw(user))).expect("root may give files away");
    if path.is_dir() {
        fs::read_dir(path).expect("it can be read").flatten().for_each(|entry| give(&entry.path(), user));
    }
}

/// A broker to be of an ordinary user's, which `setpriv` starts with these capabilities, in every set that
/// outlives an exec; `None` where that takes a root that is not there.
fn unprivileged(capabilities: &str) -> Option<Setup> {
    if !needs_root() {
        return None;
    }
    let setup = Broker::new(SHOW).arranged(|dir| give(dir.path(), NOBODY));
    let user = [format!("--reuid={NOBODY}"), format!("--regid={NOBODY}"), "--clear-groups".to_owned()];
    let given = [format!("--inh-caps={capabilities}"), format!("--ambient-caps={capabilities}")];
    let words: Vec<_> = user.iter().chain(&given).map(String::as_str).collect();
    Some(setup.under(&[&["setpriv"], &words[..]].concat()))
}

/// The sets of a running process.
fn sets(pid: Pid) -> [u64; 5] {
    let text = fs::read_to_string(format!("/proc/{}/status", pid.0)).expect("it runs");
    in_text(&text)
}

/// The sets in the text of a status.
fn in_text(text: &str) -> [u64; 5] {
    SETS.map(|set| {
        let line = text.lines().find_map(|line| line.strip_prefix(set)?.strip_prefix(':'));
        u64::from_str_radix(line.expect("the kernel has the set").trim(), 16).expect("a mask is hexadecimal")
    })
}

/// Everything of the broker's that runs, and its command: each has these sets.
#[track_caller]
fn all_have(broker: &Broker, want: [u64; 5]) {
    let answer = broker.call(["/bin/grep", "^Cap", "/proc/self/status"]).exited(0);
    assert_eq!(in_text(&answer.text()), want, "the command's");
    let below = broker.pid().descendants();
    assert!(below.iter().any(|pid| pid.command_line().starts_with("sluice nursery")), "{below:?}");
    for pid in below.into_iter().chain([broker.pid()]) {
        assert_eq!(sets(pid), want, "{} {}", pid.0, pid.command_line());
    }
}

/// Whether the kernel lets the process's own user look into it, and dump it.
fn is_open(pid: Pid) -> bool {
    fs::metadata(format!("/proc/{}/environ", pid.0)).expect("it runs").uid() == NOBODY
}

/// The bounding set that the tests, and so what they start, have.
fn bounding() -> u64 {
    sets(Pid(i32::try_from(std::process::id()).expect("a pid fits")))[4]
}

#[test]
fn root_is_refused_before_anything_is_made() {
    if !needs_root() {
        return;
    }
    let dir = TempDir::new();
    let rules =
        dir.write("it.rules", format!("defaults:\n  logfile = {0}/a/m\n\ntrue\n", dir.path().display()));
    let (rules, socket) = (rules.to_string_lossy().into_owned(), dir.join("b/sock"));
    let ended = sluice(["serve", "--rules", &rules, "--socket", &socket.to_string_lossy()]);
    ended.exited(2).complained(&["refusing to serve as root", "--allow-root", "User=sluice"]);
    let left: Vec<_> = fs::read_dir(dir.path()).expect("it can be read").flatten().collect();
    assert_eq!(left.len(), 1, "{left:?}");
}

#[test]
fn root_may_serve_where_it_is_meant() {
    if !needs_root() {
        return;
    }
    let inherited = ["setpriv", "--inh-caps=+net_raw,+setpcap", "--ambient-caps=+net_raw,+setpcap"];
    let broker = Broker::new(SHOW).under(&inherited).start();
    let all = bounding();
    all_have(&broker, [0, all, all, 0, all]);
}

#[test]
fn the_flag_means_nothing_to_an_ordinary_user() {
    let Some(setup) = unprivileged("-all") else { return };
    all_have(&setup.start(), [0, 0, 0, 0, bounding()]);
}

#[test]
fn an_ordinary_users_broker_gives_up_its_capabilities() {
    let Some(setup) = unprivileged("+net_raw") else { return };
    // The bounding set takes CAP_SETPCAP to empty; it stays, and with it the rules that run sudo.
    all_have(&setup.start(), [0, 0, 0, 0, bounding()]);
}

#[test]
fn where_it_may_it_empties_the_bounding_set_too() {
    let Some(setup) = unprivileged("+net_raw,+setpcap") else { return };
    all_have(&setup.start(), [0; 5]);
}

#[test]
fn what_the_programs_file_gives_is_given_up_by_each_process() {
    if !needs("python3", "python3") {
        return;
    }
    let Some(setup) = unprivileged("-all") else { return };
    let setup = setup.arranged(|dir| {
        let program = copy(dir, NOBODY, 0o755);
        let give = "import os, struct, sys; os.setxattr(sys.argv[1], 'security.capability', \
                    struct.pack('<5I', 0x02000001, int(sys.argv[2]), 0, 0, 0))";
        python(give, [program.as_os_str(), NET_RAW.to_string().as_ref()]).exited(0);
    });
    let setup = setup.under(&["sh", "-c", "shift; exec @DIR@/sluice \"$@\"", "sh"]);
    all_have(&setup.start(), [0, 0, 0, 0, bounding()]);
}

/// Why a setuid program is an ordinary one everywhere a test may put it.
const NO_SETUID: &str = "/tmp and /var/tmp are nosuid: mount -o remount,suid /var/tmp";

#[test]
fn rights_that_are_borrowed_are_refused_whatever_the_words() {
    if !needs_root() {
        return;
    }
    for (owner, mode, user) in [(0, 0o4755, NOBODY), (NOBODY, 0o4755, 0), (0, 0o2755, NOBODY)] {
        let Some(dir) = TempDir::with_setuid() else { return skip(NO_SETUID) };
        chmod(dir.path(), 0o755);
        let program = copy(&dir, owner, mode);
        let socket = dir.join("s/sock").to_string_lossy().into_owned();
        let words = ["serve", "--allow-root", "--rules", "/etc/passwd", "--socket", &socket];
        borrowed(user, &program, &words);
        borrowed(user, &program, &["nursery", "1", "1024"]);
        borrowed(user, &program, &["check", "/etc/shadow"]);
    }
}

/// The program, run by this user, leaves without having done anything.
#[track_caller]
fn borrowed(user: u32, program: &Path, words: &[&str]) {
    let ids = [format!("--reuid={user}"), format!("--regid={user}"), "--clear-groups".to_owned()];
    let words = ids.iter().map(OsStr::new).chain([program.as_os_str()]).chain(words.iter().map(OsStr::new));
    run("setpriv".into(), words, b"").exited(2).printed("").complained(&["borrowed"]);
}

/// The broker's program in this directory, of this owner's and mode.
fn copy(dir: &TempDir, owner: u32, mode: u32) -> PathBuf {
    let program = dir.join("sluice");
    // By another process: what this one has open to write, a child of another test would hold open, and busy.
    run("cp".into(), [sluice_bin().as_os_str(), program.as_os_str()], b"").exited(0);
    give(&program, owner);
    chmod(&program, mode);
    program
}

#[test]
fn nobody_may_look_into_an_ordinary_users_broker() {
    let Some(setup) = unprivileged("+net_raw") else { return };
    let broker = setup.start();
    // By now the nursery is more than just started.
    broker.call(["/bin/grep", "^Cap", "/proc/self/status"]).exited(0);
    for pid in broker.pid().descendants().into_iter().chain([broker.pid()]) {
        assert!(!is_open(pid), "{} {}", pid.0, pid.command_line());
    }
}
