//! Launchers in groups (cgroups) below a cgroup that is delegated to the broker. The kernel makes a launcher
//! inside its group, so that no process is ever moved, and no manager is asked. A call takes a launcher that
//! is parked for its socket, or has one made. A thread of its own, `groups`, does the work that no call
//! should wait for: it parks launchers, dismisses surplus ones, and removes the groups of calls that are
//! over.

use std::collections::HashMap;
use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{self, Receiver, RecvTimeoutError, Sender};
use std::thread;
use std::time::Instant;

use crate::cgroup::{Cgroup, limit};
use crate::ids::SocketName;
use crate::limits::{GROUP_ROUND, NURSERY_WAIT};
use crate::rules::Resource;
use crate::sd::{CallsCgroup, Delegation};
use crate::spawn::process::launcher::{Launcher, dismiss};
use crate::spawn::process::pool::{LauncherPool, OrderedLauncher};
use crate::spawn::reap::reaper::Reaper;
use crate::sys::Locked;

use super::scope::{CallScope, GroupTask};
use super::warm::{KeepPolicy, WarmSet};

/// Launchers in groups.
#[derive(Debug)]
pub(super) struct DelegatedGroups {
    shared: Arc<SharedGroups>,
    tasks: Sender<GroupTask>,
}

/// The state that calls and the groups thread share.
#[derive(Debug)]
struct SharedGroups {
    delegation: Delegation,
    pool: Arc<LauncherPool>,
    number: AtomicU64,
    groups: Locked<HashMap<SocketName, SocketGroups>>,
}

/// One socket's cgroup for its calls, and the launchers parked for it.
#[derive(Debug)]
struct SocketGroups {
    calls: Arc<CallsCgroup>,
    warm: WarmSet<OrderedLauncher>,
}

impl DelegatedGroups {
    /// Groups below the delegated cgroup, for launchers of `pool`.
    pub(in crate::spawn) fn new(
        delegation: Delegation,
        pool: Arc<LauncherPool>,
        reaper: Arc<Reaper>,
    ) -> io::Result<Self> {
        let (tasks, received) = mpsc::channel();
        let (number, groups) = (AtomicU64::new(0), Locked::default());
        let shared = Arc::new(SharedGroups { delegation, pool, number, groups });
        let groups_thread = GroupsThread {
            shared: shared.clone(),
            reaper,
            tasks: tasks.clone(),
            kept: Vec::new(),
            look: None,
        };
        thread::Builder::new().name("groups".into()).spawn(move || groups_thread.run(&received))?;
        Ok(Self { shared, tasks })
    }

    /// A launcher in a group that has the limits of `resources`.
    pub(in crate::spawn) fn take(&self, socket: &SocketName, resources: &[Resource]) -> io::Result<Launcher> {
        let parked = resources.is_empty().then(|| self.parked(socket)).transpose()?.flatten();
        match parked {
            Some(launcher) => Ok(launcher),
            None => self.shared.order(&*self.shared.calls(socket)?, resources, &self.tasks)?.arrive(),
        }
    }

    /// Has launchers parked in the place of those that were taken. The end of a call does so too, and calls
    /// mostly leave it to that: a groups thread at work takes processor time from running calls.
    pub(in crate::spawn) fn refill(&self) {
        drop(self.tasks.send(GroupTask::Look));
    }

    /// Parks no more: the broker stops.
    pub(in crate::spawn) fn stop(&self) {
        drop(self.tasks.send(GroupTask::Stop));
    }

    /// Removes every group: all calls are over.
    pub(in crate::spawn) fn clear(&self) {
        self.shared.delegation.clear();
    }

    fn parked(&self, socket: &SocketName) -> io::Result<Option<Launcher>> {
        self.shared.calls(socket)?;
        let give_up = Instant::now() + NURSERY_WAIT;
        // The groups thread parks launchers meanwhile, so this loop needs a limit: a nursery that makes none
        // must not hold up the call.
        while Instant::now() < give_up {
            let (taken, is_low) = {
                let mut groups = self.shared.groups.lock();
                let Some(SocketGroups { warm, .. }) = groups.get_mut(socket) else { return Ok(None) };
                (warm.take(Instant::now(), |_| true), warm.is_low())
            };
            if is_low {
                self.refill();
            }
            let Some(ordered) = taken else { return Ok(None) };
            // A launcher that was killed while it was parked, or whose nursery ended before it was made, is
            // passed over.
            if let Some(launcher) = ordered.arrive().ok().filter(Launcher::is_alive) {
                return Ok(Some(launcher));
            }
        }
        Ok(None)
    }
}

impl SharedGroups {
    /// The cgroup above the groups of a socket's calls, made for the socket's first call.
    fn calls(&self, socket: &SocketName) -> io::Result<Arc<CallsCgroup>> {
        let mut groups = self.groups.lock();
        if let Some(known) = groups.get(socket) {
            return Ok(known.calls.clone());
        }
        let calls = Arc::new(self.delegation.of_socket(socket)?);
        let warm = WarmSet::new(KeepPolicy::SCOPED, Instant::now());
        groups.insert(socket.clone(), SocketGroups { calls: calls.clone(), warm });
        Ok(calls)
    }

    /// Has a launcher made in a new group, and does not wait for it.
    fn order(
        &self,
        calls: &CallsCgroup,
        resources: &[Resource],
        tasks: &Sender<GroupTask>,
    ) -> io::Result<OrderedLauncher> {
        let number = self.number.fetch_add(1, Ordering::Relaxed) + 1;
        let scope = CallScope::group(calls.group(number)?, tasks.clone());
        limit(scope.cgroup(), resources).map_err(io::Error::other)?;
        self.pool.order(scope)
    }
}

/// The groups thread's own state.
struct GroupsThread {
    shared: Arc<SharedGroups>,
    reaper: Arc<Reaper>,
    tasks: Sender<GroupTask>,
    /// The paths of groups in which a process was left running. Their number has no limit, so no descriptor
    /// is held for each.
    kept: Vec<String>,
    /// When to look at the kept groups again.
    look: Option<Instant>,
}

impl GroupsThread {
    /// Serves until the broker stops.
    fn run(mut self, tasks: &Receiver<GroupTask>) {
        loop {
            let task = match self.due() {
                None => tasks.recv().map_err(|_| RecvTimeoutError::Disconnected),
                Some(due) => tasks.recv_timeout(due.saturating_duration_since(Instant::now())),
            };
            match task {
                Err(RecvTimeoutError::Disconnected) | Ok(GroupTask::Stop) => break,
                Err(RecvTimeoutError::Timeout) | Ok(GroupTask::Look) => {}
                Ok(GroupTask::Remove(group)) => self.remove(&group),
            }
            self.look_at_kept();
            self.fill();
        }
        let mut groups = self.shared.groups.lock();
        let parked = groups.values_mut().flat_map(|groups| groups.warm.ready.drain(..)).collect();
        drop(groups);
        self.dismiss(parked);
    }

    /// When there is work without a task.
    fn due(&self) -> Option<Instant> {
        self.shared.groups.lock().values().filter_map(|groups| groups.warm.due()).chain(self.look).min()
    }

    /// Removes a group, at once or, if processes are left in it, when they have ended. A group that cannot be
    /// removed is left to the broker's end.
    fn remove(&mut self, group: &Cgroup) {
        if let Ok(false) = group.remove() {
            self.kept.push(group.path().into());
            self.look.get_or_insert(Instant::now() + GROUP_ROUND);
        }
    }

    fn look_at_kept(&mut self) {
        if self.look.is_some_and(|look| look <= Instant::now()) {
            let stays =
                |path: &String| matches!(Cgroup::open(path).map(|group| group.remove()), Ok(Ok(false)));
            self.kept.retain(stays);
            self.look = (!self.kept.is_empty()).then(|| Instant::now() + GROUP_ROUND);
        }
    }

    /// Has as many launchers parked as are wanted, and dismisses surplus ones.
    fn fill(&self) {
        let now = Instant::now();
        let (mut wanted, mut surplus) = (Vec::new(), Vec::new());
        for (socket, groups) in self.shared.groups.lock().iter_mut() {
            let target = groups.warm.target(now);
            let kept = groups.warm.ready.len().min(target);
            surplus.extend(groups.warm.ready.drain(kept..));
            wanted.extend((kept..target).map(|_| (socket.clone(), groups.calls.clone())));
        }
        self.dismiss(surplus);
        for (socket, calls) in wanted {
            // A failure is not reported here: the call that needs a launcher tries again, and reports it.
            let Ok(ordered) = self.shared.order(&calls, &[], &self.tasks) else { return };
            if let Some(groups) = self.shared.groups.lock().get_mut(&socket) {
                groups.warm.ready.push_back(ordered);
            }
        }
    }

    fn dismiss(&self, parked: Vec<OrderedLauncher>) {
        dismiss(parked.into_iter().filter_map(|ordered| ordered.arrive().ok()), &self.reaper);
    }
}
