//! `sluice selftest` on this kernel: what it says of profiles that hold, and of some that do not.

use std::path::Path;

use serde_json::Value;

use crate::denied::{DENY, ENOSYS};
use crate::harness::{Ended, is_root, needs, needs_user_namespaces, run, sluice_bin};

/// The number of a system call, the same for every processor.
const LANDLOCK_CREATE_RULESET: &str = "444";

/// A directory that a private `/tmp` does not cover, which the user of the test owns.
fn home() -> tempfile::TempDir {
    tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).expect("a directory")
}

/// Runs the test with these words before the program, and these behind.
fn selftest(before: &[&str], home: &Path, words: &[&str]) -> Ended {
    let home = format!("HOME={}", home.display());
    let program = sluice_bin();
    let program = program.to_str().expect("plain");
    let all = [&[home.as_str()], before, &[program, "selftest"], words].concat();
    run("env".into(), all, b"")
}

/// The lines of attempts with this result.
fn lines<'e>(ended: &'e str, result: &str) -> Vec<&'e str> {
    let begins = |line: &&str| line.starts_with(&format!("  {result}  "));
    ended.lines().filter(begins).collect()
}

#[test]
fn built_in_profiles_hold() {
    let home = home();
    let ended = selftest(&[], home.path(), &[]).exited(0);
    let text = ended.stdout();
    for profile in ["system\n", "workspace\n", "build\n", "git\n"] {
        assert!(text.contains(profile), "{ended}");
    }
    assert_eq!(lines(&text, "NOT HELD"), [""; 0], "{ended}");
    let held = lines(&text, "held    ").len();
    assert!(held > 4 * 45, "{held} held\n{ended}");
    assert_eq!(std::fs::read_dir(home.path()).expect("it is there").count(), 0, "files are left");
}

#[test]
fn built_in_profiles_hold_for_an_ordinary_user() {
    if !needs_user_namespaces() {
        return;
    }
    if !is_root() {
        return;
    }
    let home = home();
    std::os::unix::fs::chown(home.path(), Some(65534), Some(65534)).expect("root may");
    let user = ["setpriv", "--reuid=65534", "--regid=65534", "--clear-groups", "--"];
    let text = selftest(&user, home.path(), &[]).exited(0).stdout();
    assert_eq!(lines(&text, "NOT HELD"), [""; 0], "{text}");
    assert!(lines(&text, "held    ").len() > 4 * 45, "{text}");
}

#[test]
fn json_has_a_line_for_each_attempt() {
    let home = home();
    let text = selftest(&[], home.path(), &["--json", "system"]).exited(0).stdout();
    let lines: Vec<Value> = text.lines().map(|line| serde_json::from_str(line).expect("JSON")).collect();
    let (head, attempts) = lines.split_first().expect("lines");
    assert_eq!(
        (&head["profile"], &head["confinement"]["seccomp"]),
        (&"system".into(), &true.into()),
        "{head}"
    );
    let of = |name: &str| attempts.iter().find(|line| line["attempt"] == name).expect("an attempt").clone();
    let kill = of("kill");
    assert_eq!((&kill["result"], &kill["confined"]), (&"held".into(), &"EPERM".into()), "{kill}");
    assert_eq!((&kill["part"], &kill["unconfined"]), (&"processes".into(), &"done".into()), "{kill}");
    assert_eq!((&of("x32")["part"], &of("exec-memory")["result"]), (&"syscalls".into(), &"held".into()));
}

/// The rules of a test's own profile, in a file.
fn with_profile(home: &Path, keys: &str) -> String {
    let file = home.join("own.rules");
    std::fs::write(&file, format!("defaults:\n  max_calls = 3\n\nprofile own:\n{keys}\n/bin/true\n"))
        .expect("a file");
    file.to_str().expect("plain").to_owned()
}

#[test]
fn what_a_profile_leaves_open_is_said() {
    if !needs_user_namespaces() {
        return;
    }
    let home = home();
    let file =
        with_profile(home.path(), "  extends = workspace\n  write = $HOME\n  net = any\n  unix = any\n");
    let text = selftest(&[], home.path(), &["--rules", &file, "own"]).exited(0).stdout();
    let open = lines(&text, "open    ");
    for attempt in
        ["write a file outside", "connect by TCP", "send by UDP", "connect to a unix socket outside"]
    {
        assert!(open.iter().any(|line| line.contains(attempt)), "{attempt}: {text}");
    }
    assert!(
        lines(&text, "held    ").iter().any(|line| line.contains("make a user namespace: EPERM")),
        "{text}"
    );
}

#[test]
fn a_part_that_is_missing_is_not_held() {
    if !needs_user_namespaces() {
        return;
    }
    if !needs("python3", "python3") {
        return;
    }
    let home = home();
    let denied = ["python3", "-c", DENY, ENOSYS, LANDLOCK_CREATE_RULESET];
    let refused = selftest(&denied, home.path(), &["system"]).exited(1).stdout();
    assert!(refused.contains("NOT HELD: no call runs: "), "{refused}");
    assert!(refused.contains("files needs Landlock 1"), "{refused}");
    let file = with_profile(home.path(), "  extends = system\n  on_missing = degrade\n");
    let degraded = selftest(&denied, home.path(), &["--rules", &file, "own"]).exited(1).stdout();
    assert!(degraded.contains("  NOT ENFORCED: files, signals\n"), "{degraded}");
    let not_held = lines(&degraded, "NOT HELD");
    for attempt in ["read a file outside by its path: it succeeds", "signal a process outside: it succeeds"] {
        assert!(not_held.iter().any(|line| line.contains(attempt)), "{degraded}");
    }
    assert!(
        lines(&degraded, "held    ").iter().any(|line| line.contains("make a user namespace")),
        "{degraded}"
    );
}

#[test]
fn a_profile_that_is_not_there_or_confines_nothing_is_an_error() {
    let home = home();
    selftest(&[], home.path(), &["absent"]).exited(2).said(&["absent"]);
    selftest(&[], home.path(), &["none"])
        .exited(2)
        .complained(&["sluice: the profile none confines nothing"]);
}
