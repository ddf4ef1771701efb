//! A slot: where the groups of calls are made, one after the other. The slot is a transient scope of a
//! systemd manager, whose directory was delegated and which an anchor holds; or it is a place below the
//! cgroup that the manager delegated to the broker itself. The two differ in who owns the directory above the
//! group, and in nothing that a call sees.

use std::io;
use std::path::Path;
use std::sync::Arc;
use std::time::Instant;

use nix::unistd::Pid;

use crate::cgroup::{Cgroup, CgroupFile, LimitError, hand_on, limit};
use crate::ids::SocketName;
use crate::limits::KILL_ROUND;
use crate::rules::{Resource, ResourceKey, ResourceValue};
use crate::sd::{CallsCgroup, ScopeName};
use crate::spawn::process::anchor::Anchor;

use super::change_watch::{ChangeWatch, ScopeWatch};

/// A slot.
#[derive(Debug)]
pub(in crate::spawn) struct Slot {
    pub(super) socket: SocketName,
    kind: SlotKind,
    /// The properties of the one rule that it is for. Such a slot is used once.
    resources: Vec<Resource>,
    /// The number of groups that were made in it.
    groups: u64,
}

#[derive(Debug)]
enum SlotKind {
    Scope(Box<ScopeSlot>),
    Delegated(Arc<CallsCgroup>),
}

/// The scope of a slot.
#[derive(Debug)]
pub(super) struct ScopeSlot {
    pub(super) name: ScopeName,
    pub(super) cgroup: Cgroup,
    id: u64,
    anchor: Anchor,
    /// Whether the groups in it have the memory controller.
    has_memory: bool,
    /// The processes in the scope itself, and in the anchor's group.
    processes: [CgroupFile; 2],
    /// `cgroup.stat`, with the number of groups.
    stat: CgroupFile,
    /// `None` where the user has no inotify watch left: then the slot is used once.
    watch: Option<ScopeWatch>,
}

/// What the broker does when the kernel has killed a process of a call for want of memory.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum OomAction {
    /// The other processes of the call go on.
    Continue,
    /// All are ended.
    Stop,
}

/// The two sorts of slots.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum SlotSort {
    /// A scope of its own.
    Scope,
    /// A place below the cgroup that is delegated to the broker.
    Delegated,
}

/// The place of a slot in the cgroup tree.
pub(super) enum SlotPlace<'s> {
    /// A scope of its own.
    Scope { path: &'s str, id: u64 },
    /// Below the broker's own unit.
    Delegated,
}

impl Slot {
    /// A scope with an anchor.
    pub(super) fn scope(socket: SocketName, scope: ScopeSlot, resources: Vec<Resource>) -> Self {
        Self { socket, kind: SlotKind::Scope(Box::new(scope)), resources, groups: 0 }
    }

    /// A place for a group below the delegated cgroup.
    pub(super) fn delegated(socket: SocketName, calls: Arc<CallsCgroup>, resources: Vec<Resource>) -> Self {
        Self { socket, kind: SlotKind::Delegated(calls), resources, groups: 0 }
    }

    /// The name of its scope; `None` for a delegated one.
    pub(super) fn name(&self) -> Option<&ScopeName> {
        self.as_scope().map(|scope| &scope.name)
    }

    /// Its sort.
    pub(super) fn sort(&self) -> SlotSort {
        if self.as_scope().is_some() { SlotSort::Scope } else { SlotSort::Delegated }
    }

    /// Its place.
    pub(super) fn place(&self) -> SlotPlace<'_> {
        match &self.kind {
            SlotKind::Scope(scope) => SlotPlace::Scope { path: scope.cgroup.path(), id: scope.id },
            SlotKind::Delegated(_) => SlotPlace::Delegated,
        }
    }

    /// Whether its groups have the memory controller.
    pub(super) fn has_memory(&self) -> bool {
        match &self.kind {
            SlotKind::Scope(scope) => scope.has_memory,
            SlotKind::Delegated(calls) => calls.has_memory(),
        }
    }

    /// The cgroup of its scope, if it has one.
    pub(super) fn scope_cgroup(&self) -> Option<&Cgroup> {
        self.as_scope().map(|scope| &scope.cgroup)
    }

    /// Its anchor, if it has one.
    pub(super) fn anchor(&self) -> Option<&Anchor> {
        self.as_scope().map(|scope| &scope.anchor)
    }

    /// What is done when the kernel has killed a process for want of memory. In a scope it is what a manager
    /// would do; the manager itself leaves a delegated scope alone.
    pub(super) fn oom_action(&self) -> OomAction {
        let is_continue = |resource: &Resource| {
            resource.key == ResourceKey::OomPolicy
                && matches!(&resource.value, ResourceValue::Text(policy) if policy == "continue")
        };
        let is_scope = self.as_scope().is_some();
        if is_scope && !self.resources.iter().any(is_continue) {
            OomAction::Stop
        } else {
            OomAction::Continue
        }
    }

    /// A new group for a call, with the limits that are the group's. Errors: the kernel's; a limit that
    /// cannot be set.
    pub(super) fn new_group(&mut self) -> io::Result<Cgroup> {
        self.groups += 1;
        let (group, limited) = match &self.kind {
            SlotKind::Scope(scope) => {
                let group = scope.cgroup.create(&format!("call-{}", self.groups))?;
                let limited = set_own_limits(&group, &self.resources);
                (group, limited)
            }
            SlotKind::Delegated(calls) => {
                let group = calls.group()?;
                let limited = limit(&group, &self.resources);
                (group, limited)
            }
        };
        if let Err(why) = limited {
            // Nothing else knows of the group, and a new group that cannot be removed is the unit's.
            group.remove_empty().ok();
            return Err(io::Error::other(why));
        }
        Ok(group)
    }

    /// Whether it is for one call alone.
    pub(super) fn is_for_one(&self) -> bool {
        !self.resources.is_empty() || self.as_scope().is_some_and(|scope| scope.watch.is_none())
    }

    /// Whether it belongs to its socket's set, and not to one rule.
    pub(super) fn is_counted(&self) -> bool {
        self.resources.is_empty()
    }

    /// Whether its anchor stands. A delegated one needs none.
    pub(super) fn stands(&self) -> bool {
        self.anchor().is_none_or(Anchor::stands)
    }

    /// Whether its scope is as it was, with one group for a call: another call may have changed it meanwhile,
    /// or put a process into it.
    pub(super) fn is_untouched(&self, changes: Option<&ChangeWatch>) -> bool {
        self.as_scope()
            .is_none_or(|scope| scope.is_unchanged(changes) && scope.has_anchor_only(1).unwrap_or(false))
    }

    /// Whether its scope has one group for a call, and besides that the anchor alone. A delegated one has no
    /// scope.
    pub(super) fn has_anchor_and_one_group(&self) -> bool {
        self.as_scope().is_some_and(|scope| scope.has_anchor_only(1).unwrap_or(false))
    }

    /// Removes a call's group, which is the only one in the slot, and gives whether the slot may be used
    /// again: the group was empty and nothing below it, the anchor stands, and no file of the scope was
    /// changed. Processes that are left in the group are killed.
    pub(super) fn clear(&self, group: &Cgroup, changes: Option<&ChangeWatch>) -> bool {
        if group.remove_empty().is_err() {
            group.kill().ok();
            // A delegated group goes with the groups that the call made below it.
            return self.as_scope().is_none() && group.remove().unwrap_or(false);
        }
        let Some(scope) = self.as_scope() else { return true };
        // What else is in the scope is looked for before the answer (`end_strays`), and when the slot is
        // taken.
        scope.is_unchanged(changes) && scope.anchor.stands()
    }

    /// Kills all that is in its scope, the anchor too, where a process is in it that is neither the anchor
    /// nor in `group`, or where there are groups besides those two. Gives whether that was so.
    pub(super) fn end_strays(&self, group: &Cgroup) -> io::Result<bool> {
        let Some(scope) = self.as_scope() else { return Ok(false) };
        if scope.has_anchor_only(1).unwrap_or(false) {
            return Ok(false);
        }
        scope.cgroup.kill()?;
        group.wait_empty(Instant::now() + KILL_ROUND)?;
        Ok(true)
    }

    /// Gives it up, with all that is in it unless `keeps`. Gives the anchor's pid, to be reaped.
    pub(super) fn retire(self, keeps: bool, changes: Option<&ChangeWatch>) -> Option<Pid> {
        let SlotKind::Scope(scope) = self.kind else { return None };
        if let Some((watch, changes)) = scope.watch.as_ref().zip(changes) {
            changes.remove(watch);
        }
        if !keeps {
            // The manager ends what this cannot, when it removes the scope.
            scope.cgroup.kill().ok();
        }
        Some(scope.anchor.dismiss())
    }

    fn as_scope(&self) -> Option<&ScopeSlot> {
        match &self.kind {
            SlotKind::Scope(scope) => Some(scope),
            SlotKind::Delegated(_) => None,
        }
    }
}

impl ScopeSlot {
    /// A scope that the manager has made: moves the anchor into its group, and has the kernel keep accounts
    /// for the groups of calls.
    pub(super) fn new(
        name: ScopeName,
        cgroup: Cgroup,
        anchor: Anchor,
        changes: Option<&ChangeWatch>,
    ) -> io::Result<Self> {
        let group = anchor.settle(&cgroup)?;
        hand_on(&cgroup);
        let own = Path::new("cgroup.procs");
        let processes = [cgroup.open_file(own)?, group.open_file(own)?];
        let stat = cgroup.open_file(Path::new("cgroup.stat"))?;
        let (id, has_memory) = (cgroup.id()?, cgroup.hands_memory_on());
        let directories = [cgroup.directory(), group.directory()];
        let watch = changes.and_then(|changes| changes.add(directories).ok());
        Ok(Self { name, cgroup, id, anchor, has_memory, processes, stat, watch })
    }

    /// Whether no file of it was changed. Without a watch nobody knows, and the slot is used once.
    fn is_unchanged(&self, changes: Option<&ChangeWatch>) -> bool {
        match (&self.watch, changes) {
            (Some(watch), Some(changes)) => changes.is_unchanged(watch),
            _ => true,
        }
    }

    /// Whether the anchor is the only process outside of groups of calls, and so many of those are there.
    fn has_anchor_only(&self, groups: u64) -> io::Result<bool> {
        let [own, anchors] = &self.processes;
        // A cgroup that hands a controller on holds no process itself, by the kernel's rule.
        let is_empty = || Ok::<_, io::Error>(self.has_memory || own.pids()?.is_empty());
        Ok(self.stat.number("nr_descendants")? == groups + 1
            && anchors.pids()? == [self.anchor.pid()]
            && is_empty()?)
    }
}

/// Sets what the manager cannot set on the call's behalf: the scope holds the anchor too, which is not to
/// count as one of the call's tasks, nor to be killed with them; and the peak of memory of a group goes over
/// the limit of the scope for a moment. Where the controller is missing, the limit does not hold, as with a
/// manager's own.
fn set_own_limits(group: &Cgroup, resources: &[Resource]) -> Result<(), LimitError> {
    let is_groups = |resource: &&Resource| {
        let is_key =
            matches!(resource.key, ResourceKey::TasksMax | ResourceKey::MemoryMax | ResourceKey::OomPolicy);
        is_key && !resource.is_for_managers()
    };
    for resource in resources.iter().filter(is_groups) {
        match limit(group, std::slice::from_ref(resource)) {
            Ok(()) | Err(LimitError::NoController(..)) => {}
            Err(why) => return Err(why),
        }
    }
    Ok(())
}
