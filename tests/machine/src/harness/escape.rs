//! Commands that try to outlive their call.

use std::time::Duration;

use super::gate::Gate;
use super::process::Pid;
use super::running::Running;
use super::wait::within;

/// What SIGTERM, 2 s and SIGKILL take, with room.
pub(crate) const GONE_MAX: Duration = Duration::from_secs(3);

/// Three ways out of a call, the pid of each on a line of its own; then it waits.
const ESCAPES: &str = "
    setsid nohup sleep 1000 >/dev/null 2>&1 & echo $!
    (setsid sleep 1000 >/dev/null 2>&1 & echo $!)
    setsid sh -c 'trap \"\" TERM; exec sleep 1000' >/dev/null 2>&1 & echo $!
";

/// A call that printed the pids of three fugitives, and goes on as `then` says.
pub(crate) fn escaped(gate: &Gate, then: &str) -> (Running, [Pid; 3]) {
    let mut call = gate.begin(&["sh", "-c", &format!("{ESCAPES}{then}")]);
    let pids = [call.pid(), call.pid(), call.pid()];
    (call, pids)
}

/// Waits until none of them runs.
#[track_caller]
pub(crate) fn gone(pids: &[Pid]) {
    within(GONE_MAX, "nothing is left", || pids.iter().all(|pid| !pid.runs()).then_some(()));
}
