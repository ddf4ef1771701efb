//! The cgroup of one launcher, and later of its command and all processes that it starts: a scope unit of a
//! manager, or a group below the cgroup that was delegated to the broker. The code that ends a call sees only
//! the cgroup.

use std::sync::Arc;
use std::sync::mpsc::Sender;

use crate::sd::ScopeName;

use crate::cgroup::Cgroup;

/// The scope of one call.
#[derive(Debug)]
pub struct CallScope {
    cgroup: Arc<Cgroup>,
    kind: ScopeKind,
}

#[derive(Debug)]
enum ScopeKind {
    /// A scope unit, which the manager removes. The name lives as long as the call: a description that is not
    /// sent by then ([`ScopeCaption`](super::shared::ScopeCaption) holds a weak reference) is dropped.
    Unit(Arc<ScopeName>),
    /// A delegated group, and the queue of the thread that removes it once the call is over.
    Group(Sender<GroupTask>),
}

/// A message to the thread that parks launchers in delegated groups and removes groups.
#[derive(Debug)]
pub(in crate::spawn) enum GroupTask {
    /// A launcher was taken.
    Look,
    /// The call of this group is over.
    Remove(Arc<Cgroup>),
    /// The broker stops.
    Stop,
}

impl CallScope {
    /// A unit and its cgroup.
    pub(super) fn unit(name: ScopeName, cgroup: Cgroup) -> Self {
        Self { cgroup: Arc::new(cgroup), kind: ScopeKind::Unit(Arc::new(name)) }
    }

    /// A delegated group. When it is dropped, the groups thread removes it.
    pub(in crate::spawn) fn group(cgroup: Cgroup, groups_thread: Sender<GroupTask>) -> Self {
        Self { cgroup: Arc::new(cgroup), kind: ScopeKind::Group(groups_thread) }
    }

    /// The name of the scope unit; `None` for a group.
    pub fn name(&self) -> Option<&Arc<ScopeName>> {
        match &self.kind {
            ScopeKind::Unit(name) => Some(name),
            ScopeKind::Group(_) => None,
        }
    }

    /// The scope's name in records: the unit's name, or `cgroup:` and the group's path.
    pub fn label(&self) -> String {
        match &self.kind {
            ScopeKind::Unit(name) => name.as_str().into(),
            ScopeKind::Group(_) => format!("cgroup:{}", self.cgroup.path()),
        }
    }

    /// The path and the id of its cgroup.
    pub fn place(&self) -> Option<(&str, u64)> {
        self.cgroup.id().ok().map(|id| (self.cgroup.path(), id))
    }

    /// The cgroup.
    pub(in crate::spawn) fn cgroup(&self) -> &Cgroup {
        &self.cgroup
    }
}

impl Drop for CallScope {
    fn drop(&mut self) {
        if let ScopeKind::Group(groups_thread) = &self.kind {
            // The groups thread is gone only when the broker stops, which removes all groups itself.
            drop(groups_thread.send(GroupTask::Remove(self.cgroup.clone())));
        }
    }
}
