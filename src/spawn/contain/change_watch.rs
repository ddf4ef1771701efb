//! Sees when somebody writes a file of a slot's scope, or changes its attributes: a command may write the
//! limits of the scope that it is in, and those would hold for the next call. One inotify instance watches
//! the directories of each scope and its anchor. Notifications of the kernel's own (`memory.events`) are no
//! change.

use std::collections::HashSet;
use std::ffi::OsStr;
use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd};
use std::time::Instant;

use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags};
use nix::sys::inotify::{AddWatchFlags, InitFlags, Inotify, WatchDescriptor};

use crate::sys::{self, Locked};

/// The watches of all scopes.
#[derive(Debug)]
pub(super) struct ChangeWatch {
    inotify: Inotify,
    changed: Locked<ChangedScopes>,
}

/// The directories in which something was changed.
#[derive(Debug, Default)]
struct ChangedScopes {
    directories: HashSet<WatchDescriptor>,
    /// How often the kernel had no room for an event, which may have been any scope's.
    overflows: u64,
}

/// The watch of one scope.
#[derive(Debug)]
pub(super) struct ScopeWatch {
    directories: [WatchDescriptor; 2],
    overflows: u64,
}

impl ChangeWatch {
    /// No watch yet. Errors: `EMFILE` (the user has no inotify instance left), `EPERM` (a filter).
    pub(super) fn new() -> io::Result<Self> {
        let inotify = Inotify::init(InitFlags::IN_CLOEXEC | InitFlags::IN_NONBLOCK)?;
        Ok(Self { inotify, changed: Locked::default() })
    }

    /// Watches the files in these two directories of a scope from now on.
    /// Errors: `ENOSPC` (the user has no watch left).
    pub(super) fn add(&self, directories: [BorrowedFd<'_>; 2]) -> io::Result<ScopeWatch> {
        let [first, second] = directories;
        let directories = [self.watch(first)?, self.watch(second)?];
        let mut changed = self.changed.lock();
        self.hear(&mut changed)?;
        changed.directories.retain(|changed| !directories.contains(changed));
        Ok(ScopeWatch { directories, overflows: changed.overflows })
    }

    fn watch(&self, directory: BorrowedFd<'_>) -> io::Result<WatchDescriptor> {
        let changes = AddWatchFlags::IN_MODIFY | AddWatchFlags::IN_ATTRIB;
        let path = format!("/proc/self/fd/{}", directory.as_raw_fd());
        Ok(self.inotify.add_watch(path.as_str(), changes | AddWatchFlags::IN_ONLYDIR)?)
    }

    /// Whether nothing was changed in a scope since its watch began. An error counts as a change.
    pub(super) fn is_unchanged(&self, watch: &ScopeWatch) -> bool {
        // Mostly there is nothing to read, and other calls hold the lock. Whoever reads an event notes it
        // before the lock is free again.
        let mut look = [PollFd::new(self.inotify.as_fd(), PollFlags::POLLIN)];
        let has_events = sys::poll_until(&mut look, Some(Instant::now())).unwrap_or(true);
        let mut changed = self.changed.lock();
        let heard = if has_events { self.hear(&mut changed) } else { Ok(()) };
        let is_changed = watch.directories.iter().any(|directory| changed.directories.contains(directory));
        heard.is_ok() && changed.overflows == watch.overflows && !is_changed
    }

    /// Ends the watch of a scope.
    pub(super) fn remove(&self, watch: &ScopeWatch) {
        for directory in watch.directories {
            // It fails where the scope is gone already, and the watch with it.
            self.inotify.rm_watch(directory).ok();
            self.changed.lock().directories.remove(&directory);
        }
    }

    fn hear(&self, changed: &mut ChangedScopes) -> io::Result<()> {
        loop {
            let events = match self.inotify.read_events() {
                Err(Errno::EAGAIN) => return Ok(()),
                events => events?,
            };
            for event in events {
                if event.mask.contains(AddWatchFlags::IN_Q_OVERFLOW) {
                    changed.overflows += 1;
                } else if event.mask.contains(AddWatchFlags::IN_IGNORED) {
                    // The scope is gone. Its number is not given to another scope.
                    changed.directories.remove(&event.wd);
                } else if event.mask.contains(AddWatchFlags::IN_ATTRIB) || !is_kernels(event.name.as_deref())
                {
                    changed.directories.insert(event.wd);
                }
            }
        }
    }
}

/// Whether the kernel itself tells of this file, which nobody can write.
fn is_kernels(file: Option<&OsStr>) -> bool {
    file.is_some_and(|name| name.to_string_lossy().contains(".events"))
}

#[cfg(test)]
mod tests {
    use std::fs::{self, File};

    use tempfile::TempDir;

    use super::*;

    #[test]
    fn a_watch_hears_of_its_own_directory_and_of_an_overflow() {
        let watch = ChangeWatch::new().expect("an inotify instance");
        let scopes = [(); 2].map(|()| [(); 2].map(|()| tempfile::tempdir().expect("a directory")));
        let watches = scopes.each_ref().map(|directories| {
            let open = |directory: &TempDir| File::open(directory.path()).expect("it opens");
            let directories = directories.each_ref().map(open);
            watch.add(directories.each_ref().map(File::as_fd)).expect("a watch")
        });
        fs::write(scopes[0][0].path().join("memory.events"), "1").expect("written");
        assert!(watches.iter().all(|scope| watch.is_unchanged(scope)));
        fs::write(scopes[0][1].path().join("memory.max"), "1").expect("written");
        assert!(!watch.is_unchanged(&watches[0]) && watch.is_unchanged(&watches[1]));
        watch.changed.lock().overflows += 1;
        assert!(!watch.is_unchanged(&watches[1]));
    }
}
