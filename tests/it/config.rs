//! Rules files: who may write them, and what a reload makes of them. What is wrong with their text is in
//! `diagnostics.rs`.

use std::fs;
use std::os::unix::fs::symlink;

use crate::harness::{Broker, Setup, Status, few_in_flight, needs_root};

fn echo() -> Setup {
    Broker::new("/bin/echo a\n")
}

// Trust.

#[test]
fn rules_that_others_can_write_are_refused() {
    for mode in [0o666, 0o620, 0o602, 0o622] {
        echo().mode("it.rules", mode).start_fails().said(&["it.rules"]);
    }
}

#[test]
fn rules_that_others_can_only_read_are_fine() {
    echo().mode("it.rules", 0o444).start().call(["/bin/echo", "a"]).exited(0);
}

#[test]
fn rules_in_a_directory_that_others_can_write_are_refused() {
    for mode in [0o777, 0o770, 0o703] {
        echo().mode(".", mode).start_fails().said(&["writ"]);
    }
}

#[test]
fn an_included_file_that_others_can_write_is_refused() {
    let setup = Broker::new("include more.rules\n").file("more.rules", "/bin/echo a\n");
    setup.mode("more.rules", 0o666).start_fails().said(&["more.rules"]);
}

#[test]
fn an_included_file_in_a_directory_that_others_can_write_is_refused() {
    let setup = Broker::new("include open/more.rules\n").arranged(|dir| {
        dir.mkdir("open", 0o777);
        dir.write("open/more.rules", "/bin/echo a\n");
    });
    setup.start_fails().said(&["open"]);
}

#[test]
fn rules_of_another_uid_are_refused() {
    if !needs_root() {
        return;
    }
    let given = echo().arranged(|dir| {
        let nobody = Some(nix::unistd::Uid::from_raw(65534));
        nix::unistd::chown(&dir.join("it.rules"), nobody, None).expect("root may give files away");
    });
    given.start_fails().said(&["it.rules"]);
}

#[test]
fn rules_behind_a_symlink_of_ones_own_are_served_if_all_of_the_way_is_trusted() {
    let linked = |mode| {
        echo().arranged(move |dir| {
            dir.mkdir("dots", mode);
            fs::rename(dir.join("it.rules"), dir.join("dots/real.rules"))
                .expect("an own file can be renamed");
            symlink("dots/real.rules", dir.join("it.rules")).expect("an own directory takes a link");
        })
    };
    linked(0o700).start().call(["/bin/echo", "a"]);
    linked(0o777).start_fails().said(&["dots", "can be written by others"]);
}

#[test]
fn rules_behind_a_link_to_what_others_can_write_are_refused() {
    let setup = Broker::new("include linked/more.rules\n").arranged(|dir| {
        dir.mkdir("real", 0o777);
        dir.write("real/more.rules", "/bin/echo a\n");
        symlink("real", dir.join("linked")).expect("an own directory takes a link");
    });
    setup.start_fails().said(&["real"]);
}

#[test]
fn what_is_no_plain_file_is_no_rules_file() {
    let directory = echo().arranged(|dir| {
        fs::remove_file(dir.join("it.rules")).expect("an own file can be removed");
        dir.mkdir("it.rules", 0o700);
    });
    directory.start_fails().said(&["it.rules"]);
    let missing =
        echo().arranged(|dir| fs::remove_file(dir.join("it.rules")).expect("an own file can be removed"));
    missing.start_fails().said(&["it.rules"]);
    let fifo = echo().arranged(|dir| {
        fs::remove_file(dir.join("it.rules")).expect("an own file can be removed");
        let mode = nix::sys::stat::Mode::S_IRUSR | nix::sys::stat::Mode::S_IWUSR;
        nix::unistd::mkfifo(&dir.join("it.rules"), mode).expect("a fifo can be made");
    });
    fifo.start_fails().said(&["it.rules"]);
}

#[test]
fn a_socket_directory_that_others_can_write_is_refused_unless_best_effort() {
    let socket = |audit: &str| {
        let text = format!("defaults:\n  audit = {audit}\n\n/bin/echo a\n");
        let setup = Broker::new(&text).arranged(|dir| drop(dir.mkdir("open", 0o777)));
        setup.socket_at("open/s.sock")
    };
    socket("strict").start_fails().said(&["open"]);
    let broker = socket("best-effort").start();
    broker.call(["/bin/echo", "a"]).exited(0);
    broker.says("open");
}

#[test]
fn a_limit_that_cannot_hold_every_call_is_refused() {
    let _few = few_in_flight();
    let (failed, setup) = echo().under(&["prlimit", "--nofile=256:256", "--"]).start_fails_here();
    failed.said(&["descriptors", "the limit is 256", "LimitNOFILE=", "max_calls"]);
    assert!(
        !setup.dir().join("audit/manifest.jsonl").exists(),
        "nothing is on record of a broker that did not start"
    );
    let few = Broker::new("defaults:\n  max_calls = 4\n\n/bin/echo a\n");
    few.under(&["prlimit", "--nofile=256:256", "--"]).start().call(["/bin/echo", "a"]).exited(0);
}

#[test]
fn a_socket_without_scopes_needs_no_descriptors_for_parked_ones() {
    let _few = few_in_flight();
    let one =
        |scope: &str| Broker::new(&format!("defaults:\n  max_calls = 1\n  scope = {scope}\n\n/bin/echo a\n"));
    let under = ["prlimit", "--nofile=120:120", "--"];
    one("auto").under(&under).start_fails().said(&["descriptors"]);
    one("off").under(&under).start().call(["/bin/echo", "a"]).exited(0);
}

#[test]
fn the_longest_timeout_is_no_short_one() {
    let broker = Broker::new("/bin/sleep 0.3\n  timeout = 87840h\n").start();
    broker.call(["/bin/sleep", "0.3"]).exited(0).audited(["start", "exit status=0 !timed_out"]);
}

// Reloads.

#[test]
fn a_reload_brings_new_rules() {
    let mut broker = echo().start();
    assert!(broker.reload("/bin/echo b\n").contains("reloaded"));
    broker.call(["/bin/echo", "a"]).refused(Status::NO_RULE);
    broker.call(["/bin/echo", "b"]).exited(0);
}

#[track_caller]
fn keeps_the_old_rules(broken: &str, part: &str) {
    let mut broker = echo().start();
    let said = broker.reload(broken);
    assert!(said.contains("sluice: reload failed, the old rules stay"), "{said}{}", broker.transcript(0));
    broker.says(part);
    broker.call(["/bin/echo", "a"]).exited(0);
    broker.call(["/bin/echo", "safe"]).refused(Status::NO_RULE);
    broker.record("reload ok=false error");
    assert!(broker.reload("/bin/echo safe only\n").contains("reloaded"));
    broker.call(["/bin/echo", "safe", "only"]).exited(0);
}

#[test]
fn a_half_written_file_keeps_the_old_rules() {
    keeps_the_old_rules("/bin/echo a\n\n/bin/echo safe", "newline");
}

#[test]
fn a_file_with_an_error_keeps_the_old_rules() {
    keeps_the_old_rules("/bin/echo safe\n\n/bin/echo #x\n", "it.rules:6:");
}

#[test]
fn a_manifest_that_cannot_be_opened_keeps_the_old_rules() {
    let rules = "defaults:\n  logfile = @DIR@/it.rules/manifest.jsonl\n\n/bin/echo safe\n";
    keeps_the_old_rules(rules, "error: logfile: ");
    let mut broker = echo().start();
    broker.reload(rules);
    broker.says("reload failed, the old rules stay");
    let place = format!("records stay in {}", broker.manifest_path().display());
    assert!(broker.record("reload ok=false").text("error").ends_with(&place));
}

#[test]
fn an_empty_file_keeps_the_old_rules() {
    let broker = echo().start();
    fs::write(broker.rules_path(), "").expect("an own file can be written");
    assert!(broker.hup().contains("failed"));
    broker.call(["/bin/echo", "a"]).exited(0);
}

#[test]
fn a_file_that_others_can_write_by_now_keeps_the_old_rules() {
    let broker = echo().start();
    let text = broker.rules().replace("echo a", "echo safe");
    fs::write(broker.rules_path(), text).expect("an own file can be written");
    fs::set_permissions(broker.rules_path(), std::os::unix::fs::PermissionsExt::from_mode(0o666))
        .expect("own file");
    assert!(broker.hup().contains("failed"));
    broker.call(["/bin/echo", "a"]).exited(0);
    broker.call(["/bin/echo", "safe"]).refused(Status::NO_RULE);
}

#[test]
fn a_file_that_is_gone_keeps_the_old_rules() {
    let broker = echo().start();
    fs::remove_file(broker.rules_path()).expect("an own file can be removed");
    assert!(broker.hup().contains("failed"));
    broker.call(["/bin/echo", "a"]).exited(0);
}
