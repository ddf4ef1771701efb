//! The process that is to become a command, where it does not: it stands still, or is ended before it is the
//! command. The caller is told that no process could be had, and nothing looks like an end of the command's.

use std::time::Duration;

use nix::sys::signal::Signal;

use crate::closing::Lingering;
use crate::harness::{Broker, Reply, SHELL, SOON, Status, Traced, frame, within};

/// One rule for each way to a command: directly, below a reaper, with a relay.
const WAYS: &str = "/bin/echo plain

/bin/echo kept
  background = keep

/bin/echo captured
  stdoutfile = @DIR@/audit/c#$call.out

/bin/echo hidden
  background = keep
  tty = hide
";

const NAMES: [&str; 4] = ["plain", "kept", "captured", "hidden"];

/// Stops the processes below the broker, also those that were being made.
fn stop_children(broker: &Broker) {
    within(SOON, "every process below the broker is stopped", || {
        let running: Vec<_> = broker.pid().children().into_iter().filter(|pid| !pid.is_stopped()).collect();
        running.iter().for_each(|child| child.signal(Signal::SIGSTOP));
        running.is_empty().then_some(())
    });
}

#[test]
fn processes_that_stand_still_are_no_fault_of_the_callers_descriptors() {
    let broker = Broker::new(WAYS).start();
    let (launchers, nursery) = (NAMES.len(), 1);
    within(SOON, "a launcher for each call", || {
        (broker.pid().children().len() >= launchers + nursery).then_some(())
    });
    stop_children(&broker);
    let calls: Vec<_> = NAMES.iter().map(|name| broker.request(&["/bin/echo", name]).begin()).collect();
    for call in calls {
        let answer = call.wait().refused(Status::SPAWN).took(Duration::from_secs(5), Duration::from_secs(30));
        answer.printed("");
    }
    let refused = broker.records_of("reject");
    assert_eq!(refused.len(), NAMES.len());
    for reject in refused {
        let want = "the process for the command did not answer within 5 s";
        assert!(reject.is("reject reason=no_launcher") && reject.text("detail") == want, "{reject}");
    }
    broker.pid().children().into_iter().for_each(|child| child.signal(Signal::SIGCONT));
    for name in NAMES {
        broker.call(["/bin/echo", name]).exited(0).printed(&format!("{name}\n"));
    }
}

#[test]
fn descriptors_that_keep_a_process_are_the_callers_fault() {
    let broker = Broker::new(WAYS).start();
    let mut lingering = Lingering::new();
    for name in NAMES {
        let connection = broker.connect();
        // More than are taken in: the kernel closes the others before it gives the message.
        lingering.send(&connection, &frame(&["/bin/echo", name]), 12);
        assert_eq!(connection.reply(), Reply::Status(Status::FDS), "{name}");
    }
}

#[test]
fn a_command_that_is_killed_before_it_is_one_did_not_start() {
    let rules = format!("{SHELL}\n{}  background = keep\n", SHELL.replace("/bin/sh", "/bin/bash"));
    let broker = Broker::new(&rules).start();
    let Some(killing) = Traced::commands_killed(&broker, "execve") else { return };
    for shell in ["/bin/sh", "/bin/bash"] {
        broker
            .call([shell, "-c", "echo up"])
            .refused(Status::SPAWN)
            .printed("")
            .audited(["start", "exit status=-4 step=exec errno=EINTR !signal"]);
    }
    killing.end();
    for shell in ["/bin/sh", "/bin/bash"] {
        broker.call([shell, "-c", "kill -9 $$"]).died_of(Signal::SIGKILL).audited(["start", "exit signal=9"]);
    }
}
