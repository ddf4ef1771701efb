//! The situations: a broker each, and what is to be around it.

use std::fmt::Write;
use std::io;
use std::os::fd::OwnedFd;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use super::{DEFAULTS, Method};
use crate::broker::Broker;
use crate::caller::{Caller, dial};
use crate::memory;

/// One kind of situation.
#[derive(Clone, Copy, Debug)]
pub struct Situation {
    /// What the table calls it.
    pub name: &'static str,
    /// In what sizes it is measured.
    pub sizes: [usize; 2],
    /// Callers at once.
    pub callers: usize,
    kind: Kind,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    Empty,
    Running,
    Silent,
    Sockets,
    Rules,
    /// So many reloads a minute, with this many rules.
    Reloads(usize),
}

/// Everything that is measured. Callers are one, but beside reloads, which are to be done under load.
pub const SITUATIONS: [Situation; 7] = [
    Situation { name: "nothing", sizes: [0, 0], callers: 1, kind: Kind::Empty },
    Situation { name: "running calls", sizes: [100, 1_000], callers: 1, kind: Kind::Running },
    Situation { name: "silent connections", sizes: [1_000, 10_000], callers: 1, kind: Kind::Silent },
    Situation { name: "sockets", sizes: [100, 1_000], callers: 1, kind: Kind::Sockets },
    Situation { name: "rules", sizes: [1_000, 10_000], callers: 1, kind: Kind::Rules },
    Situation { name: "reloads a minute", sizes: [10, 100], callers: 4, kind: Kind::Reloads(3) },
    Situation { name: "with 10,000 rules", sizes: [10, 100], callers: 4, kind: Kind::Reloads(10_000) },
];

/// How long a command of the crowd sleeps: longer than anything takes here.
const SLEEP_SECONDS: &str = "600";
/// How long a crowd may take to gather.
const GATHER_MAX: Duration = Duration::from_secs(60);
/// How long those who connect may find no room: the broker and the kernel's queue are full.
const STUCK: Duration = Duration::from_millis(300);

/// A broker, and what is around it.
pub(super) struct Scene {
    pub(super) broker: Broker,
    kind: Kind,
    crowd: Vec<OwnedFd>,
    helper: Option<Helper>,
}

impl Situation {
    /// The broker of the situation.
    pub(super) fn set(&self, method: &Method<'_>, size: usize) -> io::Result<Scene> {
        let Method { program, options, .. } = *method;
        let broker = match self.kind {
            Kind::Empty | Kind::Silent => Broker::start("scene", program, options, DEFAULTS),
            Kind::Running => {
                let defaults = format!("{DEFAULTS}  max_calls = {}\n", size + 16);
                Broker::start("scene", program, options, &defaults)
            }
            Kind::Sockets => {
                let defaults = format!("{DEFAULTS}  max_calls = 1\n");
                Broker::activated("scene", program, options, &defaults, size)
            }
            Kind::Rules => Broker::with_rules("scene", program, options, DEFAULTS, &rules(size)),
            Kind::Reloads(count) => Broker::with_rules("scene", program, options, DEFAULTS, &rules(count)),
        };
        Ok(Scene { broker: broker?, kind: self.kind, crowd: Vec::new(), helper: None })
    }
}

impl Scene {
    /// Lets in what is to be around the broker.
    pub(super) fn fill(&mut self, size: usize) -> io::Result<()> {
        match self.kind {
            Kind::Empty | Kind::Sockets | Kind::Rules => {}
            Kind::Running => self.crowd = running(&self.broker, size)?,
            Kind::Silent => self.helper = Some(Helper::silent(self.broker.socket(), size)),
            Kind::Reloads(_) => self.helper = Some(Helper::reloads(self.broker.pid(), size)?),
        }
        Ok(())
    }

    /// Nothing is done to the broker from here on; who is there stays.
    pub(super) fn rest(&mut self) {
        if let Kind::Reloads(_) = self.kind {
            self.helper = None;
        }
    }
}

impl Drop for Scene {
    /// Nobody signals a broker that is gone.
    fn drop(&mut self) {
        self.rest();
    }
}

/// Rules with a program of their own each, before those that are called.
fn rules(count: usize) -> String {
    let mut text = String::new();
    for number in 3..count {
        writeln!(text, "/opt/bin/p{number} run #n\n  n = [0-9]{{1,3}}\n").expect("a string takes any text");
    }
    text + "/bin/true\n\n/bin/false\n\n/bin/sleep 600"
}

fn running(broker: &Broker, size: usize) -> io::Result<Vec<OwnedFd>> {
    let caller = Caller::new(&broker.socket(), &["/bin/sleep", SLEEP_SECONDS])?;
    let crowd = (0..size).map(|_| caller.begin()).collect::<io::Result<Vec<_>>>()?;
    let end = Instant::now() + GATHER_MAX;
    while memory::of_broker(broker.pid())?.commands < size {
        if Instant::now() >= end {
            return Err(io::Error::other(format!("{size} calls do not all run")));
        }
        thread::sleep(Duration::from_millis(20));
    }
    Ok(crowd)
}

/// A thread that does something to the broker until it is dropped.
#[derive(Debug)]
struct Helper {
    over: Arc<AtomicBool>,
    thread: Option<JoinHandle<Vec<OwnedFd>>>,
}

impl Helper {
    /// Connects, and says nothing. Returns when all are connected, or nobody gets in any more.
    fn silent(socket: PathBuf, size: usize) -> Self {
        let (over, count) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicUsize::new(0)));
        let (told, counted) = (over.clone(), count.clone());
        let work = move || {
            let mut crowd = Vec::new();
            while crowd.len() < size && !told.load(Ordering::SeqCst) {
                crowd.extend(dial(&socket).ok());
                counted.store(crowd.len(), Ordering::SeqCst);
            }
            while !told.load(Ordering::SeqCst) {
                thread::park();
            }
            crowd
        };
        let helper = Self { over, thread: Some(thread::spawn(work)) };
        let (mut seen, mut since) = (0, Instant::now());
        while seen < size && since.elapsed() < STUCK {
            let now = count.load(Ordering::SeqCst);
            if now != seen {
                (seen, since) = (now, Instant::now());
            }
            thread::sleep(Duration::from_millis(1));
        }
        helper
    }

    fn reloads(pid: u32, a_minute: usize) -> io::Result<Self> {
        let pid = Pid::from_raw(i32::try_from(pid).map_err(io::Error::other)?);
        let pause = Duration::from_secs(60) / u32::try_from(a_minute).map_err(io::Error::other)?;
        let over = Arc::new(AtomicBool::new(false));
        let told = over.clone();
        let work = move || {
            while !told.load(Ordering::SeqCst) && kill(pid, Signal::SIGHUP).is_ok() {
                thread::park_timeout(pause);
            }
            Vec::new()
        };
        Ok(Self { over, thread: Some(thread::spawn(work)) })
    }
}

impl Drop for Helper {
    fn drop(&mut self) {
        self.over.store(true, Ordering::SeqCst);
        if let Some(thread) = self.thread.take() {
            thread.thread().unpark();
            drop(thread.join());
        }
    }
}
