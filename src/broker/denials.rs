//! The denials of confined commands, as the kernel's audit log has them. A thread receives the log's records
//! and keeps those of Landlock, in bounds; a call that failed takes its own. Only a broker that begins with
//! `CAP_AUDIT_READ` can receive them, so mostly there is no such thread. What the records mean is in
//! `confine/denial.rs`.

use std::collections::{HashMap, VecDeque};
use std::fs;
use std::io;
use std::os::fd::{AsRawFd, OwnedFd};
use std::path::Path;
use std::sync::{Arc, Condvar};
use std::thread;
use std::time::Instant;

use nix::errno::Errno;
use nix::sys::socket::{AddressFamily, MsgFlags, NetlinkAddr, SockFlag, SockProtocol, SockType};
use nix::sys::socket::{bind, recv, socket};

use crate::audit::DeniedAccesses;
use crate::confine::LandlockEvent;
use crate::limits::{AUDIT_RECORD_BYTES_MAX, CALL_STACK_BYTES, DENIALS_WAIT, DENIED_DOMAINS_MAX};
use crate::sys::{Locked, wait_change_for};

/// The group of those who read the audit log, `AUDIT_NLGRP_READLOG` of `linux/audit.h`, as a bit.
const READERS: u32 = 1;

/// Bytes of a message's header, `struct nlmsghdr` of `netlink(7)`.
const HEADER_BYTES: usize = 16;

/// The namespace in which processes have the numbers that the audit log names.
const FIRST_PIDS: &str = "pid:[4026531836]";

/// The kernel's audit log, open to be read.
#[derive(Debug)]
pub(super) struct AuditLog(OwnedFd);

impl AuditLog {
    /// Opens it, for which a process needs `CAP_AUDIT_READ`. `None` where this process may not read it, or
    /// where other numbers than those of the log name processes.
    pub(super) fn open() -> Option<Self> {
        if fs::read_link("/proc/self/ns/pid").ok()? != Path::new(FIRST_PIDS) {
            return None;
        }
        let flags = SockFlag::SOCK_CLOEXEC;
        let log = socket(AddressFamily::Netlink, SockType::Raw, flags, SockProtocol::NetlinkAudit).ok()?;
        bind(log.as_raw_fd(), &NetlinkAddr::new(0, READERS)).ok()?;
        Some(Self(log))
    }

    /// The next record of Landlock. Errors: those of `recv(2)` but `ENOBUFS`, after which records are
    /// missing.
    fn next(&self) -> nix::Result<LandlockEvent> {
        let mut message = [0; HEADER_BYTES + AUDIT_RECORD_BYTES_MAX];
        loop {
            let length = match recv(self.0.as_raw_fd(), &mut message, MsgFlags::empty()) {
                Ok(length) => length,
                Err(Errno::EINTR | Errno::ENOBUFS) => continue,
                Err(errno) => return Err(errno),
            };
            let Some((header, text)) = message[..length].split_at_checked(HEADER_BYTES) else { continue };
            let kind = u16::from_ne_bytes([header[4], header[5]]);
            if let Some(event) = LandlockEvent::read(kind, &String::from_utf8_lossy(text)) {
                return Ok(event);
            }
        }
    }
}

/// The denials that were seen, and the thread that sees them.
#[derive(Debug, Default)]
pub(super) struct DenialWatch {
    seen: Locked<SeenDomains>,
    changed: Condvar,
}

/// The latest domains, at most [`DENIED_DOMAINS_MAX`].
#[derive(Debug, Default)]
struct SeenDomains {
    domains: HashMap<u64, SeenDomain>,
    /// In the order of their first records.
    order: VecDeque<u64>,
}

#[derive(Debug)]
struct SeenDomain {
    since: Instant,
    process: Option<i32>,
    denied: DeniedAccesses,
    is_over: bool,
}

impl DenialWatch {
    /// Receives the log's records from now on, in a thread of its own.
    pub(super) fn begin(log: AuditLog) -> io::Result<Arc<Self>> {
        let watch = Arc::new(Self::default());
        let own = watch.clone();
        let receive = move || {
            while let Ok(event) = log.next() {
                own.seen.lock().note(event, Instant::now());
                own.changed.notify_all();
            }
        };
        thread::Builder::new().name("denials".into()).stack_size(CALL_STACK_BYTES).spawn(receive)?;
        Ok(watch)
    }

    /// The accesses that were denied to a command with this pid, which began at `since` and has ended, and to
    /// what it started. Waits for the log's records, at most [`DENIALS_WAIT`].
    pub(super) fn take(&self, process: i32, since: Instant) -> DeniedAccesses {
        let until = Instant::now() + DENIALS_WAIT;
        let mut seen = self.seen.lock();
        loop {
            let left = until.saturating_duration_since(Instant::now());
            let domain = seen.domain_of(process, since);
            if left.is_zero() || domain.is_some_and(|domain| seen.domains[&domain].is_over) {
                return domain.and_then(|domain| seen.remove(domain)).unwrap_or_default();
            }
            seen = wait_change_for(&self.changed, seen, left);
        }
    }
}

impl SeenDomains {
    fn note(&mut self, event: LandlockEvent, now: Instant) {
        match event {
            LandlockEvent::Denied(domain, access) => self.domain(domain, now).denied.add(access),
            LandlockEvent::Entered(domain, process) => self.domain(domain, now).process = Some(process),
            LandlockEvent::Ended(domain, denials) => {
                if let Some(known) = self.domains.get_mut(&domain) {
                    known.is_over = true;
                    known.denied.count_all(denials);
                }
            }
        }
    }

    fn domain(&mut self, domain: u64, now: Instant) -> &mut SeenDomain {
        if !self.domains.contains_key(&domain) {
            if self.order.len() >= DENIED_DOMAINS_MAX
                && let Some(oldest) = self.order.pop_front()
            {
                self.domains.remove(&oldest);
            }
            self.order.push_back(domain);
        }
        let new =
            || SeenDomain { since: now, process: None, denied: DeniedAccesses::default(), is_over: false };
        self.domains.entry(domain).or_insert_with(new)
    }

    /// The domain of a process. An earlier process may have had the same number.
    fn domain_of(&self, process: i32, since: Instant) -> Option<u64> {
        let is_its = |domain: &&u64| {
            self.domains.get(domain).is_some_and(|seen| seen.process == Some(process) && seen.since >= since)
        };
        self.order.iter().rev().find(is_its).copied()
    }

    fn remove(&mut self, domain: u64) -> Option<DeniedAccesses> {
        self.order.retain(|other| *other != domain);
        self.domains.remove(&domain).map(|seen| seen.denied)
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    fn denied(domain: u64, access: &str) -> LandlockEvent {
        LandlockEvent::Denied(domain, access.into())
    }

    #[test]
    fn a_call_takes_the_denials_of_its_own_domain_once() {
        let watch = DenialWatch::default();
        let began = Instant::now();
        let events = [
            denied(7, "fs.read_file /a"),
            LandlockEvent::Entered(7, 100),
            denied(8, "fs.read_file /b"),
            LandlockEvent::Entered(8, 200),
            denied(7, "fs.read_file /a"),
            denied(7, "fs.read_file /c"),
            LandlockEvent::Ended(7, 3),
        ];
        events.into_iter().for_each(|event| watch.seen.lock().note(event, Instant::now()));
        assert_eq!(watch.take(100, began).texts(), ["fs.read_file /a", "fs.read_file /c"]);
        assert!(watch.take(100, began).texts().is_empty());
        let later = Instant::now() + Duration::from_nanos(1);
        assert!(watch.take(200, later).texts().is_empty(), "an earlier process with this number");
        assert_eq!(watch.take(200, began).texts(), ["fs.read_file /b"]);
    }

    #[test]
    fn the_oldest_domains_make_room() {
        let mut seen = SeenDomains::default();
        let (now, most) = (Instant::now(), DENIED_DOMAINS_MAX as u64);
        (0..=most).for_each(|domain| seen.note(denied(domain, "x"), now));
        assert_eq!((seen.domains.len(), seen.order.len()), (DENIED_DOMAINS_MAX, DENIED_DOMAINS_MAX));
        assert!(!seen.domains.contains_key(&0) && seen.domains.contains_key(&most));
        seen.note(LandlockEvent::Ended(0, 1), now);
        assert_eq!(seen.domains.len(), DENIED_DOMAINS_MAX);
    }
}
