//! Calls that cannot be confined as their profile says: on a kernel that lacks a part, or at a place that
//! cannot be used. They are refused, or run with what there is where the profile says so, and the record
//! tells.

use std::fs;
use std::os::unix::fs::symlink;

use serde_json::json;

use crate::denied::{ENOSYS, EPERM, denied};
use crate::harness::{Broker, SHELL, SOON, Status, is_root, needs_user_namespaces, sluice_bin, within};

/// The number of a system call, the same for every processor.
const LANDLOCK_CREATE_RULESET: &str = "444";
#[cfg(target_arch = "x86_64")]
const UNSHARE: &str = "272";
#[cfg(target_arch = "x86_64")]
const SECCOMP: &str = "317";

/// A shell that is confined so, in the directory `tree`.
fn confined(keys: &str) -> String {
    format!("{SHELL}  cwd = @DIR@/tree\n{keys}")
}

fn lacking(keys: &str, errno: &str, number: &str) -> Option<Broker> {
    let setup = denied(&confined(keys), errno, number)?;
    Some(setup.arranged(|dir| drop(dir.mkdir("tree", 0o700))).start())
}

fn in_tree(keys: &str) -> Broker {
    Broker::new(&confined(keys)).arranged(|dir| drop(dir.mkdir("tree", 0o700))).start()
}

#[track_caller]
fn check_refused(broker: &Broker, why: &str) {
    let refused = broker.sh("touch ran").refused(Status::SPAWN).audited(["reject reason=unconfined"]);
    let detail = refused.record("reject").get("detail").to_string();
    assert!(detail.contains(why), "{detail}");
    assert!(!broker.dir().join("tree/ran").exists());
}

#[test]
fn without_landlock_a_call_is_refused_or_degraded() {
    let Some(broker) = lacking("  confine = system\n", ENOSYS, LANDLOCK_CREATE_RULESET) else { return };
    check_refused(&broker, "files needs Landlock 1, and this kernel has none (Function not implemented)");
    let keys = "  confine = system\n  on_missing = degrade\n";
    let Some(broker) = lacking(keys, ENOSYS, LANDLOCK_CREATE_RULESET) else { return };
    let record = broker.sh("grep NoNewPrivs /proc/self/status").exited(0).printed("NoNewPrivs:\t1\n");
    let confinement = record.record("start").get("confinement").clone();
    let missing = json!(["files", "signals"]);
    assert_eq!((&confinement["missing"], confinement.get("landlock")), (&missing, None), "{confinement}");
}

#[test]
#[cfg(target_arch = "x86_64")]
fn without_namespaces_a_call_is_refused_or_degraded() {
    let Some(broker) = lacking("  confine = workspace\n", EPERM, UNSHARE) else { return };
    check_refused(&broker, "user namespaces, and they are not allowed here (Operation not permitted)");
    let Some(broker) = lacking("  confine = system\n", EPERM, UNSHARE) else { return };
    broker.sh("echo up").exited(0).printed("up\n");
    let keys = "  confine = workspace\n  on_missing = degrade\n";
    let Some(broker) = lacking(keys, EPERM, UNSHARE) else { return };
    let call =
        broker.sh("echo in > f; cat f; echo out > ../out || echo denied").exited(0).printed("in\ndenied\n");
    let confinement = call.record("start").get("confinement").clone();
    assert_eq!((&confinement["missing"], &confinement["mounts"]), (&json!(["mounts"]), &json!(false)));
}

#[test]
#[cfg(target_arch = "x86_64")]
fn without_filters_a_call_is_refused_or_degraded() {
    let Some(broker) = lacking("  confine = system\n", ENOSYS, SECCOMP) else { return };
    check_refused(&broker, "syscalls needs system call filters (seccomp)");
    let keys = "  confine = system\n  on_missing = degrade\n";
    let Some(broker) = lacking(keys, ENOSYS, SECCOMP) else { return };
    let call = broker.sh("echo out > ../out || echo denied").exited(0).printed("denied\n");
    let confinement = call.record("start").get("confinement").clone();
    assert_eq!((&confinement["missing"], &confinement["seccomp"]), (&json!(["syscalls"]), &json!(false)));
}

#[test]
fn a_place_that_is_a_link_or_absent_is_no_place() {
    if !is_root() && !needs_user_namespaces() {
        return;
    }
    let broker = in_tree("  confine = workspace\n  read = @DIR@/more\n");
    check_refused(&broker, "more: No such file or directory");
    let more = broker.dir().join("more");
    fs::create_dir(&more).expect("a directory");
    broker.sh("echo up").exited(0).printed("up\n");
    fs::remove_dir(&more).expect("its own");
    if !is_root() {
        symlink("/", &more).expect("a link");
        check_refused(&broker, "more is a link, which whoever owns it can turn");
    }
    let optional = in_tree("  confine = workspace\n  read = -@DIR@/absent\n");
    optional.sh("echo up").exited(0).printed("up\n");
}

/// A caller who can rename such a place would be rid of it.
#[test]
fn a_place_to_hide_or_to_protect_that_is_gone_refuses_the_call() {
    if !is_root() && !needs_user_namespaces() {
        return;
    }
    for key in ["hide", "protect"] {
        let broker = in_tree(&format!("  confine = workspace\n  {key} = kept\n"));
        let kept = broker.dir().join("tree/kept");
        fs::create_dir(&kept).expect("a directory");
        broker.sh("echo x > kept/f && echo written").printed("");
        fs::rename(&kept, broker.dir().join("tree/other")).expect("moved");
        check_refused(&broker, "kept: No such file or directory");
        let optional = in_tree(&format!("  confine = workspace\n  {key} = -kept\n"));
        optional.sh("echo up").exited(0).printed("up\n");
    }
}

/// As with a `~/.gitconfig` that leads into a repository of such files.
#[test]
fn a_link_to_a_place_that_may_be_absent_is_as_good_as_absent() {
    if !is_root() && !needs_user_namespaces() {
        return;
    }
    let keys = "  confine = workspace\n  read = -@DIR@/linked\n";
    let arrange = |keys: &str| {
        let setup = Broker::new(&confined(keys)).arranged(|dir| {
            dir.mkdir("tree", 0o700);
            dir.write("target", "outside\n");
            dir.write("tree/secret", "hidden\n");
            symlink("target", dir.join("linked")).expect("a link");
            symlink("secret", dir.join("tree/link")).expect("a link");
        });
        setup.start()
    };
    let broker = arrange(keys);
    let seen = if is_root() { "outside\n" } else { "" };
    broker.sh("cat ../target 2>/dev/null; cat secret").exited(0).printed(&format!("{seen}hidden\n"));
    let hiding = arrange(&format!("{keys}  hide = -link\n"));
    hiding.sh("cat secret; cat link").exited(0).printed("");
}

/// The confinement is made anew: it is not the old directory that can be written.
#[test]
fn a_directory_that_is_replaced_is_confined_like_the_first() {
    if !is_root() && !needs_user_namespaces() {
        return;
    }
    let broker = in_tree("  confine = workspace\n");
    broker.sh("echo 1 > f").exited(0);
    let tree = broker.dir().join("tree");
    for round in 2..5 {
        fs::rename(&tree, broker.dir().join(format!("old{round}"))).expect("moved");
        fs::create_dir(&tree).expect("another");
        broker
            .sh(&format!("echo {round} > f; cat f; echo x > ../old{round}/f || true"))
            .exited(0)
            .printed(&format!("{round}\n"));
        let old = fs::read_to_string(broker.dir().join(format!("old{round}/f"))).expect("there");
        assert_eq!(old, format!("{}\n", round - 1));
    }
    // A place that may be absent counts from the next call on once it is there.
    let optional = in_tree("  confine = workspace\n  read = -@DIR@/more\n");
    optional.sh("cat ../more/f || echo none").exited(0).printed("none\n");
    fs::create_dir(optional.dir().join("more")).expect("a directory");
    fs::write(optional.dir().join("more/f"), "there\n").expect("a file");
    optional.sh("cat ../more/f || echo none").exited(0).printed("there\n");
}

/// More calls than one ruleset is used for, several at a time.
#[test]
fn many_calls_have_their_own_temporary_files() {
    if !is_root() && !needs_user_namespaces() {
        return;
    }
    let broker = in_tree("  confine = workspace\n");
    std::thread::scope(|scope| {
        for caller in 0..4 {
            let broker = &broker;
            scope.spawn(move || {
                for round in 0..50 {
                    let script = format!(
                        "test -e /tmp/f; echo $?; echo {caller} > /tmp/f; cat /tmp/f /var/tmp/f; : {round}"
                    );
                    let seen = format!("1\n{caller}\n{caller}\n");
                    broker.sh(&script).exited(0).printed(&seen);
                }
            });
        }
    });
}

#[test]
fn a_confined_command_ends_with_its_broker_and_keeps_its_descriptors() {
    if !is_root() && !needs_user_namespaces() {
        return;
    }
    let keys = "  confine = workspace\n";
    let mut broker = in_tree(keys);
    broker.sh("ls /proc/self/fd | tr '\\n' ' '").exited(0).printed("0 1 2 3 ");
    let mut running = broker.begin_sh("echo $$; exec sleep 60");
    let command = running.pid();
    drop(running.stay());
    broker.kill();
    within(SOON, "the end of the command", || (!command.runs()).then_some(()));
}

/// With a process above the command, which reaps for it.
#[test]
fn a_command_with_a_reaper_is_confined_alike() {
    if !is_root() && !needs_user_namespaces() {
        return;
    }
    let broker = in_tree("  confine = workspace\n  background = keep\n");
    let script = "echo in > f; cat f; echo out > ../out; grep NoNewPrivs /proc/self/status";
    broker.sh(script).exited(0).printed("in\nNoNewPrivs:\t1\n");
    assert!(!broker.dir().join("out").exists(), "its parent directory is its own");
}

/// Files that slots open keep the view: a protected one cannot be written through its descriptor.
#[test]
fn a_descriptor_of_a_slot_is_confined_too() {
    if !is_root() && !needs_user_namespaces() {
        return;
    }
    let rules = "/bin/sh -c #script -- #path\n  allow_any = script\n  path = in @DIR@/tree as fd\n  cwd = @DIR@/tree\n  \
                 confine = workspace\n  protect = kept\n";
    let broker = Broker::new(rules)
        .arranged(|dir| {
            dir.mkdir("tree", 0o700);
            dir.write("tree/kept", "old\n");
            dir.write("tree/free", "old\n");
        })
        .start();
    let script = "echo new > \"$1\"; cat \"$1\"";
    broker.call(["/bin/sh", "-c", script, "--", "free"]).exited(0).printed("new\n");
    broker.call(["/bin/sh", "-c", script, "--", "kept"]).exited(0).printed("old\n");
}

/// Checks what `explain` says of a command line of the shell, and its exit code.
#[track_caller]
fn explains(broker: &Broker, options: &[&str], script: &str, code: i32) -> String {
    let mut command = std::process::Command::new(sluice_bin());
    command.arg("explain").args(options).arg(broker.dir().join("it.rules")).args(["/bin/sh", "-c", script]);
    let said = command.output().expect("it runs");
    let text = String::from_utf8(said.stdout).expect("text");
    assert_eq!(said.status.code(), Some(code), "{text}");
    text
}

#[test]
fn explain_says_what_a_call_may_do_and_runs_nothing() {
    if !is_root() && !needs_user_namespaces() {
        return;
    }
    let broker = in_tree("  confine = workspace\n  setenv = A=b\n  read = -@DIR@/absent\n");
    let tree = broker.dir().join("tree");
    let text = explains(&broker, &[], "touch ran", 0);
    for part in ["  runs /bin/sh\n", " A=b", "  confined by Landlock ", &format!("{}\n", tree.display())] {
        assert!(text.contains(part), "{part:?} is not in {text}");
    }
    let json: serde_json::Value =
        serde_json::from_str(&explains(&broker, &["--json"], "touch ran", 0)).expect("one value");
    let confinement = &json["confinement"];
    assert_eq!(json["argv"], json!(["/bin/sh", "-c", "touch ran"]));
    assert_eq!((&confinement["profile"], &confinement["seccomp"]), (&json!("workspace"), &json!(true)));
    let granted = json!({"read": true, "write": true, "exec": true, "socket": false});
    assert_eq!(confinement["places"][tree.to_str().expect("plain")], granted, "{confinement}");
    let absent = confinement["absent"].as_array().expect("a list");
    assert!(absent.contains(&json!(broker.dir().join("absent"))), "{confinement}");
    assert!(!tree.join("ran").exists());
    let missing = in_tree("  confine = workspace\n  read = @DIR@/absent\n");
    let refused = explains(&missing, &[], "touch ran", 1);
    assert!(refused.contains("  refused: ") && refused.contains("absent: No such file"), "{refused}");
}
