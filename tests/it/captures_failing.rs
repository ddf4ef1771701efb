//! A capture that cannot be made, or cannot go on: under `audit = strict` nothing passes that is not on
//! record, with best effort the caller loses nothing by it. When the place works again, so does the broker.

use std::fs;
use std::os::unix::fs::{chown, symlink};
use std::path::PathBuf;

use crate::captures::{capturing, held};
use crate::harness::{Broker, SOON, Setup, Status, chmod, is_root, needs_mounts, needs_root, within};

const TMPFS: &str = "mount -t tmpfs -o mode=700,$OPTIONS none @DIR@/disk && exec \"$@\"";

/// A broker to be whose captures are on a small disk of their own, in a mount namespace.
fn on_disk(options: &str, audit: &str) -> Option<Setup> {
    if !needs_mounts() {
        return None;
    }
    let rules = format!(
        "defaults:\n  audit = {audit}\n  stdoutfile = @DIR@/disk/c#$call.out\n\n/bin/sh -c #script\n  allow_any = script\n"
    );
    let script = TMPFS.replace("$OPTIONS", options);
    let setup = Broker::new(&rules).arranged(|dir| drop(dir.mkdir("disk", 0o700)));
    Some(setup.under(&["unshare", "--mount", "sh", "-c", &script, "sh"]))
}

/// A path on the broker's own disk.
fn seen(broker: &Broker, name: &str) -> PathBuf {
    let inside = broker.dir().join("disk").join(name);
    PathBuf::from(format!("/proc/{}/root{}", broker.pid().0, inside.display()))
}

#[test]
fn a_disk_that_fills_ends_the_call() {
    let Some(setup) = on_disk("size=512k", "strict") else { return };
    let broker = setup.start();
    let answer = broker.sh("trap '' PIPE; yes | head -c 2000000; sleep 60").refused(Status::AUDIT);
    let exit = answer.record("exit");
    assert!(exit.is("exit status=-6 truncated=true") && exit.number("stdout_bytes") <= 512 << 10, "{exit}");
    let kept = fs::read(seen(&broker, "c1.out")).expect("it is there");
    assert!(kept.starts_with(&answer.stdout), "nothing passed that is not captured");
    assert_eq!(kept.len() as u64, exit.number("stdout_bytes"));
    broker.says("c1.out");
    for _ in 0..3 {
        broker.sh("echo unseen").refused(Status::AUDIT).printed("").audited(["reject reason=audit"]);
    }
    fs::remove_file(seen(&broker, "c1.out")).expect("room is made");
    broker
        .sh("echo seen")
        .exited(0)
        .printed("seen\n")
        .audited(["start call=5 stdout", "exit status=0 !truncated"]);
    let names: Vec<_> = fs::read_dir(seen(&broker, "")).expect("it can be read").flatten().collect();
    assert_eq!(names.len(), 1, "a call that did not run leaves no file: {names:?}");
}

#[test]
fn a_disk_that_fills_costs_the_caller_nothing_with_best_effort() {
    let Some(setup) = on_disk("size=512k", "best-effort") else { return };
    let broker = setup.start();
    let answer = broker.sh("yes | head -c 3000000").exited(0);
    assert_eq!(answer.stdout.len(), 3_000_000);
    assert!(answer.stdout.chunks(2).all(|line| line == b"y\n"));
    let exit = answer.record("exit");
    assert!(exit.is("exit status=0 truncated=true") && exit.number("stdout_bytes") <= 512 << 10, "{exit}");
    broker.says("c1.out");
    broker.sh("echo runs").exited(0).printed("runs\n").audited(["start !stdout", "exit !stdout_bytes"]);
    fs::remove_file(seen(&broker, "c1.out")).expect("room is made");
    broker.sh("echo seen").exited(0).audited(["start stdout", "exit stdout_bytes=5 !truncated"]);
}

#[test]
fn a_disk_without_inodes_or_room_refuses_before_anything_runs() {
    let Some(setup) = on_disk("nr_inodes=2", "strict") else { return };
    let broker = setup.start();
    broker.sh("echo first").exited(0);
    broker.sh("echo unseen").refused(Status::AUDIT).printed("").audited(["reject reason=audit call=2"]);
    fs::remove_file(seen(&broker, "c1.out")).expect("room is made");
    broker.sh("echo seen").exited(0).audited(["start call=3", "exit"]);
    let Some(setup) = on_disk("size=64k", "strict") else { return };
    let broker = setup.start();
    fs::write(seen(&broker, "filler"), vec![0; 64 << 10]).expect("it fits");
    broker.sh("echo unseen").refused(Status::AUDIT).printed("").audited(["reject reason=audit"]);
    fs::remove_file(seen(&broker, "filler")).expect("room is made");
    broker.sh("echo seen").exited(0);
}

#[test]
fn a_disk_that_is_made_read_only_refuses_until_it_is_writable() {
    let Some(setup) = on_disk("size=1m", "strict") else { return };
    let broker = setup.start();
    broker.sh("echo first").exited(0);
    let remount = |mode: &str| {
        let (pid, place) = (broker.pid().0.to_string(), broker.dir().join("disk"));
        let mut mount = std::process::Command::new("nsenter");
        let options = format!("remount,{mode}");
        mount.args(["--mount", "--root", "--target", &pid, "mount", "-o", &options]).arg(place);
        // The last call's file may be open for a moment after its answer.
        within(SOON, "the disk is mounted anew", || {
            mount.status().expect("util-linux is installed").success().then_some(())
        });
    };
    remount("ro");
    broker.sh("echo unseen").refused(Status::AUDIT).printed("").audited(["reject reason=audit"]);
    remount("rw");
    broker.sh("echo seen").exited(0);
}

/// A limit on the file size does what a full disk does, and needs no privilege.
const LIMITED: [&str; 5] = ["env", "--ignore-signal=XFSZ", "prlimit", "--fsize=100000:unlimited", "--"];

#[test]
fn a_stdin_that_cannot_be_captured_does_not_look_whole() {
    let broker = capturing("").under(&LIMITED).start();
    let script = "cat >/dev/null; echo took all of it";
    let answer = broker.request(&["/bin/sh", "-c", script]).stdin(vec![b'x'; 300_000]).run();
    let exit = answer.refused(Status::AUDIT).printed("").record("exit");
    assert!(exit.is("exit truncated=true") && exit.number("stdin_bytes") <= 100_000, "{exit}");
    let broker = capturing("audit = best-effort").under(&LIMITED).start();
    let answer = broker.request(&["/bin/sh", "-c", "exec wc -c"]).stdin(vec![b'x'; 300_000]).run();
    answer
        .exited(0)
        .printed("300000\n")
        .audited(["start", "exit status=0 truncated=true stdin_bytes=100000"]);
}

#[test]
fn a_place_that_others_can_write_refuses_until_it_is_mended() {
    let broker = capturing("").start();
    broker.sh("echo first").exited(0);
    let calls = broker.dir().join("audit/calls");
    for mode in [0o770, 0o702, 0o777] {
        chmod(&calls, mode);
        broker.sh("echo unseen").refused(Status::AUDIT).printed("").audited(["reject reason=audit detail"]);
    }
    chmod(&calls, 0o700);
    broker.sh("echo seen").exited(0).printed("seen\n").audited(["start call=5", "exit"]);
    let broker = capturing("audit = best-effort").start();
    broker.sh("echo first").exited(0);
    chmod(&broker.dir().join("audit/calls"), 0o777);
    broker.sh("echo runs").exited(0).printed("runs\n").audited(["start !stdout", "exit"]);
    broker.says("chmod go-w");
}

#[test]
fn a_link_that_is_swapped_in_at_any_level_is_not_followed() {
    let rules = "/bin/echo #word\n  word = [a-z]+\n  stdoutfile = @DIR@/one/two/three/out\n";
    for level in ["one", "one/two", "one/two/three"] {
        let broker = Broker::new(rules).start();
        broker.call(["/bin/echo", "a"]).exited(0);
        let (there, away) = (broker.dir().join(level), broker.dir().join("away"));
        fs::rename(&there, &away).expect("an own directory");
        symlink(&away, &there).expect("a link");
        if is_root() {
            // Root's own links, where only root can make them, are the administrator's.
            std::os::unix::fs::lchown(&there, Some(65534), None).expect("root may");
        }
        broker.call(["/bin/echo", "b"]).refused(Status::AUDIT).printed("");
        fs::remove_file(&there).expect("the link");
        fs::rename(&away, &there).expect("back");
        let answer = broker.call(["/bin/echo", "c"]).exited(0);
        assert_eq!(held(&answer.record("start"), "stdout"), b"c\n");
    }
}

#[test]
fn a_place_of_somebody_elses_holds_no_capture() {
    if !needs_root() {
        return;
    }
    let broker = capturing("").start();
    broker.sh("echo first").exited(0);
    let calls = broker.dir().join("audit/calls");
    chown(&calls, Some(65534), None).expect("root may");
    broker.sh("echo unseen").refused(Status::AUDIT).printed("");
    chown(&calls, Some(0), None).expect("root may");
    broker.sh("echo seen").exited(0);
}
