//! The confinements of the rules in force, made ready once and kept.

use std::collections::HashMap;
use std::sync::Arc;

use nix::errno::Errno;

use crate::confine::{KernelSupport, PrepareError, PreparedConfinement, ViewSupport};
use crate::limits::CONFINEMENTS_KEPT_MAX;
use crate::refusal::Refusal;
use crate::rules::Confinement;
use crate::spawn::LauncherPool;
use crate::sys::Locked;

/// What this kernel can enforce, and the confinements that are ready.
#[derive(Debug, Default)]
pub(super) struct Confiner {
    support: Locked<Option<KernelSupport>>,
    ready: Locked<HashMap<Arc<Confinement>, Arc<PreparedConfinement>>>,
}

impl Confiner {
    /// What this kernel can enforce; found out with the first call that is confined, and again where the
    /// answer may change.
    fn support(&self, pool: &LauncherPool) -> KernelSupport {
        if let Some(known) = &*self.support.lock() {
            return known.clone();
        }
        let support = KernelSupport::probe(pool.find_view_support());
        if is_final(&support.view) {
            *self.support.lock() = Some(support.clone());
        }
        support
    }

    /// A confinement, ready for a call: one that was ready and still fits, else made anew.
    /// Errors: a part is missing on this kernel, a place cannot be used.
    pub(super) fn prepare(
        &self,
        wanted: &Arc<Confinement>,
        pool: &LauncherPool,
    ) -> Result<Arc<PreparedConfinement>, Refusal> {
        let ready = self.ready.lock().get(wanted).cloned();
        if let Some(ready) = ready.filter(|ready| ready.is_current()) {
            return Ok(ready);
        }
        let made = PreparedConfinement::new(wanted.clone(), &self.support(pool));
        let made = Arc::new(made.map_err(|why| refused(wanted, &why))?);
        let mut ready = self.ready.lock();
        if ready.len() >= CONFINEMENTS_KEPT_MAX {
            // Those of rules that a reload took away; the others are made anew with their next calls.
            ready.clear();
        }
        ready.insert(wanted.clone(), made.clone());
        Ok(made)
    }
}

/// Whether the answer stays the same: a limit may be reached now and not later.
fn is_final(view: &ViewSupport) -> bool {
    match view {
        ViewSupport::Capable | ViewSupport::UserNamespace(_) => true,
        ViewSupport::Missing(errno) => {
            matches!(errno, Errno::EPERM | Errno::EACCES | Errno::ENOSYS | Errno::EINVAL)
        }
    }
}

/// The refusal of a call that cannot be confined.
pub(super) fn refused(wanted: &Confinement, why: &PrepareError) -> Refusal {
    Refusal::Unconfined { profile: wanted.profile.clone(), why: why.to_string() }
}
