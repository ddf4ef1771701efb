//! What a launcher is alone in, and what then holds its command and all that it starts: a unit of a
//! manager's, or a group below one that was delegated to the broker. Both are a cgroup to those who end a
//! call.

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
    /// Gone with the call: what is still to be said of the unit is then not said. The manager removes it.
    Unit(Arc<ScopeName>),
    /// Whoever removes it, once the call is over.
    Group(Sender<GroupTask>),
}

/// What the keeper of delegated groups is told.
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

    /// A group of the broker's own. Dropped, it is handed to its keeper.
    pub(in crate::spawn) fn group(cgroup: Cgroup, groups_thread: Sender<GroupTask>) -> Self {
        Self { cgroup: Arc::new(cgroup), kind: ScopeKind::Group(groups_thread) }
    }

    /// The unit's name, if it is one.
    pub fn name(&self) -> Option<&Arc<ScopeName>> {
        match &self.kind {
            ScopeKind::Unit(name) => Some(name),
            ScopeKind::Group(_) => None,
        }
    }

    /// What records call it: the unit's name, or `cgroup:` and the group's path.
    pub fn label(&self) -> String {
        match &self.kind {
            ScopeKind::Unit(name) => name.as_str().into(),
            ScopeKind::Group(_) => format!("cgroup:{}", self.cgroup.path()),
        }
    }

    /// The path and the number of its cgroup.
    pub fn place(&self) -> Option<(&str, u64)> {
        self.cgroup.id().ok().map(|id| (self.cgroup.path(), id))
    }

    /// Its processes.
    pub(in crate::spawn) fn cgroup(&self) -> &Cgroup {
        &self.cgroup
    }
}

impl Drop for CallScope {
    fn drop(&mut self) {
        if let ScopeKind::Group(groups_thread) = &self.kind {
            // Without a keeper the broker ends, and removes all groups itself.
            drop(groups_thread.send(GroupTask::Remove(self.cgroup.clone())));
        }
    }
}
