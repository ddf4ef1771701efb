//! What moves a caller's bytes is a process for that call alone: others see it where they would have seen the broker, it
//! holds nothing that is not its call's, and its end is no more than the end of its call.

use std::fs;
use std::io::IoSliceMut;
use std::os::fd::AsRawFd as _;
use std::path::PathBuf;
use std::time::Duration;

use nix::cmsg_space;
use nix::sys::signal::Signal;
use nix::sys::socket::sockopt::PassCred;
use nix::sys::socket::{
    AddressFamily, ControlMessageOwned, MsgFlags, SockFlag, SockType, UnixCredentials, recvmsg, setsockopt,
    socketpair,
};

use crate::captures::{capturing, held};
use crate::harness::{Broker, Pid, SOON, Status, is_root, skip, within};

/// The relays of a broker's running calls.
fn relays(broker: &Broker) -> Vec<Pid> {
    let is_relay = |pid: &Pid| {
        fs::read_to_string(format!("/proc/{}/comm", pid.0)).is_ok_and(|name| name == "sluice-relay\n")
    };
    broker.pid().children().into_iter().filter(is_relay).collect()
}

/// The one relay that there is.
#[track_caller]
fn relay(broker: &Broker) -> Pid {
    let found = relays(broker);
    assert_eq!(found.len(), 1, "{found:?}");
    found[0]
}

#[test]
fn a_socket_hears_the_relay_and_not_the_broker() {
    let broker = capturing("").start();
    let (near, far) =
        socketpair(AddressFamily::Unix, SockType::Datagram, None, SockFlag::SOCK_CLOEXEC).expect("a pair");
    setsockopt(&near, PassCred, &true).expect("credentials on");
    let call = broker.request(&["/bin/sh", "-c", "echo WATCHDOG=trigger; read go"]).given(1, far);
    let mut call = call.stdin_open().begin();
    let (mut bytes, mut control) = ([0; 100], cmsg_space!(UnixCredentials));
    let mut parts = [IoSliceMut::new(&mut bytes)];
    let message = recvmsg::<()>(near.as_raw_fd(), &mut parts, Some(&mut control), MsgFlags::empty());
    let message = message.expect("a message");
    let sender = message.cmsgs().expect("whole").find_map(|item| {
        let ControlMessageOwned::ScmCredentials(sender) = item else { return None };
        Some(Pid(sender.pid()))
    });
    let relay = relay(&broker);
    assert_eq!((message.bytes, sender), (17, Some(relay)));
    assert_ne!(relay, broker.pid());
    call.write(b"go\n");
    call.wait().exited(0);
    within(SOON, "the relay is gone", || (!relay.runs()).then_some(()));
}

#[test]
fn a_relay_holds_its_call_and_nothing_else() {
    if !is_root() {
        return skip("needs root, to look at the descriptors of a process that hides them");
    }
    let broker = capturing("").start();
    let mut call = broker.request(&["/bin/sh", "-c", "echo up; exec cat"]).stdin_open().begin();
    assert_eq!(call.line(), "up");
    let links = fs::read_dir(format!("/proc/{}/fd", relay(&broker).0)).expect("root may look");
    let links: Vec<PathBuf> = links.flatten().filter_map(|link| fs::read_link(link.path()).ok()).collect();
    let count = |part: &str| links.iter().filter(|link| link.to_string_lossy().starts_with(part)).count();
    let captures = broker.dir().join("audit/calls");
    // Its own stdio, a channel to the broker, and of each stream two ends and a capture.
    let kinds = [count("/dev/null"), count("socket:"), count("pipe:"), count(&captures.to_string_lossy())];
    assert_eq!((kinds, links.len()), ([3, 1, 6, 3], 13), "{links:?}");
    call.close_stdin();
    call.wait().exited(0);
}

#[test]
fn what_is_sent_to_all_of_a_call_does_not_end_its_relay() {
    let broker = capturing("").start();
    let mut call = broker.request(&["/bin/sh", "-c", "echo up; exec cat"]).stdin_open().begin();
    assert_eq!(call.line(), "up");
    let relay = relay(&broker);
    let ending = [Signal::SIGHUP, Signal::SIGINT, Signal::SIGQUIT, Signal::SIGTERM, Signal::SIGPIPE];
    for signal in ending.into_iter().chain([Signal::SIGTSTP, Signal::SIGUSR1, Signal::SIGALRM]) {
        relay.signal(signal);
    }
    call.write(b"still there\n");
    assert_eq!(call.line(), "still there");
    call.close_stdin();
    call.wait().exited(0).audited(["start", "exit status=0 stdout_bytes=15 !truncated !drain_timeout"]);
}

#[test]
fn a_relay_that_is_killed_ends_its_call_and_what_was_captured_is_on_record() {
    for audit in ["audit = strict", "audit = best-effort"] {
        let broker = capturing(audit).start();
        let mut call = broker.begin_sh("echo up; exec sleep 60");
        assert_eq!(call.line(), "up");
        relay(&broker).signal(Signal::SIGKILL);
        let answer = call.wait().refused(Status::AUDIT).took(Duration::ZERO, Duration::from_secs(2));
        let answer =
            answer.audited(["start", "exit status=-6 stdout_bytes=3 truncated=true drain_timeout=true"]);
        assert_eq!(held(&answer.record("start"), "stdout"), b"up\n");
        broker.sh("echo next").exited(0).printed("next\n");
    }
}

#[test]
fn a_relay_that_is_stopped_is_killed_when_its_call_ends() {
    let broker = capturing("timeout = 1s").start();
    let mut call = broker.request(&["/bin/sh", "-c", "echo up; exec cat"]).stdin_open().begin();
    assert_eq!(call.line(), "up");
    let relay = relay(&broker);
    relay.signal(Signal::SIGSTOP);
    call.write(b"never seen\n");
    let answer = call.wait().refused(Status::TIMEOUT).took(Duration::from_secs(1), Duration::from_secs(6));
    answer.audited(["start", "exit timed_out=true stdout_bytes=3 truncated=true drain_timeout=true"]);
    within(SOON, "the relay is gone", || (!relay.runs()).then_some(()));
}

#[test]
fn a_broker_that_is_killed_leaves_no_relay_and_the_next_one_counts_what_was_captured() {
    let mut broker = capturing("").start();
    let mut call = broker.begin_sh("echo up; exec sleep 60");
    assert_eq!(call.line(), "up");
    let relay = relay(&broker);
    broker.kill();
    within(SOON, "the relay is gone", || (!relay.runs()).then_some(()));
    broker.start_again();
    broker.record("lost call=1 stdout_bytes=3");
}

#[test]
fn a_call_leaves_no_relay() {
    let broker = capturing("").start();
    broker.sh("echo a").exited(0);
    broker.sh("exec 9>&1; exit 3").exited(3);
    let mut gone = broker.begin_sh("echo up; exec sleep 60");
    assert_eq!(gone.line(), "up");
    gone.hang_up();
    broker.record("exit hangup=true");
    within(SOON, "the relays are gone", || relays(&broker).is_empty().then_some(()));
    // Nor a process that nobody reaped.
    let children = fs::read_dir("/proc").expect("/proc").flatten();
    let pids = children.filter_map(|entry| entry.file_name().to_str()?.parse().ok()).map(Pid);
    let own: Vec<_> = pids.filter(|pid| pid.parent() == Some(broker.pid()) && !pid.runs()).collect();
    within(SOON, "nobody is left unreaped", || {
        own.iter().all(|pid| pid.parent() != Some(broker.pid())).then_some(())
    });
}

#[test]
fn without_captures_or_hidden_terminals_there_is_no_relay() {
    let broker = Broker::shell();
    let mut call = broker.begin_sh("echo up; read go");
    assert_eq!(call.line(), "up");
    assert_eq!(relays(&broker), []);
    call.close_stdin();
    call.wait();
}
