//! The FIFO door of a socket: named pipes through which sandboxes reach the broker that let their processes
//! open files and nothing else. `process.rs` is the process that serves them, `lane.rs` one set of pipes,
//! `handle.rs` the broker's side.

pub(super) mod handle;
mod lane;
pub(super) mod process;
