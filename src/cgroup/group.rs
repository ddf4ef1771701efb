//! A cgroup, accessed through its directory in the version 2 hierarchy: a scope's, or one below a delegated
//! cgroup. Tells, without a manager, whether a process is left in it and what its processes used, signals and
//! kills them, and sets limits on a delegated cgroup and removes it.

use std::ffi::OsStr;
use std::fs::{self, File};
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
use nix::sys::stat::{FchmodatFlags, Mode, fchmod, fchmodat, fstat, mkdirat};
use nix::sys::statfs::{CGROUP2_SUPER_MAGIC, fstatfs, statfs};
use nix::unistd::{Pid, UnlinkatFlags, unlinkat};

use crate::limits::{CGROUP_FILE_BYTES_MAX, CGROUPS_BELOW_MAX, FREEZE_ROUND, KILL_ROUND};
use crate::sys;

/// The usual mount points of cgroup v2, alone or beside version 1.
const MOUNTS: [&str; 2] = ["/sys/fs/cgroup", "/sys/fs/cgroup/unified"];

/// Enough for most files of a cgroup.
const USUAL_FILE_BYTES: usize = 1024;

const DIRECTORY: OFlag = OFlag::O_DIRECTORY.union(OFlag::O_RDONLY).union(OFlag::O_CLOEXEC);

/// The rights of a new cgroup, and of the files in it that can be written.
const DIRECTORY_MODE: Mode = Mode::from_bits_truncate(0o755);
const FILE_MODE: Mode = Mode::from_bits_truncate(0o644);

/// A cgroup. The descriptor stays this directory's, even if another cgroup gets its path.
#[derive(Debug)]
pub struct Cgroup {
    directory: OwnedFd,
    /// The path below the mount, as `/proc/PID/cgroup` has it.
    path: String,
}

/// The resources that a cgroup's processes used; `None` for a value that the kernel does not give.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct CgroupUsage {
    /// Processor time, in milliseconds.
    pub cpu_ms: Option<u64>,
    /// The most bytes of memory at one time.
    pub memory_peak: Option<u64>,
    /// Whether the kernel's OOM killer killed a process.
    pub oom: bool,
}

impl CgroupUsage {
    /// This account, with the values that `later` has in the place of its own.
    pub fn or(self, later: Self) -> Self {
        Self {
            cpu_ms: later.cpu_ms.or(self.cpu_ms),
            memory_peak: later.memory_peak.or(self.memory_peak),
            oom: self.oom || later.oom,
        }
    }

    /// This account, with `used` as the processor time if it has none.
    pub fn or_used(self, used: Duration) -> Self {
        Self { cpu_ms: self.cpu_ms.or_else(|| u64::try_from(used.as_millis()).ok()), ..self }
    }
}

/// Notes that the OOM killer kills a process in a cgroup, at the time: the cgroup may be removed before it is
/// read at the call's end.
#[derive(Debug)]
pub struct OomWatch {
    /// `memory.events`; `None` once a kill was noted, or the cgroup is gone.
    events: Option<File>,
    heard: bool,
}

impl OomWatch {
    /// The file to poll. It is ready when `memory.events` has changed since it was read, and ready the first
    /// time.
    pub fn poll_fd(&self) -> Option<PollFd<'_>> {
        self.events.as_ref().map(|events| PollFd::new(events.as_fd(), PollFlags::POLLPRI))
    }

    /// Reads the counter of kills.
    pub fn hear(&mut self) {
        let Some(text) = self.events.as_ref().map(read_at_start) else { return };
        self.heard = text.as_ref().is_ok_and(|text| field(text, "oom_kill").is_some_and(|kills| kills > 0));
        // The file of a removed cgroup would stay ready for ever.
        if self.heard || text.is_err() {
            self.events = None;
        }
    }

    /// Whether a kill was noted.
    pub fn heard(&self) -> bool {
        self.heard
    }
}

impl Cgroup {
    /// The cgroup of `pid`, which has to be the cgroup of `unit` itself.
    /// Errors: `ENOENT` (no cgroup v2, or the process is elsewhere or gone).
    pub fn of(pid: Pid, unit: &str) -> io::Result<Self> {
        let path = path_of(pid)?;
        if path.rsplit('/').next() != Some(unit) {
            return Err(Errno::ENOENT.into());
        }
        Self::open(&path)
    }

    /// The path of the cgroup of `pid`. Errors: `ENOENT` (no cgroup v2, or the process is gone).
    pub(crate) fn path_of(pid: Pid) -> io::Result<String> {
        path_of(pid)
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

    /// The cgroup with this path and id. `None` when it is gone, even if another has its path now.
    pub fn find(path: &str, id: u64) -> io::Result<Option<Self>> {
        let Some(cgroup) = gone_is(None, Self::open(path).map(Some))? else { return Ok(None) };
        let is_cgroup = fstatfs(&cgroup.directory)?.filesystem_type() == CGROUP2_SUPER_MAGIC;
        Ok((is_cgroup && cgroup.id()? == id).then_some(cgroup))
    }

    /// Its id, which no other cgroup gets before the host boots again.
    pub fn id(&self) -> io::Result<u64> {
        Ok(fstat(&self.directory)?.st_ino)
    }

    /// Whether this process is in it or below it.
    pub fn holds_us(&self) -> bool {
        path_of(Pid::this()).is_ok_and(|path| Path::new(&path).starts_with(&self.path))
    }

    /// A new cgroup in this one. Errors: `EEXIST`; `EAGAIN` (over `cgroup.max.descendants` or `.depth` above
    /// it).
    pub(crate) fn create(&self, name: &str) -> io::Result<Self> {
        mkdirat(&self.directory, name, DIRECTORY_MODE)?;
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

    /// Its path below the mount.
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

    /// The controllers that are enabled in it.
    pub(crate) fn controllers(&self) -> io::Result<Vec<String>> {
        Ok(self.read("cgroup.controllers")?.split_ascii_whitespace().map(str::to_owned).collect())
    }

    /// Removes it, with the cgroups below it. `false` if a process is left there, or very many cgroups are.
    pub fn remove(&self) -> io::Result<bool> {
        let itself = Path::new("..").join(self.name());
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
        for below in self.below()?.iter().rev().take(CGROUPS_BELOW_MAX) {
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
            // What lies deeper than a path can name, the kernel's own kill reaches (`kill`).
            let can_open = |path: &PathBuf| path.as_os_str().len() < libc::PATH_MAX.unsigned_abs() as usize;
            let paths: Vec<_> = names.into_iter().map(|name| path.join(name)).filter(can_open).collect();
            found.extend(paths);
            next += 1;
        }
        Ok(found)
    }

    /// The names of the cgroups directly in the one at `path`, which is relative to this one.
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

    /// Whether a process is left in it or below it; `false` for a cgroup that was removed.
    pub fn is_populated(&self) -> io::Result<bool> {
        gone_is(false, self.read("cgroup.events").map(|text| field(&text, "populated") != Some(0)))
    }

    /// Waits until no process is left, or `until`. Gives whether none is left.
    pub fn wait_empty(&self, until: Instant) -> io::Result<bool> {
        let Some(events) = gone_is(None, self.file("cgroup.events", OFlag::O_RDONLY).map(Some))? else {
            return Ok(true);
        };
        loop {
            // poll(2) reports an event until the file is read, with the same descriptor that is polled.
            let populated = read_at_start(&events).map(|text| field(&text, "populated") != Some(0));
            if !gone_is(false, populated)? {
                return Ok(true);
            }
            if Instant::now() >= until {
                return Ok(false);
            }
            // The kernel delays such events for some milliseconds when they come quickly, so the file is also
            // read from time to time.
            let round = Instant::now() + KILL_ROUND;
            sys::poll_until(&mut [PollFd::new(events.as_fd(), PollFlags::POLLPRI)], Some(round.min(until)))?;
        }
    }

    /// Sends `signal` to every process in it and below it. A process that ends meanwhile is passed over.
    pub fn signal(&self, signal: Signal) -> io::Result<()> {
        self.signal_others(signal, None)
    }

    /// Like [`Self::signal`], but not to `spared`.
    pub fn signal_others(&self, signal: Signal, spared: Option<Pid>) -> io::Result<()> {
        for pid in self.processes()?.into_iter().filter(|pid| Some(*pid) != spared) {
            // By pidfd, and only if its process is still in this cgroup: the pid may be another process's by
            // now.
            if let Ok(pidfd) = sys::open_pidfd(pid)
                && path_of(pid).is_ok_and(|path| Path::new(&path).starts_with(&self.path))
            {
                drop(sys::send_signal(pidfd.as_fd(), signal));
            }
        }
        Ok(())
    }

    /// Kills all processes in it and below it, in one step where the kernel can (`cgroup.kill`, Linux 5.14):
    /// then also processes that fork faster than they can be listed, and those that run as another user.
    pub fn kill(&self) -> io::Result<()> {
        let at_once = self.file("cgroup.kill", OFlag::O_WRONLY).and_then(|file| (&file).write_all(b"1"));
        at_once.or_else(|_| self.signal(Signal::SIGKILL))
    }

    /// Kills all processes in it and below it but `spared`, one by one. They are frozen meanwhile, where the
    /// kernel can (Linux 5.2), so that none can make a process that is not listed.
    pub fn kill_others(&self, spared: Pid) -> io::Result<()> {
        let freezes = self.set("cgroup.freeze", "1").is_ok();
        if freezes {
            // A process that the kernel cannot freeze in time is killed all the same.
            self.wait_frozen(Instant::now() + KILL_ROUND).ok();
        }
        let killed = self.signal_others(Signal::SIGKILL, Some(spared));
        if freezes {
            // The killed processes have ended; `spared` goes on.
            self.set("cgroup.freeze", "0")?;
        }
        killed
    }

    /// Waits until all its processes are frozen, or `until`.
    fn wait_frozen(&self, until: Instant) -> io::Result<()> {
        let events = self.file("cgroup.events", OFlag::O_RDONLY)?;
        while field(&read_at_start(&events)?, "frozen") == Some(0) && Instant::now() < until {
            let round = Instant::now() + FREEZE_ROUND;
            sys::poll_until(&mut [PollFd::new(events.as_fd(), PollFlags::POLLPRI)], Some(round.min(until)))?;
        }
        Ok(())
    }

    /// A file of it, or of a cgroup below it, that stays open, to be read again and again.
    pub(crate) fn open_file(&self, file: &Path) -> io::Result<CgroupFile> {
        self.file(file, OFlag::O_RDONLY).map(CgroupFile)
    }

    /// Removes it. Errors: `EBUSY` (a process or a cgroup is in it).
    pub(crate) fn remove_empty(&self) -> io::Result<()> {
        let itself = Path::new("..").join(self.name());
        let remove = || unlinkat(&self.directory, &itself, UnlinkatFlags::RemoveDir);
        match remove() {
            Err(Errno::EACCES) => {
                fchmod(&self.directory, DIRECTORY_MODE)?;
                Ok(remove()?)
            }
            removed => Ok(removed?),
        }
    }

    /// The last part of its path.
    pub fn name(&self) -> &str {
        self.path.rsplit('/').next().unwrap_or_default()
    }

    /// The processes in it and below it. Of a threaded cgroup, those whose first thread is in it.
    pub fn processes(&self) -> io::Result<Vec<Pid>> {
        let own = self.read("cgroup.procs").or_else(|why| match why.raw_os_error() {
            Some(libc::EOPNOTSUPP) => self.read("cgroup.threads"),
            _ => Err(why),
        });
        let mut text = gone_is(String::new(), own)?;
        for group in gone_is(Vec::new(), self.below())? {
            // The read fails for a group that is gone by now, and for a threaded one, whose processes are
            // listed in the group above it.
            text += &self.read(group.join("cgroup.procs")).unwrap_or_default();
        }
        Ok(pids(&text))
    }

    /// The memory that its processes used so far, without the processor time; empty when it is gone.
    pub fn memory_account(&self) -> CgroupUsage {
        let events = self.read("memory.events").ok();
        let oom = events.and_then(|text| field(&text, "oom_kill")).is_some_and(|kills| kills > 0);
        let memory_peak = self.read("memory.peak").ok().and_then(|text| text.trim().parse().ok());
        CgroupUsage { cpu_ms: None, memory_peak, oom }
    }

    /// Whether the cgroups in it have the memory controller.
    pub fn hands_memory_on(&self) -> bool {
        self.read("cgroup.subtree_control")
            .is_ok_and(|text| text.split_whitespace().any(|own| own == "memory"))
    }

    /// A watch for OOM kills in it, which needs the memory controller.
    pub fn kills(&self) -> OomWatch {
        OomWatch { events: self.file("memory.events", OFlag::O_RDONLY).ok(), heard: false }
    }

    fn file(&self, name: impl AsRef<Path>, flags: OFlag) -> io::Result<File> {
        let open = || openat(&self.directory, name.as_ref(), flags | OFlag::O_CLOEXEC, Mode::empty());
        match open() {
            // A command may take away the rights on its own cgroup, whose owner it is, as this process is.
            Err(Errno::EACCES) => {
                self.take_rights(name.as_ref());
                Ok(open()?.into())
            }
            opened => Ok(opened?.into()),
        }
    }

    /// Gives this process's user the usual rights on the directory and one of its files.
    fn take_rights(&self, file: &Path) {
        // Where it fails, the open that failed before fails again.
        fchmod(&self.directory, DIRECTORY_MODE).ok();
        fchmodat(&self.directory, file, FILE_MODE, FchmodatFlags::FollowSymlink).ok();
    }

    fn read(&self, name: impl AsRef<Path>) -> io::Result<String> {
        read_on(&self.file(name, OFlag::O_RDONLY)?)
    }
}

fn read_at_start(mut file: &File) -> io::Result<String> {
    file.rewind()?;
    read_on(file)
}

/// Reads the rest of a file of the kernel's, whose size is not known. What leaves room in a first, short read
/// is all that there is.
fn read_on(file: &File) -> io::Result<String> {
    let mut start = [0; USUAL_FILE_BYTES];
    let length = sys::read(file.as_fd(), &mut start)?;
    let mut bytes = start[..length].to_vec();
    if length == USUAL_FILE_BYTES {
        file.take(CGROUP_FILE_BYTES_MAX).read_to_end(&mut bytes)?;
    }
    text(bytes)
}

fn text(bytes: Vec<u8>) -> io::Result<String> {
    String::from_utf8(bytes).map_err(|_| io::ErrorKind::InvalidData.into())
}

fn pids(text: &str) -> Vec<Pid> {
    text.lines().filter_map(|line| line.parse().ok().map(Pid::from_raw)).collect()
}

/// A file of a cgroup that stays open.
#[derive(Debug)]
pub struct CgroupFile(File);

impl CgroupFile {
    /// The processes that it lists, as far as they fit [`USUAL_FILE_BYTES`].
    /// Errors: `EOPNOTSUPP` (the cgroup is a threaded one), `ENODEV` (it is gone).
    pub(crate) fn pids(&self) -> io::Result<Vec<Pid>> {
        self.read().map(|text| pids(&text))
    }

    /// One of its numbers.
    pub(crate) fn number(&self, name: &str) -> io::Result<u64> {
        field(&self.read()?, name).ok_or_else(|| io::ErrorKind::InvalidData.into())
    }

    fn read(&self) -> io::Result<String> {
        let mut start = [0; USUAL_FILE_BYTES];
        let length = sys::read_at(self.0.as_fd(), 0, &mut start)?;
        text(start[..length].to_vec())
    }
}

/// The value of one line of a flat keyed file.
fn field(text: &str, name: &str) -> Option<u64> {
    let line = text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(' '))?;
    line.trim().parse().ok()
}

/// `gone` in the place of the errors that a removed cgroup's files give.
fn gone_is<T>(gone: T, result: io::Result<T>) -> io::Result<T> {
    match result {
        Err(source) if matches!(source.raw_os_error(), Some(libc::ENOENT | libc::ENODEV)) => Ok(gone),
        result => result,
    }
}

/// The mount point of cgroup v2. Found once: it does not change while this process lives.
fn mount() -> Option<&'static Path> {
    static FOUND: OnceLock<&Path> = OnceLock::new();
    let unified = |path: &&str| statfs(*path).is_ok_and(|fs| fs.filesystem_type() == CGROUP2_SUPER_MAGIC);
    let find = || MOUNTS.into_iter().find(unified).map(Path::new);
    FOUND.get().copied().or_else(|| find().map(|found| *FOUND.get_or_init(|| found)))
}

/// Where a command has named a cgroup in other bytes than UTF-8, the rest of the path is told as it can be.
fn path_of(pid: Pid) -> io::Result<String> {
    let text = fs::read(format!("/proc/{pid}/cgroup"))?;
    let text = String::from_utf8_lossy(&text);
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
