//! Watches the file of a socket that the broker made: a process that replaces the file gets the broker's
//! callers. Then the broker ends, in order, so that its supervisor can act. The sockets of systemd are
//! systemd's to watch.

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;

use nix::errno::Errno;
use nix::sys::inotify::{AddWatchFlags, InitFlags, Inotify};
use nix::sys::signal::{Signal, kill};
use nix::unistd::getpid;

use crate::limits::{CALL_STACK_BYTES, SOCKET_WATCH_ROUND};

use super::sockets::SocketFile;

/// The watch, which knows whether the socket is still where callers look for it.
#[derive(Clone, Debug, Default)]
pub(super) struct SocketWatch(Arc<AtomicBool>);

impl SocketWatch {
    /// Watches a socket, in a thread that sleeps until something happens to its file.
    pub(super) fn watch(&self, place: SocketFile) -> io::Result<()> {
        let changes = AddWatchFlags::IN_ATTRIB | AddWatchFlags::IN_MOVE_SELF | AddWatchFlags::IN_DELETE_SELF;
        let watch = |inotify: Inotify| inotify.add_watch(&place.path, changes).map(|_| inotify);
        // A user's watches are limited, and a container's filter may deny them all.
        let watch = Inotify::init(InitFlags::IN_CLOEXEC).and_then(watch);
        let taken = self.0.clone();
        let stand = move || {
            // The first look finds a change from before the watch.
            while place.is_ours() {
                // A watch that fails does not mean that anything happened: then the file is looked at every
                // `SOCKET_WATCH_ROUND`.
                let change = watch.as_ref().map(Inotify::read_events);
                if change.is_ok_and(|events| matches!(events, Ok(_) | Err(Errno::EINTR))) {
                    continue;
                }
                thread::sleep(SOCKET_WATCH_ROUND);
            }
            taken.store(true, Ordering::SeqCst);
            // A stop as by SIGTERM; if the signal fails, the broker goes on, without callers.
            kill(getpid(), Signal::SIGTERM).ok();
        };
        thread::Builder::new().name("socket-watch".into()).stack_size(CALL_STACK_BYTES).spawn(stand).map(drop)
    }

    /// Whether the socket's file was removed or replaced.
    pub(super) fn was_taken(&self) -> bool {
        self.0.load(Ordering::SeqCst)
    }
}
