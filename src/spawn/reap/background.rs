//! Ends, when the broker stops, the processes that calls with `background = keep` left running. Read
//! `supervise.rs` for a call's own end.

use std::io;
use std::time::Instant;

use nix::sys::signal::Signal;

use crate::limits::TERM_GRACE;
use crate::spawn::contain::members::CallMembers;
use crate::spawn::rounds::end_all_until;
use crate::spawn::stop::StopSignal;

use super::reaper::Reaper;

/// Sends SIGTERM to kept processes in scopes when the broker begins to stop, before [`end_kept`].
pub fn ask_kept(reaper: &Reaper) -> io::Result<()> {
    reaper.kept_scopes().0.iter().try_for_each(|scope| scope.signal(Signal::SIGTERM))
}

/// Ends all processes that calls with `background = keep` left running, as far as possible until `give_up`.
/// Gives the number of processes that could not be ended, without those in scopes.
pub fn end_kept(reaper: &Reaper, stop: StopSignal<'_>, give_up: Instant) -> io::Result<usize> {
    let (scopes, told) = reaper.kept_scopes();
    let now = Instant::now();
    let kill_at_the_latest = now + give_up.saturating_duration_since(now) / 2;
    for scope in &scopes {
        let kill_from = (told.unwrap_or(now) + TERM_GRACE).min(kill_at_the_latest);
        CallMembers::new(scope, None).end_until(told.is_none(), kill_from, give_up, stop)?;
    }
    let kill_from = (now + TERM_GRACE).min(kill_at_the_latest);
    end_all_until(reaper.kept()?, || reaper.kept(), kill_from, give_up, stop)
}
