//! The cgroup of one call: a group that is made for it, below a slot's scope or below the cgroup that was
//! delegated to the broker. The launcher is made in it; then its command and all processes that it starts are
//! there. The code that ends a call sees only the group. When the call is over, the group goes back to where
//! it came from ([`SlotHome`]), which removes it.

use std::io;
use std::os::fd::BorrowedFd;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use nix::unistd::Pid;

use crate::cgroup::{Cgroup, CgroupFile, CgroupUsage, OomWatch};
use crate::sd::ScopeName;
use crate::spawn::process::anchor::Anchor;

use super::change_watch::ChangeWatch;
use super::slot::{OomAction, Slot, SlotPlace};

/// The group of one call, and the slot that it is in.
#[derive(Debug)]
pub(in crate::spawn) struct CallGroup {
    pub(super) files: GroupFiles,
    pub(super) group: Cgroup,
    pub(super) slot: Slot,
}

/// The files of a group that each call reads. They are opened ahead of it, when the group is made.
#[derive(Debug)]
pub(super) struct GroupFiles {
    processes: CgroupFile,
    cpu: CgroupFile,
}

impl GroupFiles {
    /// Opens them.
    pub(super) fn open(group: &Cgroup) -> io::Result<Self> {
        let open = |name: &str| group.open_file(Path::new(name));
        Ok(Self { processes: open("cgroup.procs")?, cpu: open("cpu.stat")? })
    }
}

/// The state in which a call leaves its group.
#[derive(Clone, Copy, Debug)]
pub(in crate::spawn) struct LeftGroup {
    /// Whether processes go on in it, as the rule says.
    pub(super) keeps: bool,
    /// Whether the scope has the description of the call.
    pub(super) is_described: bool,
    /// Whether its slot is wanted no more.
    pub(super) is_surplus: bool,
}

/// The place to which a call's group goes back.
pub(in crate::spawn) trait SlotHome: std::fmt::Debug + Send + Sync {
    /// Removes the group, and has the slot used again if it is clean.
    fn take_back(self: Arc<Self>, group: Box<CallGroup>, left: LeftGroup);
}

/// The scope of one call.
#[derive(Debug)]
pub struct CallScope {
    /// Always there, until it is dropped.
    group: Option<Box<CallGroup>>,
    home: Arc<dyn SlotHome>,
    /// The scope's name, for as long as the call lasts: a description that is not sent by then is dropped.
    name: Option<Arc<ScopeName>>,
    is_described: AtomicBool,
    keeps: AtomicBool,
    is_surplus: AtomicBool,
}

impl CallScope {
    /// A new group for a call.
    pub(super) fn new(group: CallGroup, home: Arc<dyn SlotHome>) -> Self {
        let name = group.slot.name().cloned().map(Arc::new);
        let [is_described, keeps, is_surplus] = [(); 3].map(|()| AtomicBool::new(false));
        Self { group: Some(Box::new(group)), home, name, is_described, keeps, is_surplus }
    }

    /// The name of the scope unit; `None` for a delegated group.
    pub fn name(&self) -> Option<&Arc<ScopeName>> {
        self.name.as_ref()
    }

    /// The scope's name in records: the unit's name, or `cgroup:` and the group's path.
    pub fn label(&self) -> String {
        self.name
            .as_ref()
            .map_or_else(|| format!("cgroup:{}", self.cgroup().path()), |name| name.as_str().into())
    }

    /// The path and the id of the cgroup in which all of the call's processes are: the scope's, or the
    /// delegated group.
    pub fn place(&self) -> Option<(&str, u64)> {
        match self.slot().place() {
            SlotPlace::Scope { path, id, .. } => Some((path, id)),
            SlotPlace::Delegated => self.cgroup().id().ok().map(|id| (self.cgroup().path(), id)),
        }
    }

    /// The name of the call's group in its scope; `None` for a delegated group.
    pub fn group_name(&self) -> Option<&str> {
        self.name.as_ref().map(|_| self.cgroup().name())
    }

    /// The group.
    pub(in crate::spawn) fn cgroup(&self) -> &Cgroup {
        &self.parts().group
    }

    /// The cgroup in which all of the call's processes are, wherever they moved themselves: the scope's, or
    /// the delegated group.
    pub(in crate::spawn) fn whole(&self) -> &Cgroup {
        self.slot().scope_cgroup().unwrap_or(self.cgroup())
    }

    /// The resources that the call used so far.
    pub(in crate::spawn) fn account(&self) -> CgroupUsage {
        let CallGroup { files, group, slot } = self.parts();
        let memory = if slot.has_memory() { group.memory_account() } else { CgroupUsage::default() };
        let cpu_ms = files.cpu.number("usage_usec").ok().map(|microseconds| microseconds / 1000);
        CgroupUsage { cpu_ms, ..memory }
    }

    /// Whether no process is left in the call's scope but its anchor. A delegated group may hold others'.
    pub(in crate::spawn) fn is_over(&self) -> bool {
        let CallGroup { files, slot, .. } = self.parts();
        files.processes.pids().is_ok_and(|left| left.is_empty()) && slot.has_anchor_and_one_group()
    }

    /// The watch for kills for want of memory that end the call; `None` where there are none.
    pub(in crate::spawn) fn fatal_kills(&self) -> Option<OomWatch> {
        let stops = self.slot().has_memory() && self.slot().oom_action() == OomAction::Stop;
        stops.then(|| self.cgroup().kills())
    }

    /// Notes that the scope gets the description of the call.
    pub(super) fn note_described(&self) {
        self.is_described.store(true, Ordering::Relaxed);
    }

    /// Notes that processes of the call go on when it is over.
    pub(in crate::spawn) fn note_kept(&self) {
        self.keeps.store(true, Ordering::Relaxed);
    }

    /// Notes that the slot is not to be used again.
    pub(super) fn note_surplus(&self) {
        self.is_surplus.store(true, Ordering::Relaxed);
    }

    /// The group and its slot, which then do not go back by themselves.
    pub(super) fn into_group(mut self) -> CallGroup {
        *self.group.take().expect("it is taken out only here and when this is dropped")
    }

    /// Readable when a manager may be stopping the scope ([`Self::is_stopped`]), or the anchor has ended.
    pub(in crate::spawn) fn stopped(&self) -> Option<BorrowedFd<'_>> {
        self.slot().anchor().map(Anchor::stream)
    }

    /// Whether a manager stops the scope.
    pub(in crate::spawn) fn is_stopped(&self) -> bool {
        self.slot().anchor().is_some_and(Anchor::was_terminated)
    }

    /// Whether a parked launcher is alone in a scope that is as it was.
    pub(super) fn is_untouched(&self, launcher: Pid, changes: Option<&ChangeWatch>) -> bool {
        let CallGroup { files, slot, .. } = self.parts();
        files.processes.pids().is_ok_and(|own| own == [launcher]) && slot.is_untouched(changes)
    }

    /// Whether the manager does not stop the scope.
    pub(super) fn stands(&self) -> bool {
        self.slot().stands()
    }

    /// Ends all that is in the call's scope outside of its group, when the group is empty: processes that
    /// moved themselves. Gives whether there were any.
    pub(in crate::spawn) fn end_strays(&self) -> io::Result<bool> {
        self.slot().end_strays(&self.parts().group)
    }

    fn slot(&self) -> &Slot {
        &self.parts().slot
    }

    fn parts(&self) -> &CallGroup {
        self.group.as_ref().expect("it is taken out only when this is dropped")
    }
}

impl Drop for CallScope {
    fn drop(&mut self) {
        // A description that was not sent yet is dropped with the name.
        self.name = None;
        let left = LeftGroup {
            keeps: *self.keeps.get_mut(),
            is_described: *self.is_described.get_mut(),
            is_surplus: *self.is_surplus.get_mut(),
        };
        if let Some(group) = self.group.take() {
            self.home.clone().take_back(group, left);
        }
    }
}
