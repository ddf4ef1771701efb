//! `in DIR`: the path that was judged is the path that the command gets, and it leads into the directory
//! whatever a caller does with links, mounts and processes of its own.

use std::fs;
use std::io::{BufRead as _, BufReader};
use std::os::unix::fs::symlink;
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use serde_json::json;

use crate::harness::{Broker, Setup, Status, apart, needs, needs_mounts, run, skip};

/// A directory with a file, that its caller cannot write, and another directory that is the caller's.
fn vault(rules: &str) -> Setup {
    Broker::new(rules).arranged(|dir| {
        dir.mkdir("vault", 0o755);
        dir.mkdir("vault/sub", 0o755);
        dir.mkdir("callers", 0o700);
        dir.write("vault/public", "public\n");
        dir.write("vault/a b\nc", "odd\n");
        dir.write("secret", "SECRET\n");
    })
}

const CAT: &str = "/bin/cat -- #path\n  path = in @DIR@/vault\n  cwd = @DIR@/vault\n";

#[test]
fn the_command_gets_the_path_that_was_judged() {
    let broker = vault("/bin/echo #path\n  path = in @DIR@/vault\n  cwd = @DIR@/vault/sub\n").start();
    let dir = broker.dir().to_string_lossy().into_owned();
    symlink(broker.dir().join("vault/sub"), broker.dir().join("callers/l")).expect("a link");
    for (asked, given) in [
        ("../public", "/vault/public"),
        ("new", "/vault/sub/new"),
        ("..//sub/./", "/vault/sub/"),
        ("../a b\nc", "/vault/a b\nc"),
        (&format!("{dir}/callers/l/x"), "/vault/sub/x"),
        (&format!("{dir}/vault/public"), "/vault/public"),
    ] {
        let given = format!("{dir}{given}");
        let answer = broker.call(["/bin/echo", asked]).exited(0).printed(&format!("{given}\n"));
        let start = answer.record("start");
        assert_eq!(start.argv(), ["/bin/echo", asked]);
        assert_eq!(*start.get("paths"), json!([given]));
    }
}

#[test]
fn each_value_of_several_is_judged() {
    let broker =
        vault("/bin/echo #n #paths...\n  n = [0-9]\n  paths = in @DIR@/vault\n  cwd = @DIR@/vault\n").start();
    let dir = broker.dir().to_string_lossy().into_owned();
    let answer = broker.call(["/bin/echo", "1", "public", "sub/new"]).exited(0);
    let answer = answer.printed(&format!("1 {dir}/vault/public {dir}/vault/sub/new\n"));
    let paths = json!([format!("{dir}/vault/public"), format!("{dir}/vault/sub/new")]);
    assert_eq!(*answer.record("start").get("paths"), paths);
    broker
        .call(["/bin/echo", "1", "public", "../secret"])
        .refused(Status::NO_RULE)
        .audited(["reject reason=outside"]);
    let long = format!("{}public", "sub/../".repeat(5));
    let many = [vec!["/bin/echo", "1"], vec![&long; 64]].concat();
    let start = broker.request(&many).run().exited(0).record("start");
    assert_eq!(start.get("paths").as_array().map(Vec::len), Some(64), "{start}");
}

#[test]
fn paths_that_are_too_long_for_a_record_are_cut_with_their_hash() {
    let deep = "d".repeat(200);
    let broker = vault("/bin/true #paths...\n  paths = in @DIR@/vault\n  cwd = @DIR@/vault\n").start();
    fs::create_dir(broker.dir().join("vault").join(&deep)).expect("a directory");
    let value = format!("{deep}/new");
    let start =
        broker.request(&[vec!["/bin/true"], vec![&value; 64]].concat()).run().exited(0).record("start");
    assert!(start.number("paths_bytes") > 8 * 1024 && start.text("paths_sha256").len() == 64, "{start}");
}

#[test]
fn other_spellings_of_what_is_elsewhere_are_refused() {
    let broker = vault(CAT).start();
    let dir = broker.dir().to_string_lossy().into_owned();
    for (to, name) in [
        (format!("{dir}/secret"), "out"),
        ("/proc/self/cwd".into(), "cwd"),
        ("/proc/self/root".into(), "root"),
        ("/dev/fd".into(), "fd"),
        (format!("{dir}/vault/gone"), "dangling"),
        ("/dev/stdin".into(), "stdin"),
    ] {
        symlink(to, broker.dir().join("callers").join(name)).expect("a link");
    }
    let broker_pid = broker.pid().0;
    let callers = format!("{dir}/callers");
    for value in [
        String::new(),
        "/proc/self/cwd/public".into(),
        format!("/proc/self/root{dir}/vault/public"),
        format!("/proc/{broker_pid}/root{dir}/vault/public"),
        format!("/proc/{broker_pid}/cwd/vault/public"),
        format!("/proc/thread-self/root{dir}/vault/public"),
        format!("/proc/self/task/{broker_pid}/root{dir}/vault/public"),
        format!("//proc/self/root{dir}/vault/public"),
        format!("/proc/./self/root{dir}/vault/public"),
        format!("/proc/self/root/proc/self/root{dir}/vault/public"),
        "/dev/fd/0".into(),
        "/dev/stdin".into(),
        "/proc/self/fd/0".into(),
        format!("{callers}/out"),
        format!("{callers}/cwd/public"),
        format!("{callers}/root{dir}/vault/public"),
        format!("{callers}/fd/0"),
        format!("{callers}/stdin"),
        format!("{callers}/dangling"),
        format!("{callers}/dangling/"),
        format!("{callers}/dangling/."),
        format!("{callers}/dangling/.."),
        "public/".into(),
        "public/.".into(),
        "public/..".into(),
        "public/../public".into(),
        "gone/".into(),
        "gone/.".into(),
        "gone/public".into(),
        "..".into(),
        format!("{dir}/vault/../secret"),
        format!("{dir}/vault/sub/../../secret"),
        "x".repeat(300),
        "sub/../".repeat(580),
    ] {
        let answer = broker.call(["/bin/cat", "--", &value]).refused(Status::NO_RULE).printed("");
        answer.audited(["reject reason=outside !paths"]);
    }
    broker.call(["/bin/cat", "--", "a b\nc"]).exited(0).printed("odd\n");
}

/// What stands outside and what does not look the same to a caller who asks by a path that leads back.
#[test]
fn a_way_that_leads_back_tells_nothing_of_what_it_names() {
    let broker = vault(CAT).start();
    let dir = broker.dir().to_string_lossy().into_owned();
    for name in ["callers", "secret", "no-such-thing", "it.rules"] {
        broker
            .call(["/bin/cat", "--", &format!("{dir}/{name}/../vault/public")])
            .exited(0)
            .printed("public\n");
        broker
            .call(["/bin/cat", "--", &format!("{dir}/{name}/x/y/../../../vault/gone/x")])
            .refused(Status::NO_RULE);
    }
}

#[test]
fn the_directory_may_be_a_link_that_its_author_turns() {
    let broker = vault("/bin/cat -- #path\n  path = in @DIR@/current\n  cwd = @DIR@/current\n").start();
    let (dir, link) = (broker.dir().to_string_lossy().into_owned(), broker.dir().join("current"));
    broker.call(["/bin/cat", "--", "public"]).refused(Status::NO_RULE).audited(["reject reason=outside"]);
    symlink("vault", &link).expect("a link");
    for value in ["public", &format!("{dir}/current/public"), &format!("{dir}/vault/public"), "sub/../public"]
    {
        broker.call(["/bin/cat", "--", value]).exited(0).printed("public\n");
    }
    fs::remove_file(&link).expect("it is there");
    symlink("callers", &link).expect("a link");
    broker.call(["/bin/cat", "--", &format!("{dir}/vault/public")]).refused(Status::NO_RULE);
}

const NO_NAMESPACES: &str = "no user namespaces: sudo sysctl kernel.unprivileged_userns_clone=1";

/// A caller in a user and mount namespace of its own, where the vault holds a script of the caller's.
const SANDBOXED: &str = r#"
import ctypes, os, sys
vault = sys.argv[1]
libc = ctypes.CDLL(None, use_errno=True)
libc.prctl(4, 1, 0, 0, 0)
uid, gid = os.getuid(), os.getgid()
if libc.unshare(0x10000000 | 0x20000) != 0:
    print("skip", flush=True); sys.exit(0)
open("/proc/self/setgroups", "w").write("deny")
open("/proc/self/uid_map", "w").write("%d %d 1" % (uid, uid))
open("/proc/self/gid_map", "w").write("%d %d 1" % (gid, gid))
libc.mount(b"none", b"/", None, 0x44000, None)
if libc.mount(b"t", vault.encode(), b"tmpfs", 0, b"mode=755") != 0:
    print("skip", flush=True); sys.exit(0)
for name in ("public", "new"):
    open(vault + "/" + name, "w").write("echo BROKEN OUT\n")
fd = os.open(vault + "/new", os.O_RDONLY)
os.chdir(vault)
print(os.getpid(), fd, flush=True)
sys.stdin.read()
"#;

/// Starts it, and gives it with its pid and the number of a descriptor of it.
fn sandboxed(vault: &str) -> Option<(Child, String, String)> {
    let mut python = Command::new("python3");
    python.args(["-c", SANDBOXED, vault]).stdin(Stdio::piped()).stdout(Stdio::piped());
    let mut child = python.spawn().ok()?;
    let mut line = String::new();
    BufReader::new(child.stdout.take()?).read_line(&mut line).ok()?;
    let Some((pid, fd)) = line.trim().split_once(' ') else {
        child.wait().ok()?;
        return None;
    };
    let (pid, fd) = (pid.to_owned(), fd.to_owned());
    Some((child, pid, fd))
}

#[test]
fn a_callers_own_mounts_are_not_where_a_path_leads() {
    let broker = vault("/bin/sh -- #script\n  script = in @DIR@/vault\n  stdin = null\n").start();
    let vault = broker.dir().join("vault").to_string_lossy().into_owned();
    fs::write(broker.dir().join("vault/public"), "echo vetted\n").expect("a script");
    if !needs("python3", "python3") {
        return;
    }
    let Some((mut caller, pid, fd)) = sandboxed(&vault) else { return skip(NO_NAMESPACES) };
    let links = broker.dir().join("callers");
    symlink(format!("/proc/{pid}/root{vault}/public"), links.join("root")).expect("a link");
    symlink(format!("/proc/{pid}/cwd"), links.join("cwd")).expect("a link");
    let links = links.to_string_lossy();
    for value in [
        format!("/proc/{pid}/root{vault}/public"),
        format!("/proc/{pid}/root{vault}/new"),
        format!("/proc/{pid}/cwd/public"),
        format!("/proc/{pid}/fd/{fd}"),
        format!("/proc/{pid}/task/{pid}/cwd/public"),
        format!("{links}/root"),
        format!("{links}/cwd/public"),
    ] {
        broker.call(["/bin/sh", "--", &value]).refused(Status::NO_RULE).printed("");
    }
    broker.call(["/bin/sh", "--", &format!("{vault}/public")]).exited(0).printed("vetted\n");
    drop(caller.stdin.take());
    caller.wait().expect("it ends with its stdin");
}

#[test]
fn another_mount_of_proc_is_proc() {
    if !needs_mounts() {
        return;
    }
    apart(|| {
        let setup = vault(CAT).arranged(|dir| {
            for (place, kind) in [("callers/p", "outside"), ("vault/p", "inside")] {
                let place = dir.mkdir(place, 0o755);
                let mount = ["-t", "proc", kind, place.to_str().expect("plain")];
                run("mount".into(), mount, b"").exited(0);
            }
            let place = dir.mkdir("callers/bound", 0o755);
            run("mount".into(), ["--bind", "/proc/self", place.to_str().expect("plain")], b"").exited(0);
        });
        let broker = setup.start();
        let (dir, pid) = (broker.dir().to_string_lossy().into_owned(), broker.pid().0);
        for value in [
            format!("{dir}/callers/p/self/root{dir}/vault/public"),
            format!("{dir}/callers/p/{pid}/cwd/vault/public"),
            format!("{dir}/callers/bound/root{dir}/vault/public"),
            format!("{dir}/vault/p/{pid}/cwd/vault/public"),
            format!("p/{pid}/root{dir}/vault/public"),
            "p/self/cwd/public".into(),
            "p/version".into(),
        ] {
            broker
                .call(["/bin/cat", "--", &value])
                .refused(Status::NO_RULE)
                .audited(["reject reason=outside"]);
        }
        broker.call(["/bin/cat", "--", "public"]).exited(0);
    });
}

/// Leaves a name as it is for a time that differs from turn to turn, from none to longer than a call, so that
/// calls meet every order of steps on a fast machine and on a slow one.
fn stay(turn: u64) {
    std::thread::sleep(Duration::from_micros(turn % 16 * 300));
}

/// The link leads in and out in turn; the directory itself is not the caller's to write.
#[test]
fn a_link_that_is_turned_all_the_time_never_shows_what_is_outside() {
    let broker = vault(CAT).start();
    let (link, done) = (broker.dir().join("callers/l"), AtomicBool::new(false));
    let value = link.to_string_lossy().into_owned();
    std::thread::scope(|scope| {
        scope.spawn(|| {
            let next = link.with_extension("next");
            for turn in (0..).take_while(|_| !done.load(Ordering::Relaxed)) {
                for target in ["../vault/public", "../secret"] {
                    symlink(target, &next).expect("a link");
                    fs::rename(&next, &link).expect("turned");
                    stay(turn);
                }
            }
        });
        let mut ran = 0;
        for _ in 0..2000 {
            let answer = broker.request(&["/bin/cat", "--", &value]).quick().run();
            assert!(answer.stdout.is_empty() || answer.stdout == b"public\n", "{answer:?}");
            ran += usize::from(!answer.stdout.is_empty());
        }
        done.store(true, Ordering::Relaxed);
        assert!((1..2000).contains(&ran), "{ran} of 2000 were allowed");
    });
}

#[test]
fn nothing_in_a_directory_holds_up_its_judge() {
    let setup = vault(CAT).arranged(|dir| {
        nix::unistd::mkfifo(&dir.join("vault/fifo"), nix::sys::stat::Mode::S_IRWXU).expect("a fifo");
    });
    let broker = setup.start();
    broker
        .call(["/bin/cat", "--", "fifo/"])
        .refused(Status::NO_RULE)
        .took(Duration::ZERO, Duration::from_secs(2));
}

#[test]
fn a_descriptor_is_open_at_the_file_that_was_judged() {
    let rule = "/bin/sh -c #script -- #path\n  allow_any = script\n  path = in @DIR@/vault as fd\n  cwd = @DIR@/vault\n";
    let broker = vault(rule).start();
    let dir = broker.dir().to_string_lossy().into_owned();
    let script = r#"echo "$1"; cat "$1"; echo more >> "$1"; readlink "$1"; ls /proc/self/fd"#;
    let answer = broker.call(["/bin/sh", "-c", script, "--", "sub/../public"]).exited(0);
    // 4 is the directory that ls looks at.
    let answer = answer.printed(&format!("/proc/self/fd/3\npublic\n{dir}/vault/public\n0\n1\n2\n3\n4\n"));
    assert_eq!(*answer.record("start").get("paths"), json!([format!("{dir}/vault/public")]));
    assert_eq!(fs::read_to_string(broker.dir().join("vault/public")).expect("there"), "public\nmore\n");
    let there = broker.call(["/bin/sh", "-c", r#"ls "$1""#, "--", "."]).exited(0);
    assert!(there.text().contains("public"));
    broker.call(["/bin/sh", "-c", script, "--", "../secret"]).refused(Status::NO_RULE);
    broker
        .call(["/bin/sh", "-c", script, "--", "new"])
        .refused(Status::SPAWN)
        .audited(["start", "exit step=open errno=ENOENT"]);
}

#[test]
fn each_value_has_a_descriptor_of_its_own() {
    let broker = vault("/bin/cat #paths...\n  paths = in @DIR@/vault as fd\n  cwd = @DIR@/vault\n").start();
    broker.call(["/bin/cat", "public", "a b\nc", "public"]).exited(0).printed("public\nodd\npublic\n");
    let many = [vec!["/bin/cat"], vec!["public"; 64]].concat();
    broker.request(&many).run().exited(0).printed(&"public\n".repeat(64));
}

/// The caller can write the directory, and turns the file into a link all the time.
#[test]
fn a_descriptor_is_never_of_a_file_outside_whoever_writes_the_directory() {
    let broker = vault("/bin/cat #path\n  path = in @DIR@/callers as fd\n  cwd = @DIR@/callers\n").start();
    let (place, done) = (broker.dir().join("callers/f"), AtomicBool::new(false));
    fs::write(&place, "public\n").expect("a file");
    std::thread::scope(|scope| {
        scope.spawn(|| {
            let (next, other) = (place.with_extension("next"), place.with_extension("other"));
            for turn in (0..).take_while(|_| !done.load(Ordering::Relaxed)) {
                symlink("../secret", &next).expect("a link");
                fs::rename(&next, &place).expect("turned");
                stay(turn);
                fs::write(&other, "public\n").expect("a file");
                fs::rename(&other, &place).expect("turned");
                stay(turn);
            }
        });
        let mut ran = 0;
        for _ in 0..2000 {
            let answer = broker.request(&["/bin/cat", "f"]).quick().run();
            assert!(answer.stdout.is_empty() || answer.stdout == b"public\n", "{answer:?}");
            ran += usize::from(!answer.stdout.is_empty());
        }
        done.store(true, Ordering::Relaxed);
        assert!((1..2000).contains(&ran), "{ran} of 2000 were allowed");
    });
}
