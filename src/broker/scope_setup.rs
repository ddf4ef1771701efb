//! The containment of a broker's calls: scopes made by the service manager, groups below a cgroup that the
//! manager delegated, or neither.

use std::sync::Arc;

use crate::limits::{DELEGATION_WAIT, SCOPE_WAIT};
use crate::rules::ScopeMode;
use crate::sd::{BusAddress, BusError, Delegation, DelegationError, delegates};
use crate::spawn::{Environment, LauncherPool, Reaper, ScopeNews, ScopePool};

use super::config::ServeError;
use super::notice::{Notice, SayNotice};

/// Begins to make scopes with the manager that this process lives under, or groups in the cgroup that it
/// delegated. Errors: the threads for that, which are the broker's first, cannot be made.
pub(super) fn begin_scopes(
    pool: &Arc<LauncherPool>,
    reaper: &Arc<Reaper>,
    environment: &Environment,
    modes: &[ScopeMode],
    say: SayNotice,
    change: impl Fn() + Send + Sync + 'static,
) -> Result<ScopePool, ServeError> {
    let variable = |name: &str| environment.get(name).and_then(|value| value.to_str()).map(str::to_owned);
    let address = BusAddress::find(variable);
    let delegation = own_group(address.as_ref(), modes);
    let tell = move |news: &ScopeNews<'_>| {
        say(&Notice::Scopes(news));
        change();
    };
    ScopePool::new(pool.clone(), reaper.clone(), address, delegation, Box::new(tell))
        .map_err(ServeError::NoProcess)
}

/// The delegated cgroup, with the broker moved to its place in it. This has to come before the nursery is
/// started, which stays in the cgroup where it was started. Where no rules use groups, the broker stays where
/// it was put.
fn own_group(address: Option<&BusAddress>, modes: &[ScopeMode]) -> Result<Delegation, DelegationError> {
    if !modes.iter().any(|mode| matches!(mode, ScopeMode::Auto | ScopeMode::Delegate)) {
        return Err(DelegationError::Unasked);
    }
    // Rules that can do without a group do not hold up the start for it.
    let wait = if modes.contains(&ScopeMode::Delegate) { SCOPE_WAIT } else { DELEGATION_WAIT };
    let ask = |path: &str| address.map_or(Err(BusError::NoAddress), |bus| delegates(bus, path, wait));
    let delegation = Delegation::find(ask)?;
    delegation.settle()?;
    Ok(delegation)
}
