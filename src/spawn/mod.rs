//! Running what a rule allowed: the nursery makes launchers, a launcher waits for its plan and becomes the command,
//! `wait.rs` sees it to its end, and `kin.rs` knows which process belongs to which call. The broker itself never
//! forks. Read `plan.rs` for what is passed on, `launcher.rs` for what the command starts with,
//! `relay.rs` for the process through which bytes pass where a rule wants that.

#![forbid(unsafe_code)]

mod cradle;
mod descriptors;
mod divert;
mod ends;
mod groups;
mod handle;
mod inbox;
mod kept;
mod kin;
mod launcher;
mod line;
mod members;
mod nursery;
mod plan;
mod pool;
mod privileges;
mod reaper;
mod relay;
mod resolve;
mod rounds;
mod scope;
mod scoper;
mod scopes;
mod shared;
mod stock;
mod stop;
mod stream;
mod tree;
mod wait;

pub use handle::{EndingLauncher, Launcher};
pub use kept::{ask_kept, end_kept};
pub use kin::Reaper;
pub use launcher::{CloseMode, LaunchFailure};
pub use nursery::{Nursery, NurseryRole, run as run_nursery};
pub use plan::{CommandStdio, LaunchPlan};
pub use pool::LauncherPool;
pub use privileges::{PrivilegeError, RootPolicy, own_rights, shed};
pub use relay::{PendingRelay, Relay, RelayTask};
pub use resolve::{Environment, ResolvedProgram, resolve};
pub use scope::CallScope;
pub use scopes::{ScopePool, ScopeWant};
pub use shared::{ScopeFallback, ScopeNews, TellNews};
pub use stop::StopSignal;
pub use wait::{SupervisedCall, supervise};
