//! The parent thread: the nursery and all launchers are its children. The kernel gives orphans to a process's
//! first living thread, which is the main thread, so the main thread's list of children holds only orphans,
//! and is as short with a thousand running calls as with none. The thread never ends, because a parent-death
//! signal is sent when the parent thread ends, not the process.

use std::io;
use std::process::{Child, Command};
use std::sync::OnceLock;
use std::sync::mpsc::{self, Sender, SyncSender};
use std::thread;

use nix::unistd::{Pid, gettid};

use crate::limits::CALL_STACK_BYTES;

/// A program to start, and where the result goes.
type StartOrder = (Command, SyncSender<io::Result<Child>>);

#[derive(Debug)]
struct ParentThread {
    thread: Pid,
    orders: Sender<StartOrder>,
}

static PARENT_THREAD: OnceLock<ParentThread> = OnceLock::new();

/// Starts a program as a child of the parent thread.
pub(in crate::spawn) fn start(command: Command) -> io::Result<Child> {
    let (reply, answer) = mpsc::sync_channel(1);
    parent_thread()?.orders.send((command, reply)).map_err(|_| io::ErrorKind::BrokenPipe)?;
    answer.recv().map_err(|_| io::ErrorKind::BrokenPipe)?
}

/// The thread's id, once a program was started.
pub(in crate::spawn) fn thread() -> Option<Pid> {
    PARENT_THREAD.get().map(|parent_thread| parent_thread.thread)
}

fn parent_thread() -> io::Result<&'static ParentThread> {
    if let Some(parent_thread) = PARENT_THREAD.get() {
        return Ok(parent_thread);
    }
    let (orders, received) = mpsc::channel::<StartOrder>();
    let (tell, told) = mpsc::sync_channel(1);
    let work = move || {
        // The receivers of both messages wait for them, unless they are gone.
        tell.send(gettid()).ok();
        for (mut command, reply) in received {
            reply.send(command.spawn()).ok();
        }
    };
    thread::Builder::new().name("parent".into()).stack_size(CALL_STACK_BYTES).spawn(work)?;
    let thread = told.recv().map_err(|_| io::ErrorKind::BrokenPipe)?;
    Ok(PARENT_THREAD.get_or_init(|| ParentThread { thread, orders }))
}
