//! Runs the commands that rules allowed. The nursery makes launchers; a launcher waits for its plan and
//! becomes the command; `supervise.rs` follows the command to its end, with `command_watch.rs`; `reaper.rs`
//! knows which process belongs to which call. The broker itself never forks. Read `plan.rs` for the message
//! that a launcher gets, `child.rs` for the state in which a command starts, `relay.rs` for the process
//! through which a command's bytes pass where a rule asks for that.

#![deny(unsafe_code)]

mod caller_line;
mod command_watch;
mod contain;
mod door;
mod forward;
mod process;
mod reap;
mod resolve;
mod rounds;
mod stop;
mod stream;
mod supervise;

pub use caller_line::CallerLine;
pub use command_watch::SupervisedCall;
pub use contain::scope::CallScope;
pub use contain::scope_pool::{ScopePool, ScopeWant};
pub use contain::shared::{ScopeFallback, ScopeNews, TellNews};
pub use door::handle::FifoDoor;
pub use process::adapted::{Adapter, AdapterProgress};
pub use process::child::CloseMode;
pub use process::failure::LaunchFailure;
pub use process::launcher::{EndingLauncher, Launcher};
pub use process::nursery::{Nursery, NurseryRole, run as run_nursery};
pub use process::plan::{CommandStdio, LaunchPlan};
pub use process::pool::LauncherPool;
pub use process::privileges::{PrivilegeError, RootPolicy, own_rights, shed};
pub use process::secret::{LaunchSecrets, SecretBytes};
pub use reap::background::{ask_kept, end_kept};
pub use reap::reaper::Reaper;
pub use resolve::{Environment, ResolvedProgram, resolve};
pub use stop::StopSignal;
pub use stream::relay::{PendingRelay, Relay, RelayTask};
pub use supervise::supervise;
