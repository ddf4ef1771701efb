//! A cgroup from the outside, by its directory in the version 2 hierarchy: a scope's, or one below a group
//! that was delegated. It can be asked, without a manager, whether a process is left, told to end, read for
//! what it used, and, where it is the broker's own, be given limits and removed.

use std::ffi::OsStr;
use std::fs::File;
use std::io::{self, Read, Seek, Write};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::sync::OnceLock;
use std::time::{Duration, Instant};

use nix::dir::{Dir, Type};
use nix::errno::Errno;
use nix::fcntl::{OFlag, open, openat};
use nix::poll::{PollFd, PollFlags};
use nix::sys::signal::Signal;
use nix::sys::stat::{Mode, fstat, mkdirat};
use nix::sys::statfs::{CGROUP2_SUPER_MAGIC, fstatfs, statfs};
use nix::unistd::{Pid, UnlinkatFlags, unlinkat};

use crate::limits::{CGROUP_FILE_BYTES_MAX, CGROUPS_BELOW_MAX, FREEZE_ROUND, KILL_ROUND};
use crate::sys;

/// Where cgroup v2 is mounted, alone or beside version 1.
const MOUNTS: [&str; 2] = ["/sys/fs/cgroup", "/sys/fs/cgroup/unified"];

/// What most files of a cgroup have room in.
const USUAL_FILE_BYTES: usize = 1024;

const DIRECTORY: OFlag = OFlag::O_DIRECTORY.union(OFlag::O_RDONLY).union(OFlag::O_CLOEXEC);

/// A cgroup. The handle is of this very directory: it never comes to mean another.
#[derive(Debug)]
pub struct Cgroup {
    directory: OwnedFd,
    /// The path below the mount, as `/proc/PID/cgroup` has it.
    path: String,
}

/// What the processes of a scope used; a value that the kernel does not have is left out.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct CgroupUsage {
    /// Processor time, in milliseconds.
    pub cpu_ms: Option<u64>,
    /// The most bytes of memory at one time.
    pub memory_peak: Option<u64>,
    /// Whether one was killed for want of memory.
    pub oom: bool,
}

impl CgroupUsage {
    /// This account, with what the `later` one says in its stead.
    pub fn or(self, later: Self) -> Self {
        Self {
            cpu_ms: later.cpu_ms.or(self.cpu_ms),
            memory_peak: later.memory_peak.or(self.memory_peak),
            oom: self.oom || later.oom,
        }
    }

    /// This account, or else this processor time.
    pub fn or_used(self, used: Duration) -> Self {
        Self { cpu_ms: self.cpu_ms.or_else(|| u64::try_from(used.as_millis()).ok()), ..self }
    }
}

/// Hears that the kernel kills for want of memory in a cgroup, while the cgroup is there to say so.
#[derive(Debug)]
pub struct OomWatch {
    /// `memory.events`, until there is nothing more to learn of it.
    events: Option<File>,
    heard: bool,
}

impl OomWatch {
    /// What becomes ready when there is something to hear; at first, so that it is heard from then on.
    pub fn poll_fd(&self) -> Option<PollFd<'_>> {
        self.events.as_ref().map(|events| PollFd::new(events.as_fd(), PollFlags::POLLPRI))
    }

    /// Hears what there is.
    pub fn hear(&mut self) {
        let Some(text) = self.events.as_ref().map(read_at_start) else { return };
        self.heard = text.as_ref().is_ok_and(|text| field(text, "oom_kill").is_some_and(|kills| kills > 0));
        // A file whose cgroup was removed is ready for ever.
        if self.heard || text.is_err() {
            self.events = None;
        }
    }

    /// Whether a kill was heard of.
    pub fn heard(&self) -> bool {
        self.heard
    }
}

impl Cgroup {
    /// The cgroup of `pid`, which has to be the unit's own.
    /// Errors: `ENOENT` (no cgroup v2, or the process is elsewhere or gone).
    pub fn of(pid: Pid, unit: &str) -> io::Result<Self> {
        let path = path_of(pid)?;
        if path.rsplit('/').next() != Some(unit) {
            return Err(Errno::ENOENT.into());
        }
        Self::open(&path)
    }

    /// The cgroup that this process is in. Errors: `ENOENT` (no cgroup v2).
    pub(crate) fn own() -> io::Result<Self> {
        Self::open(&path_of(Pid::this())?)
    }

    /// The cgroup with this path, as [`Self::path`] gave it.
    pub fn open(path: &str) -> io::Result<Self> {
        let directory = mount().ok_or(Errno::ENOENT)?.join(path.trim_start_matches('/'));
        Ok(Self { directory: open(&directory, DIRECTORY, Mode::empty())?, path: path.into() })
    }

    /// The cgroup with this path and number. `None` when it is gone, whatever stands at its path now.
    pub fn find(path: &str, id: u64) -> io::Result<Option<Self>> {
        let Some(cgroup) = gone_is(None, Self::open(path).map(Some))? else { return Ok(None) };
        let is_cgroup = fstatfs(&cgroup.directory)?.filesystem_type() == CGROUP2_SUPER_MAGIC;
        Ok((is_cgroup && cgroup.id()? == id).then_some(cgroup))
    }

    /// Its number, which no other cgroup has before the host boots again.
    pub fn id(&self) -> io::Result<u64> {
        Ok(fstat(&self.directory)?.st_ino)
    }

    /// Whether this process is in it or below it.
    pub fn holds_us(&self) -> bool {
        path_of(Pid::this()).is_ok_and(|path| Path::new(&path).starts_with(&self.path))
    }

    /// A new cgroup in this one. Errors: `EEXIST`; `EAGAIN` (as many as the one above allows).
    pub(crate) fn create(&self, name: &str) -> io::Result<Self> {
        mkdirat(&self.directory, name, Mode::from_bits_truncate(0o755))?;
        self.child(name)
    }

    /// A cgroup in this one, made where it is missing.
    pub(crate) fn at(&self, name: &str) -> io::Result<Self> {
        match self.create(name) {
            Err(source) if source.kind() == io::ErrorKind::AlreadyExists => self.child(name),
            created => created,
        }
    }

    fn child(&self, name: &str) -> io::Result<Self> {
        let directory = openat(&self.directory, name, DIRECTORY, Mode::empty())?;
        Ok(Self { directory, path: format!("{}/{name}", self.path.trim_end_matches('/')) })
    }

    /// Where it is.
    pub fn path(&self) -> &str {
        &self.path
    }

    /// Its directory.
    pub fn directory(&self) -> BorrowedFd<'_> {
        self.directory.as_fd()
    }

    /// Writes one of its files.
    pub(crate) fn set(&self, file: &str, value: &str) -> io::Result<()> {
        (&self.file(file, OFlag::O_WRONLY)?).write_all(value.as_bytes())
    }

    /// The controllers that it has.
    pub(crate) fn controllers(&self) -> io::Result<Vec<String>> {
        Ok(self.read("cgroup.controllers")?.split_ascii_whitespace().map(str::to_owned).collect())
    }

    /// Removes it, with what is below it. Gives whether it is gone; as long as a process is in there, it is
    /// not.
    pub fn remove(&self) -> io::Result<bool> {
        let itself = Path::new("..").join(self.path.rsplit('/').next().unwrap_or_default());
        let remove = |path: &Path| match unlinkat(&self.directory, path, UnlinkatFlags::RemoveDir) {
            Ok(()) | Err(Errno::ENOENT | Errno::ENODEV) => Ok(true),
            Err(Errno::EBUSY) => Ok(false),
            Err(errno) => Err(io::Error::from(errno)),
        };
        if remove(&itself)? {
            return Ok(true);
        }
        if self.is_populated()? {
            return Ok(false);
        }
        for below in self.below()?.iter().rev() {
            remove(below)?;
        }
        remove(&itself)
    }

    /// The cgroups in it.
    pub(crate) fn children(&self) -> io::Result<Vec<Self>> {
        let names = self.names(Path::new("."))?;
        Ok(names.iter().filter_map(|name| self.child(name.to_str()?).ok()).collect())
    }

    /// The cgroups below it, each after the one above it.
    fn below(&self) -> io::Result<Vec<PathBuf>> {
        let mut found = self.names(Path::new("."))?;
        let mut next = 0;
        while let Some(path) = found.get(next).filter(|_| found.len() < CGROUPS_BELOW_MAX) {
            let names = gone_is(Vec::new(), self.names(path))?;
            let paths: Vec<_> = names.into_iter().map(|name| path.join(name)).collect();
            found.extend(paths);
            next += 1;
        }
        Ok(found)
    }

    /// The cgroups that are right in this one or, by its path from here, in another below it.
    fn names(&self, path: &Path) -> io::Result<Vec<PathBuf>> {
        let mut directory = Dir::openat(&self.directory, path, DIRECTORY, Mode::empty())?;
        let mut names = Vec::new();
        for entry in directory.iter() {
            let entry = entry?;
            let name = Path::new(OsStr::from_bytes(entry.file_name().to_bytes()));
            if entry.file_type() == Some(Type::Directory) && name != ".." && name != "." {
                names.push(name.to_owned());
            }
        }
        Ok(names)
    }

    /// Whether a process is left in it or below it. One that the manager has removed holds none.
    pub fn is_populated(&self) -> io::Result<bool> {
        gone_is(false, self.read("cgroup.events").map(|text| field(&text, "populated") != Some(0)))
    }

    /// Waits until no process is left, or `until`. Gives whether none is.
    pub fn wait_empty(&self, until: Instant) -> io::Result<bool> {
        let Some(events) = gone_is(None, self.file("cgroup.events", OFlag::O_RDONLY).map(Some))? else {
            return Ok(true);
        };
        loop {
            // An event is told until it is read, and read with the very handle that waits for it.
            let populated = read_at_start(&events).map(|text| field(&text, "populated") != Some(0));
            if !gone_is(false, populated)? {
                return Ok(true);
            }
            if Instant::now() >= until {
                return Ok(false);
            }
            // The kernel holds such events back for some milliseconds when they come quickly, so do not trust
            // one.
            let round = Instant::now() + KILL_ROUND;
            sys::poll_until(&mut [PollFd::new(events.as_fd(), PollFlags::POLLPRI)], Some(round.min(until)))?;
        }
    }

    /// Sends `signal` to every process in it and below it. One that is gone meanwhile is passed over.
    pub fn signal(&self, signal: Signal) -> io::Result<()> {
        self.signal_others(signal, None)
    }

    /// The same, but not to `spared`.
    pub fn signal_others(&self, signal: Signal, spared: Option<Pid>) -> io::Result<()> {
        for pid in self.processes()?.into_iter().filter(|pid| Some(*pid) != spared) {
            // By handle, and only while it is still in here: the number may mean another process by now.
            if let Ok(pidfd) = sys::open_pidfd(pid)
                && path_of(pid).is_ok_and(|path| Path::new(&path).starts_with(&self.path))
            {
                drop(sys::send_signal(pidfd.as_fd(), signal));
            }
        }
        Ok(())
    }

    /// Kills everything in it and below it, in one step where the kernel can (`cgroup.kill`, Linux 5.14):
    /// then also what forks faster than it can be listed, and what runs as another user.
    pub fn kill(&self) -> io::Result<()> {
        let at_once = self.file("cgroup.kill", OFlag::O_WRONLY).and_then(|file| (&file).write_all(b"1"));
        at_once.or_else(|_| self.signal(Signal::SIGKILL))
    }

    /// Kills everything in it and below it but `spared`, one by one. Meanwhile all are frozen, where the
    /// kernel can (Linux 5.2), so that none can make another that is not listed.
    pub fn kill_others(&self, spared: Pid) -> io::Result<()> {
        let freezes = self.set("cgroup.freeze", "1").is_ok();
        if freezes {
            // One that the kernel cannot stop is killed as it is.
            self.wait_frozen(Instant::now() + KILL_ROUND).ok();
        }
        let killed = self.signal_others(Signal::SIGKILL, Some(spared));
        if freezes {
            // What was killed has ended meanwhile; the spared one goes on.
            self.set("cgroup.freeze", "0")?;
        }
        killed
    }

    /// Waits until all in it are frozen, or `until`.
    fn wait_frozen(&self, until: Instant) -> io::Result<()> {
        let events = self.file("cgroup.events", OFlag::O_RDONLY)?;
        while field(&read_at_start(&events)?, "frozen") == Some(0) && Instant::now() < until {
            let round = Instant::now() + FREEZE_ROUND;
            sys::poll_until(&mut [PollFd::new(events.as_fd(), PollFlags::POLLPRI)], Some(round.min(until)))?;
        }
        Ok(())
    }

    /// The processes in it and below it.
    pub fn processes(&self) -> io::Result<Vec<Pid>> {
        let mut text = gone_is(String::new(), self.read("cgroup.procs"))?;
        for group in gone_is(Vec::new(), self.below())? {
            // One that is gone by now, or whose processes are listed above it because it holds threads.
            text += &self.read(group.join("cgroup.procs")).unwrap_or_default();
        }
        Ok(text.lines().filter_map(|line| line.parse().ok().map(Pid::from_raw)).collect())
    }

    /// What its processes used so far; nothing when it is gone. It may go between two reads, so the peak
    /// comes last: where there is one, nobody was killed for want of memory unless `oom` says so.
    pub fn account(&self) -> CgroupUsage {
        let number = |file: &str, name: &str| self.read(file).ok().and_then(|text| field(&text, name));
        let oom = number("memory.events", "oom_kill").is_some_and(|kills| kills > 0);
        let cpu_ms = number("cpu.stat", "usage_usec").map(|microseconds| microseconds / 1000);
        let memory_peak = self.read("memory.peak").ok().and_then(|text| text.trim().parse().ok());
        CgroupUsage { cpu_ms, memory_peak, oom }
    }

    /// Hears of kills for want of memory in it, if it has the controller.
    pub fn kills(&self) -> OomWatch {
        OomWatch { events: self.file("memory.events", OFlag::O_RDONLY).ok(), heard: false }
    }

    fn file(&self, name: impl AsRef<Path>, flags: OFlag) -> io::Result<File> {
        Ok(openat(&self.directory, name.as_ref(), flags | OFlag::O_CLOEXEC, Mode::empty())?.into())
    }

    fn read(&self, name: impl AsRef<Path>) -> io::Result<String> {
        read_on(&self.file(name, OFlag::O_RDONLY)?)
    }
}

fn read_at_start(mut file: &File) -> io::Result<String> {
    file.rewind()?;
    read_on(file)
}

/// The rest of a file that does not know its size: with room from the start, in one piece.
fn read_on(file: &File) -> io::Result<String> {
    let mut text = String::with_capacity(USUAL_FILE_BYTES);
    file.take(CGROUP_FILE_BYTES_MAX).read_to_string(&mut text)?;
    Ok(text)
}

/// The value of one line of a flat keyed file.
fn field(text: &str, name: &str) -> Option<u64> {
    let line = text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(' '))?;
    line.trim().parse().ok()
}

/// What a cgroup that was removed says.
fn gone_is<T>(gone: T, result: io::Result<T>) -> io::Result<T> {
    match result {
        Err(source) if matches!(source.raw_os_error(), Some(libc::ENOENT | libc::ENODEV)) => Ok(gone),
        result => result,
    }
}

/// Which of them it is stays as it is while this process lives.
fn mount() -> Option<&'static Path> {
    static FOUND: OnceLock<&Path> = OnceLock::new();
    let unified = |path: &&str| statfs(*path).is_ok_and(|fs| fs.filesystem_type() == CGROUP2_SUPER_MAGIC);
    let find = || MOUNTS.into_iter().find(unified).map(Path::new);
    FOUND.get().copied().or_else(|| find().map(|found| *FOUND.get_or_init(|| found)))
}

fn path_of(pid: Pid) -> io::Result<String> {
    let text = read_on(&File::open(format!("/proc/{pid}/cgroup"))?)?;
    let path = text.lines().find_map(|line| line.strip_prefix("0::"));
    path.map(str::to_owned).ok_or_else(|| Errno::ENOENT.into())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_keyed_file_is_read_by_its_keys() {
        let text = "usage_usec 1500\nuser_usec 7\npopulated 0\n";
        assert_eq!(field(text, "usage_usec"), Some(1500));
        assert_eq!(field(text, "populated"), Some(0));
        assert_eq!(field(text, "usage"), None);
    }

    #[test]
    fn a_process_outside_the_unit_is_not_taken_for_one_inside() {
        assert!(Cgroup::of(Pid::this(), "no-such-unit.scope").is_err());
    }
}
