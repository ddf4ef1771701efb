//! What this kernel can confine commands by, found out as a broker does: with a nursery.

use std::io;
use std::sync::Arc;

use nix::sys::resource::{Resource, getrlimit};

use crate::confine::{KernelSupport, PreparedConfinement};
use crate::refusal::Refusal;
use crate::rules::Confinement;
use crate::spawn::{LauncherPool, Nursery, Reaper};

use super::confiner::refused;

/// What this kernel can confine commands by. Starts a nursery, and ends it.
/// Errors: no nursery could be started.
pub fn find_kernel_support() -> io::Result<KernelSupport> {
    let reaper = Arc::new(Reaper::begin()?);
    let pool = Arc::new(LauncherPool::new(reaper));
    let (open_files, _) = getrlimit(Resource::RLIMIT_NOFILE)?;
    let nursery = Nursery::start(open_files)?;
    pool.attach(nursery.pid(), nursery.channel()?)?;
    let view = pool.find_view_support();
    pool.detach();
    nursery.end()?;
    Ok(KernelSupport::probe(view))
}

/// A confinement, ready as for a call. Errors: why the call would be refused.
pub fn prepare_confinement(
    wanted: &Arc<Confinement>,
    support: &KernelSupport,
) -> Result<PreparedConfinement, Refusal> {
    PreparedConfinement::new(wanted.clone(), support).map_err(|why| refused(wanted, &why))
}
