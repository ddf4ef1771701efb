//! What the kernel denied a confined command is in the record of its end, where the broker may read the
//! kernel's audit log. These tests switch the log on, and off again afterwards.

use std::fs;
use std::os::fd::{AsRawFd as _, OwnedFd};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::{Mutex, MutexGuard, PoisonError};

use nix::sys::socket::{
    AddressFamily, MsgFlags, NetlinkAddr, SockFlag, SockProtocol, SockType, bind, recv, send, socket,
};

use crate::harness::{
    Broker, Ended, SOON, Setup, Status, needs_root, needs_user_namespaces, run, skip, sluice, sluice_bin,
    within,
};

/// Requests of `linux/audit.h`.
const AUDIT_GET: u16 = 1000;
const AUDIT_SET: u16 = 1001;

/// Bytes of a header of `netlink(7)`.
const HEADER: usize = 16;

/// One test at a time switches the log on and off.
static SWITCH: Mutex<()> = Mutex::new(());

/// The audit log, switched on until this is dropped.
struct AuditOn {
    log: OwnedFd,
    before: u32,
    _alone: MutexGuard<'static, ()>,
}

impl AuditOn {
    /// `None`, with the reason told, where this machine's log cannot be switched on.
    fn begin() -> Option<Self> {
        if !needs_root() {
            return None;
        }
        // Elsewhere a broker claims nothing: the log names processes by the numbers of the first namespace.
        if fs::read_link("/proc/self/ns/pid").ok().as_deref() != Some(Path::new("pid:[4026531836]")) {
            skip("the kernel's audit log names processes by other numbers in a container");
            return None;
        }
        let alone = SWITCH.lock().unwrap_or_else(PoisonError::into_inner);
        let flags = SockFlag::SOCK_CLOEXEC;
        let log = socket(AddressFamily::Netlink, SockType::Raw, flags, SockProtocol::NetlinkAudit).ok();
        let bound = |log: &OwnedFd| bind(log.as_raw_fd(), &NetlinkAddr::new(0, 0)).is_ok();
        let Some(log) = log.filter(bound) else {
            skip("the kernel has no audit log here: a kernel with CONFIG_AUDIT, outside of a container");
            return None;
        };
        let Some(before) = status(&log) else {
            skip("the kernel's audit log cannot be switched on in a container");
            return None;
        };
        let on = Self { log, before, _alone: alone };
        on.set(1);
        if status(&on.log) != Some(1) || landlock_abi() < 7 {
            skip("the kernel's audit log cannot be switched on, or knows nothing of Landlock (Linux 6.15)");
            return None;
        }
        Some(on)
    }

    fn set(&self, enabled: u32) {
        // A mask of what is set, `AUDIT_STATUS_ENABLED`, then the value.
        let mut status = [0; 44];
        status[0] = 1;
        status[4..8].copy_from_slice(&enabled.to_ne_bytes());
        ask(&self.log, AUDIT_SET, &status);
    }
}

impl Drop for AuditOn {
    fn drop(&mut self) {
        self.set(self.before);
    }
}

/// A journal of the test's own: journald in a mount namespace where nothing is below `/run` but its files.
struct OwnJournal(Child);

const JOURNALD: &str = "/lib/systemd/systemd-journald";

impl OwnJournal {
    fn begin() -> Option<Self> {
        if !Path::new(JOURNALD).exists() {
            skip("no systemd-journald: apt-get install systemd");
            return None;
        }
        let script = format!(
            "mount -t tmpfs none /run && mkdir -p /run/systemd/journal /run/log/journal && exec {JOURNALD}"
        );
        let words = ["-m", "--propagation", "private", "sh", "-c", &script];
        let journald = Command::new("unshare").args(words).stderr(Stdio::null()).spawn();
        let own = Self(journald.expect("util-linux is installed"));
        // The last thing that journald opens: it has switched the audit log off, or on, as it is told.
        let place = format!("/proc/{}/root/run/log/journal", own.0.id());
        let opened = || {
            let mut machines = fs::read_dir(&place).ok()?.flatten();
            machines.find(|machine| machine.path().join("system.journal").exists())
        };
        within(SOON, "journald's first file", opened);
        Some(own)
    }

    /// Runs `sluice` where this journal is the machine's.
    fn sluice(&self, words: &[&str]) -> Ended {
        let namespace = ["-t", &self.0.id().to_string(), "-m", "--"].map(str::to_owned);
        let program = sluice_bin().display().to_string();
        let words = words.iter().map(|&word| word.to_owned());
        run("nsenter".into(), namespace.into_iter().chain([program]).chain(words), &[])
    }
}

impl Drop for OwnJournal {
    fn drop(&mut self) {
        self.0.kill().expect("it runs until now");
        self.0.wait().expect("a child can be waited for");
    }
}

#[test]
fn the_journal_tells_what_a_broker_could_not_read() {
    if !needs_user_namespaces() {
        return;
    }
    let Some(on) = AuditOn::begin() else { return };
    let Some(journal) = OwnJournal::begin() else { return };
    on.set(1);
    let rules = "
        /bin/sh -c 'cat @DIR@/kept; exit 3'
          confine = system
          denials = log

        /bin/sh -c 'cat @DIR@/other; exit 3'
          confine = system
    ";
    let setup = Broker::new(rules).under(&["setpriv", "--bounding-set", "-audit_read", "--"]);
    let setup =
        setup.arranged(|dir| ["kept", "other"].into_iter().for_each(|name| drop(dir.write(name, "x"))));
    let broker = setup.start();
    let dir = broker.dir().display().to_string();
    let manifest = broker.manifest_path().display().to_string();
    let failed = |name: &str| {
        let answer = broker.call(["/bin/sh", "-c", &format!("cat {dir}/{name}; exit 3")]).exited(3);
        assert!(answer.record("exit").get("denied").is_null(), "this broker cannot read the log");
        answer.record("start").number("call").to_string()
    };
    let shown = |call: &str| journal.sluice(&["log", "--call", call, &manifest]).exited(0).stdout();
    let (silent, own) = (failed("other"), failed("kept"));
    let line = format!("fs.read_file {dir}/kept");
    let text =
        within(SOON, "the denial in the journal", || Some(shown(&own)).filter(|text| text.contains(&line)));
    assert!(text.contains("kernel (journal)\n  denied         "), "{text}");
    // The control: the earlier call's rule asks for no log of denials.
    let text = shown(&silent);
    assert!(!text.contains("kernel (journal)"), "{text}");
}

/// Sends a request and gives the first answer of its type, or that it was done.
fn ask(log: &OwnedFd, kind: u16, payload: &[u8]) -> Option<Vec<u8>> {
    let length = u32::try_from(HEADER + payload.len()).expect("it is short");
    let mut message = length.to_ne_bytes().to_vec();
    // A request that asks for an acknowledgement.
    message.extend([kind.to_ne_bytes(), 5_u16.to_ne_bytes()].concat());
    message.extend([1_u32.to_ne_bytes(), 0_u32.to_ne_bytes()].concat());
    message.extend(payload);
    send(log.as_raw_fd(), &message, MsgFlags::empty()).ok()?;
    loop {
        let mut answer = vec![0; 9000];
        let length = recv(log.as_raw_fd(), &mut answer, MsgFlags::empty()).ok()?;
        answer.truncate(length);
        let of = u16::from_ne_bytes([answer[4], answer[5]]);
        // `NLMSG_ERROR`, which is an acknowledgement when its number is 0.
        if of == 2 && (kind != AUDIT_GET || answer[HEADER..HEADER + 4] != [0; 4]) {
            return None;
        }
        if of == kind {
            return Some(answer.split_off(HEADER));
        }
    }
}

/// Whether the log is on.
fn status(log: &OwnedFd) -> Option<u32> {
    let status = ask(log, AUDIT_GET, &[])?;
    Some(u32::from_ne_bytes(status[4..8].try_into().expect("four bytes")))
}

fn landlock_abi() -> u32 {
    sluice::sys::confine::landlock_abi().unwrap_or_default()
}

fn gate(settings: &str) -> Setup {
    let rules = format!("/bin/sh -c #script\n  allow_any = script\n  stdin = null\n{settings}");
    Broker::new(&rules).arranged(|dir| drop(dir.write("kept", "not for this command\n")))
}

#[test]
fn the_record_of_a_failed_call_says_what_was_denied() {
    let Some(_on) = AuditOn::begin() else { return };
    let broker = gate("  confine = system\n  denials = log\n").start();
    let dir = broker.dir().display().to_string();
    let answer = broker.sh(&format!("cat {dir}/kept; echo x >{dir}/new; cat {dir}/kept; exit 3")).exited(3);
    let denied = answer.record("exit");
    let denied: Vec<_> = denied.get("denied").as_array().expect("they are told").clone();
    let has = |text: String| denied.iter().any(|entry| entry.as_str() == Some(&text));
    assert!(has(format!("fs.read_file {dir}/kept")) && has(format!("fs.make_reg {dir}")), "{denied:?}");
    let twice = denied.iter().filter(|entry| entry.as_str().is_some_and(|text| text.ends_with("/kept")));
    assert_eq!(twice.count(), 1, "{denied:?}");
    let call = answer.record("start").number("call").to_string();
    let shown = sluice(["log", "--call", &call, &broker.manifest_path().display().to_string()]).exited(0);
    shown.said(&["denied         fs.", &format!("fs.read_file {dir}/kept")]);
    // What came of one call is not told of the next one.
    let next = broker.sh("exit 4").exited(4).record("exit");
    let text = next.get("denied").to_string();
    assert!(!text.contains("kept"), "{text}");
}

#[test]
fn where_nothing_was_asked_or_denied_nothing_is_claimed() {
    let Some(_on) = AuditOn::begin() else { return };
    let script = |dir: &str| format!("cat {dir}/kept; exit 3");
    for settings in ["  confine = system\n", "  denials = log\n", "  confine = system\n  denials = off\n"] {
        let broker = gate(settings).start();
        let dir = broker.dir().display().to_string();
        let answer = broker.sh(&script(&dir)).exited(3);
        assert!(answer.record("exit").get("denied").is_null(), "{settings}");
        // The control: the confinement denies it, and nothing else does.
        assert_eq!(answer.text().is_empty(), settings.contains("confine"), "{settings}");
    }
    let broker = gate("  confine = system\n  denials = log\n").start();
    let dir = broker.dir().display().to_string();
    let answer = broker.sh(&format!("cat {dir}/kept; exit 0")).exited(0);
    assert!(answer.record("exit").get("denied").is_null(), "a command that did not fail");
    let hidden = gate("  confine = system\n  denials = log\n  log = exit-only\n").start();
    let dir = hidden.dir().display().to_string();
    let answer = hidden.sh(&script(&dir)).exited(3);
    assert!(answer.record("exit").get("denied").is_null(), "words that are kept out of records");
}

#[test]
fn each_of_several_calls_has_its_own_denials() {
    let Some(_on) = AuditOn::begin() else { return };
    let broker = gate("  confine = system\n  denials = log\n").start();
    let dir = broker.dir().display().to_string();
    let script = |name: &str| format!("read line; cat {dir}/{name}; exit 3");
    for name in ["a", "b", "c"] {
        std::fs::write(broker.dir().join(name), "x").expect("written");
    }
    let begin = |name| broker.request(&["/bin/sh", "-c", &script(name)]).begin();
    let running = ["a", "b", "c"].map(|name| (name, begin(name)));
    for (_, call) in running {
        call.wait().exited(3);
    }
    for name in ["a", "b", "c"] {
        let (others, own) = (["/a", "/b", "/c"], format!("fs.read_file {dir}/{name}"));
        let records = broker.records_of("exit");
        let of_it: Vec<_> =
            records.iter().filter(|record| record.get("denied").to_string().contains(&own)).collect();
        assert_eq!(of_it.len(), 1, "{records:?}");
        let text = of_it[0].get("denied").to_string();
        let foreign = others.iter().filter(|other| !own.ends_with(**other));
        assert!(foreign.clone().all(|other| !text.contains(&format!("{dir}{other}"))), "{text}");
    }
}

#[test]
fn a_broker_that_may_not_read_the_log_runs_the_call_all_the_same() {
    let broker = gate("  confine = system\n  denials = log\n").start();
    broker.sh("cat /nonexistent/file; exit 3").exited(3);
    broker.call(["/bin/nope"]).refused(Status::NO_RULE);
}
