//! All unsafe code of the crate: one function for each system call that no maintained crate offers safely.
//! `EINTR` is handled here and nowhere else; every descriptor that comes out is owned and close-on-exec.
//! Callers use `nix` directly where it is safe.

mod adopt;
mod allocate;
mod clone_vm;
pub mod confine;
mod connect;
mod descriptors;
mod errno;
mod exec;
mod exit;
mod fork;
pub mod in_child;
mod io;
mod kernel_check;
mod kernel_probe;
mod locked;
mod memory;
mod message;
pub mod mounts;
mod open_at;
mod pidfd;
mod piped;
mod poll;
mod program;
mod raw_message;
mod reap;
mod reap_child;
mod retry;
mod sealed_file;
mod seqpacket;
mod signals;
mod stdio;
mod syscall;
mod terminal;
mod text;
mod unfit_stdio;
mod wakeup;
mod wipe;
mod xattr;

pub use adopt::{adopt_descriptor, adopt_open, copy_descriptor};
pub use allocate::allocate;
pub use clone_vm::{ChildMemory, ChildSlots, clone_sibling};
pub use connect::{
    connect, connect_stream, enlarge_send_buffer, is_unread, receive_into, unconnected, unconnected_now,
};
pub use descriptors::{form, stdio};
pub use errno::{errno_of, is_hung_up};
pub use exec::{enter_directory, execute};
pub use exit::exit_now;
pub use fork::{block_signals, copy_sibling};
pub use io::{
    never_wait, open_again, peek_now, pipe, read, read_at, receive_now, send_now, splice, unread_bytes,
    untaken_bytes, write, write_at,
};
pub use kernel_check::{LEAST_KERNEL, MissingSyscall, check_kernel};
pub use kernel_probe::{
    KernelProbe, can_gain_privileges, change_flags, control_by, limit_process, multipath_socket,
    probe_kernel, queue_signal, set_attribute, type_into,
};
pub use locked::{Locked, wait_change, wait_change_for};
pub use memory::{give_back_memory, give_back_stacks, share_heaps};
pub use message::{
    PeekedMessage, ReceivedMessage, Sender, peek, peek_behind, receive, send, send_patiently, start_noting,
    stop_noting, try_receive, was_received,
};
pub use open_at::{move_above, open_places};
pub use pidfd::{open_pidfd, process_is_there, send_signal};
pub use piped::{PipedFds, await_any, finish_sending, send_few, take_piped};
pub use poll::{SENDER_DONE, poll_until};
pub use program::is_before_exec;
pub use raw_message::{discard, receive_few};
pub use reap::{reap, was_signaled};
pub use reap_child::{ProcessEnd, ended_child, reap_child};
pub use sealed_file::place_contents;
pub use seqpacket::{accept, bind_listener, connector, pair, pass_credentials, stream_pair};
pub use signals::{default_dispositions, end_by_broken_pipes, ignore_limits, ignores};
pub use stdio::{oddity_of, take_stdio};
pub use terminal::columns;
pub use unfit_stdio::{UnfitKind, UnfitStdio};
pub use wakeup::Wakeup;
pub use wipe::wipe;
pub use xattr::attribute_is;
