//! The cgroup and captures by which a call's processes and bytes are found again: a part of its start
//! record, or of its `carried` in a later file.

use std::path::PathBuf;

use serde::Serialize;

use crate::audit::read::{LineText, RecordFacts};
use crate::cgroup::Cgroup;

/// The cgroup and the captures of a call, as its start record names them.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub(in crate::audit) struct CallTrace {
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(in crate::audit) cgroup: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(in crate::audit) cgroup_id: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(in crate::audit) stdin: Option<PathBuf>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(in crate::audit) stdout: Option<PathBuf>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(in crate::audit) stderr: Option<PathBuf>,
}

impl CallTrace {
    /// The trace in a start record, or in a `carried`.
    pub(in crate::audit) fn of(facts: &RecordFacts<'_>) -> Self {
        let text = |text: &Option<LineText<'_>>| text.as_deref().map(str::to_owned);
        let [stdin, stdout, stderr] =
            [&facts.stdin, &facts.stdout, &facts.stderr].map(|path| text(path).map(PathBuf::from));
        Self { cgroup: text(&facts.cgroup), cgroup_id: facts.cgroup_id, stdin, stdout, stderr }
    }

    /// Whether processes of the call run, as far as can be found out.
    pub(in crate::audit) fn is_left(&self) -> bool {
        self.find().is_some_and(|cgroup| cgroup.is_populated().unwrap_or(true))
    }

    /// Finds the cgroup. A cgroup that cannot be looked at counts as none.
    pub(in crate::audit) fn find(&self) -> Option<Cgroup> {
        let (path, id) = self.cgroup.as_deref().zip(self.cgroup_id)?;
        Cgroup::find(path, id).ok().flatten()
    }
}
