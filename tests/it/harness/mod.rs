//! What the end-to-end tests stand on: a broker of their own, calls that read as a transcript, and the check
//! of every broker's manifest when it stops. The wire is written by hand here, byte by byte, so that a
//! mistake in the crate's own encoder cannot hide one in its decoder. Nothing waits for luck: every wait has
//! an event and a deadline. Start with `setup.rs`; `answer.rs` has what a test can say about a call.

mod answer;
mod apart;
mod broker;
mod call;
mod connection;
mod crowd;
mod dir;
mod frame;
mod in_flight;
mod invariants;
mod manifest;
mod needs;
mod output;
mod piped;
mod process;
mod program;
mod pty;
mod request;
mod setup;
mod sight;
mod skip;
mod stderr;
mod traced;
mod wait;

pub(crate) use answer::Answer;
pub(crate) use apart::apart;
pub(crate) use broker::{Broker, Process, SHELL};
pub(crate) use call::Running;
pub(crate) use connection::{Connection, Reply};
pub(crate) use crowd::CrowdedUser;
pub(crate) use dir::{TempDir, chmod};
pub(crate) use frame::{MAGIC, Status, VERSION, frame, header};
pub(crate) use in_flight::{few_in_flight, many_in_flight};
pub(crate) use invariants::check_files;
pub(crate) use manifest::{Record, chain_anew, following, hash};
pub(crate) use needs::{
    Capability, find, needs, needs_bubblewrap, needs_capability, needs_loop_devices, needs_mounts,
    needs_python_module, needs_root, needs_strace, needs_user_namespaces,
};
pub(crate) use piped::{
    Asked, DONE, LISTING, Piped, QUEUED, REFUSED, STARTED, call as piped_call, frames as piped_frames,
    readable_within, word,
};
pub(crate) use process::Pid;
pub(crate) use program::{
    Ended, python, run, serve, serve_words, sluice, sluice_bin, sluicify, sluicify_bin,
};
pub(crate) use pty::Terminal;
pub(crate) use setup::Setup;
pub(crate) use skip::{is_root, skip};
pub(crate) use stderr::Stderr;
pub(crate) use traced::Traced;
pub(crate) use wait::{SOON, found, within};
