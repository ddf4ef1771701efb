//! The record on a real file system that is too small, or goes away: what `audit =` promises for each fault,
//! and that the broker works again without a restart. Each test has its mounts in a mount namespace of its
//! own.

use std::fs;
use std::io::Write as _;
use std::os::unix::fs::{PermissionsExt as _, symlink};
use std::path::Path;
use std::process::Command;

use crate::harness::{
    Broker, SHELL, SOON, Setup, Status, TempDir, apart, is_root, needs_loop_devices, needs_mounts, within,
};

/// A file system of some kilobytes.
#[derive(Clone, Copy, Debug)]
enum Kind {
    Tmpfs,
    Ext4,
}

fn sh(script: &str) {
    let output = Command::new("sh").args(["-ec", script]).output().expect("there is a shell");
    assert!(output.status.success(), "{script}\n{}", String::from_utf8_lossy(&output.stderr));
}

/// Puts a file system where the manifest will be.
fn mount(kind: Kind, dir: &TempDir) {
    let (audit, image) = (dir.join("audit"), dir.join("image"));
    let (audit, image) = (audit.display(), image.display());
    match kind {
        Kind::Tmpfs => sh(&format!("mount -t tmpfs -o size=256k,nr_inodes=64,mode=0700 none {audit}")),
        Kind::Ext4 => sh(&format!(
            "truncate -s 1M {image}; mkfs.ext4 -q {image} 2>&1; mount -o loop {image} {audit}; chmod 0700 {audit}"
        )),
    }
}

/// A broker whose manifest is on such a file system.
fn on(kind: Kind, more: &str) -> Setup {
    let rules = format!("defaults:\n{more}\n{SHELL}");
    Broker::new(&rules).arranged(|dir| mount(kind, dir))
}

/// The kinds that can be mounted here; the others are skipped.
fn kinds() -> Vec<Kind> {
    let kinds = [(Kind::Tmpfs, needs_mounts()), (Kind::Ext4, needs_loop_devices())];
    kinds.into_iter().filter(|(_, works)| *works).map(|(kind, _)| kind).collect()
}

/// Takes every byte and every inode that is left.
fn fill(broker: &Broker) {
    let audit = broker.dir().join("audit");
    let mut filler = fs::File::create(audit.join("filler")).expect("there is room for a file");
    for size in [4096, 512, 1] {
        while filler.write_all(&vec![b'x'; size]).is_ok() {}
    }
}

fn make_room(broker: &Broker) {
    fs::remove_file(broker.dir().join("audit/filler")).expect("an own file can be removed");
}

#[test]
fn on_a_full_disk_running_calls_get_their_ends_and_new_ones_do_not_run() {
    for kind in kinds() {
        apart(move || {
            let broker = on(kind, "").start();
            broker.sh("true").exited(0);
            let begin = |_| broker.request(&["/bin/sh", "-c", "echo up; read go"]).stdin_open().begin();
            let mut calls: Vec<_> = (0..8).map(begin).collect();
            calls.iter_mut().for_each(|call| drop(call.line()));
            fill(&broker);
            let mark = broker.dir().join("ran").display().to_string();
            // What was taken ahead may hold some more starts; then there is no room for the end of one.
            let refused = (0..200).find(|_| broker.sh("true").reply == Status::AUDIT.into());
            assert!(refused.is_some(), "{kind:?}: the disk is full and calls run{}", broker.transcript(9));
            broker.sh(&format!(": > {mark}")).refused(Status::AUDIT);
            assert!(!Path::new(&mark).exists());
            for mut call in calls {
                call.write(b"go\n");
                call.wait().exited(0);
            }
            let count = |kind| broker.records_of(kind).len();
            assert_eq!(count("start"), count("exit"), "{kind:?}{}", broker.transcript(9));
            assert!(count("exit status=0") > 8, "{}", broker.transcript(9));
            make_room(&broker);
            broker.sh("echo on").exited(0).printed("on\n").audited(["start", "exit"]);
            broker.says("is written again");
        });
    }
}

#[test]
fn on_a_full_disk_best_effort_runs_and_says_so_once() {
    for kind in kinds() {
        apart(move || {
            let broker = on(kind, "  audit = best-effort\n").start();
            fill(&broker);
            (0..200).for_each(|_| drop(broker.request(&["/bin/sh", "-c", "true"]).quick().run().exited(0)));
            assert!(broker.records_of("start").len() < 200);
            assert_eq!(broker.said().matches("cannot write /").count(), 1, "{}", broker.said());
            make_room(&broker);
            // With it come the ends that could not be written.
            broker.sh("echo on").exited(0).record("start");
            assert_eq!(broker.records_of("exit").len(), 201, "{}", broker.transcript(0));
        });
    }
}

#[test]
fn ends_that_could_not_be_written_outlast_a_rotation_that_fails() {
    if !needs_mounts() {
        return;
    }
    apart(|| {
        let broker = on(Kind::Tmpfs, "  audit = best-effort\n").start();
        fill(&broker);
        (0..200).for_each(|_| drop(broker.request(&["/bin/sh", "-c", "true"]).quick().run().exited(0)));
        let old = broker.manifest_path().with_extension("jsonl.1");
        fs::rename(broker.manifest_path(), &old).expect("an own file can be renamed");
        broker.hup();
        broker.says("going on with the old file");
        make_room(&broker);
        broker.hup();
        broker.sh("true").exited(0);
        let exits =
            |path: &Path| fs::read_to_string(path).expect("it is there").matches("\"kind\":\"exit\"").count();
        assert_eq!(exits(&old) + exits(&broker.manifest_path()), 201, "{}", broker.transcript(0));
    });
}

#[test]
fn a_full_disk_stops_a_start_of_the_broker_and_loses_no_record() {
    if !needs_loop_devices() {
        return;
    }
    apart(|| {
        let mut broker = on(Kind::Ext4, "").start();
        let mut call = broker.begin_sh("echo $$; exec sleep 60");
        call.pid();
        let caller = call.stay();
        broker.kill();
        drop(caller);
        fill(&broker);
        let before = fs::read(broker.manifest_path()).expect("there is a manifest");
        let said = broker.try_start_again();
        let after = fs::read(broker.manifest_path()).expect("there is a manifest");
        assert!(after.starts_with(&before), "{said}");
        make_room(&broker);
        broker.start_again();
        broker.record("lost call=1 reason=killed");
    });
}

#[test]
fn without_inodes_a_rotation_waits_for_one() {
    if !needs_mounts() {
        return;
    }
    apart(|| {
        let broker = on(Kind::Tmpfs, "").start();
        broker.sh("true").exited(0);
        let audit = broker.dir().join("audit");
        let taken: Vec<_> =
            (0..).map_while(|n| fs::File::create(audit.join(format!("f{n}"))).ok().map(|_| n)).collect();
        broker.sh("true").exited(0);
        fs::rename(broker.manifest_path(), audit.join("manifest.1")).expect("a name can change");
        broker.hup();
        broker.says("going on with the old file");
        broker.sh("true").refused(Status::AUDIT);
        taken.iter().for_each(|n| fs::remove_file(audit.join(format!("f{n}"))).expect("an own file"));
        broker.hup();
        broker.sh("true").exited(0).audited(["start", "exit"]);
    });
}

#[test]
fn a_file_system_that_turned_read_only_refuses_calls_until_there_is_another() {
    if !needs_loop_devices() {
        return;
    }
    apart(|| {
        let rules = format!("defaults:\n\n{SHELL}");
        let setup = Broker::new(&rules).arranged(|dir| {
            let (audit, image) = (dir.join("audit"), dir.join("image"));
            let (audit, image) = (audit.display(), image.display());
            sh(&format!("truncate -s 8M {image}; mkfs.ext4 -q {image}; mount -o loop {image} {audit}; chmod 0700 {audit}"));
        });
        let broker = setup.start();
        broker.sh("true").exited(0);
        let audit = broker.dir().join("audit");
        let audit = audit.display();
        // What ext4 does by itself when its disk fails.
        sh(&format!("mount -o remount,abort {audit}"));
        within(SOON, "calls are refused", || (broker.sh("true").reply == Status::AUDIT.into()).then_some(()));
        sh(&format!("umount -l {audit}; mount -t tmpfs -o mode=0700 none {audit}"));
        broker.sh("true").refused(Status::AUDIT);
        broker.hup();
        broker.sh("echo on").exited(0).printed("on\n").audited(["start", "exit"]);
    });
}

#[test]
fn what_is_mounted_over_the_manifest_refuses_calls_as_long_as_it_is() {
    if !needs_mounts() {
        return;
    }
    apart(|| {
        let broker = Broker::shell();
        broker.sh("true").exited(0);
        let manifest = broker.manifest_path();
        let other = broker.dir().join("other");
        fs::write(&other, "").expect("an own directory takes a file");
        sh(&format!("mount --bind {} {}", other.display(), manifest.display()));
        broker.sh("true").refused(Status::AUDIT);
        sh(&format!("umount {}", manifest.display()));
        broker.sh("true").exited(0).audited(["start", "exit"]);
    });
}

#[test]
fn a_link_put_in_the_place_of_a_directory_above_is_noticed_at_every_level() {
    let rules = format!("defaults:\n  logfile = @DIR@/a/b/manifest.jsonl\n\n{SHELL}");
    for level in ["a", "a/b", "a/b/manifest.jsonl"] {
        let setup = Broker::new(&rules).arranged(|dir| drop(dir.mkdir("theirs", 0o700)));
        let broker = setup.arranged(|dir| drop(dir.mkdir("a", 0o700))).start();
        broker.sh("true").exited(0);
        let (ours, aside) = (broker.dir().join(level), broker.dir().join("aside"));
        fs::rename(&ours, &aside).expect("an own name can change");
        symlink(broker.dir().join("theirs"), &ours).expect("an own directory takes a link");
        broker.sh("true").refused(Status::AUDIT);
        // A link that root made in root's directory is followed.
        if !is_root() || level.ends_with("jsonl") {
            broker.hup();
            broker.says("symbolic link");
            broker.sh("true").refused(Status::AUDIT);
            assert_eq!(fs::read_dir(broker.dir().join("theirs")).expect("it is there").count(), 0);
        }
        fs::remove_file(&ours).expect("an own link can be removed");
        fs::rename(&aside, &ours).expect("an own name can change");
        broker.sh("true").exited(0);
    }
}

#[test]
fn a_directory_that_others_can_write_by_now_is_told_with_a_reload() {
    let broker = Broker::shell();
    let audit = broker.dir().join("audit");
    let mode =
        |mode| fs::set_permissions(&audit, fs::Permissions::from_mode(mode)).expect("an own directory");
    mode(0o777);
    broker.hup();
    broker.says("can be written by others");
    mode(0o700);
    broker.hup();
    broker.sh("true").exited(0);
}
