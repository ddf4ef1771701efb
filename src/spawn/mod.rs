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

pub use handle::{Ending, Launcher};
pub use kept::{ask_kept, end_kept};
pub use kin::Kin;
pub use launcher::{Close, Failure};
pub use nursery::{Nursery, Role, run as run_nursery};
pub use plan::{Plan, Stdio};
pub use pool::Pool;
pub use privileges::{AsRoot, Privileged, own_rights, shed};
pub use relay::{Relay, RelayTask, Summoned};
pub use resolve::{Environment, Resolved, resolve};
pub use scope::Scope;
pub use scopes::{Scopes, Want};
pub use shared::{Instead, ScopeNews, Tell};
pub use stop::Stop;
pub use wait::{Call, supervise};
