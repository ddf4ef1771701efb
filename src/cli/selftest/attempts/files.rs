//! Attempts on files outside: to read, change and run them; and to run a file that was written.

use std::ffi::CString;
use std::fs::{self, File, OpenOptions, Permissions};
use std::io::{self, Read, Write};
use std::os::fd::AsFd;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use nix::fcntl::{AT_FDCWD, OFlag, OpenHow, openat2};
use nix::sys::memfd::{MFdFlags, memfd_create};
use nix::sys::stat::{Mode, SFlag, UtimensatFlags, makedev, mknod, utimensat};
use nix::sys::time::TimeSpec;
use nix::unistd::{chown, getgid, mkfifo, truncate};

use crate::sys;

use super::super::escape_attempt::{EscapeAttempt, attempt, failed};
use super::super::promise::ConfinedPart::Write as NotWritten;
use super::super::promise::ConfinedPart::{
    Exec, ExecLoader, ExecMemory, ExecWritten, Processes, Read as NotRead, Syscalls,
};
use super::super::targets::{EscapeTargets, SECRET};

pub(super) const READS: &[EscapeAttempt] = &[
    attempt("read-path", "read a file outside by its path", NotRead, |on| reveal(&on.outside.join("secret"))),
    attempt("read-symlink", "read it by a symbolic link in the working directory", NotRead, |on| {
        reveal(&on.workspace.join("link"))
    }),
    attempt("read-hardlink", "read it by a hard link that is made to it", NotRead, |on| {
        fs::hard_link(on.outside.join("secret"), on.workspace.join("hard"))?;
        reveal(&on.workspace.join("hard"))
    }),
    attempt("read-rename", "move it into the working directory", NotRead, |on| {
        fs::rename(on.outside.join("moved"), on.workspace.join("moved"))?;
        reveal(&on.workspace.join("moved"))
    }),
    attempt("read-openat2", "read it by openat2 and a path with ..", NotRead, |_| {
        let how = OpenHow::new().flags(OFlag::O_RDONLY);
        let file = File::from(openat2(AT_FDCWD, "../outside/secret", how)?);
        reveal_open(file)
    }),
    attempt("read-proc-root", "read it by /proc/self/root", NotRead, |on| {
        reveal(&from_root(&on.outside.join("secret")))
    }),
    attempt("list", "list the directory outside", NotRead, |on| {
        fs::read_dir(&on.outside)?.next().map_or(Err(failed("empty")), |_| Ok(()))
    }),
    attempt("read-proc-cwd", "read it by the working directory of a process outside", Processes, |on| {
        reveal(&of_process(on, "cwd").join("secret"))
    }),
    attempt("read-environ", "read the environment of a process outside", Processes, |on| {
        let text = fs::read(of_process(on, "environ"))?;
        let is_found = text.windows(SECRET.len()).any(|part| part == SECRET.as_bytes());
        if is_found { Ok(()) } else { Err(failed("another environment")) }
    }),
    attempt("read-mem", "open the memory of a process outside", Processes, |on| {
        OpenOptions::new().read(true).write(true).open(of_process(on, "mem")).map(drop)
    }),
];

pub(super) const WRITES: &[EscapeAttempt] = &[
    attempt("write-path", "write a file outside", NotWritten, |on| overwrite(&on.outside.join("written"))),
    attempt("write-new", "make a file outside", NotWritten, |on| {
        File::create_new(on.outside.join("new")).map(drop)
    }),
    attempt("write-symlink", "write by a symbolic link in the working directory", NotWritten, |on| {
        overwrite(&on.workspace.join("link-to-write"))
    }),
    attempt("write-hardlink", "write by a hard link that is made to the file", NotWritten, |on| {
        fs::hard_link(on.outside.join("written"), on.workspace.join("hard"))?;
        overwrite(&on.workspace.join("hard"))
    }),
    attempt("write-openat2", "write by openat2 and a path with ..", NotWritten, |_| {
        let how = OpenHow::new().flags(OFlag::O_WRONLY | OFlag::O_TRUNC);
        let mut file = File::from(openat2(AT_FDCWD, "../outside/written", how)?);
        file.write_all(b"after\n")
    }),
    attempt("write-proc-root", "write by /proc/self/root", NotWritten, |on| {
        overwrite(&from_root(&on.outside.join("written")))
    }),
    attempt("write-truncate", "cut a file outside", NotWritten, |on| {
        Ok(truncate(&on.outside.join("written"), 0)?)
    }),
    attempt("write-rename", "move a file out of the working directory", NotWritten, |on| {
        fs::rename(on.workspace.join("own"), on.outside.join("arrived"))
    }),
    attempt("write-remove", "remove a file outside", NotWritten, |on| {
        fs::remove_file(on.outside.join("removed"))
    }),
    attempt("write-directory", "make a directory outside", NotWritten, |on| {
        fs::create_dir(on.outside.join("made"))
    }),
    attempt("write-link", "make a symbolic link outside", NotWritten, |on| {
        symlink("x", on.outside.join("made"))
    }),
    attempt("write-fifo", "make a FIFO outside", NotWritten, |on| {
        Ok(mkfifo(&on.outside.join("made"), Mode::S_IRWXU)?)
    }),
    attempt("write-cgroup", "move itself to a cgroup outside", NotWritten, |on| {
        OpenOptions::new().write(true).open(on.cgroup.join("cgroup.procs"))?.write_all(b"0")
    }),
    attempt("device", "make a device in the working directory", Syscalls, |on| {
        Ok(mknod(&on.workspace.join("device"), SFlag::S_IFCHR, Mode::S_IRWXU, makedev(1, 3))?)
    }),
];

pub(super) const METADATA: &[EscapeAttempt] = &[
    attempt("chmod", "change the mode of a file outside", NotWritten, |on| {
        fs::set_permissions(on.outside.join("written"), Permissions::from_mode(0o600))
    }),
    attempt("utimes", "change the times of a file outside", NotWritten, |on| {
        let (path, time) = (on.outside.join("written"), TimeSpec::new(1, 0));
        Ok(utimensat(AT_FDCWD, &path, &time, &time, UtimensatFlags::FollowSymlink)?)
    }),
    attempt("chown", "change the group of a file outside", NotWritten, |on| {
        Ok(chown(&on.outside.join("written"), None, Some(getgid()))?)
    }),
    attempt("setxattr", "set an attribute of a file outside", NotWritten, |on| {
        let path = CString::new(on.outside.join("written").as_os_str().as_bytes())?;
        Ok(sys::set_attribute(&path, c"user.sluice", b"x")?)
    }),
    attempt("flags", "set the flags of a file outside", NotWritten, |on| {
        const NO_DUMP: u32 = 0x40;
        let file = File::open(on.outside.join("written"))?;
        Ok(sys::change_flags(file.as_fd(), |flags| flags ^ NO_DUMP)?)
    }),
];

pub(super) const PROGRAMS: &[EscapeAttempt] = &[
    attempt("exec-outside", "run a program outside", Exec, |on| run(&on.outside.join("program"), None)),
    attempt("exec-written", "run a program in the working directory", ExecWritten, |on| {
        run(&on.workspace.join("program"), None)
    }),
    attempt("exec-loader", "have the program loader run it", ExecLoader, |on| {
        let loader = LOADERS.iter().map(Path::new).find(|loader| loader.exists());
        run(loader.ok_or_else(|| failed("no loader"))?, Some(&on.workspace.join("program")))
    }),
    attempt("exec-memory", "run a program that is in memory alone", ExecMemory, |on| {
        let mut memory = File::from(memfd_create(c"program", MFdFlags::empty())?);
        io::copy(&mut File::open(on.workspace.join("program"))?, &mut memory)?;
        run(Path::new(&format!("/proc/self/fd/{}", std::os::fd::AsRawFd::as_raw_fd(&memory))), None)
    }),
];

/// The program loaders of the C libraries.
const LOADERS: [&str; 4] = [
    "/lib64/ld-linux-x86-64.so.2",
    "/lib/ld-linux-aarch64.so.1",
    "/lib/ld-musl-x86_64.so.1",
    "/lib/ld-musl-aarch64.so.1",
];

fn reveal(path: &Path) -> io::Result<()> {
    reveal_open(File::open(path)?)
}

fn reveal_open(mut file: File) -> io::Result<()> {
    let mut text = String::new();
    file.read_to_string(&mut text)?;
    if text == SECRET { Ok(()) } else { Err(failed("another text")) }
}

fn overwrite(path: &Path) -> io::Result<()> {
    OpenOptions::new().write(true).truncate(true).open(path)?.write_all(b"after\n")
}

/// A path that goes by way of this process's root.
fn from_root(path: &Path) -> PathBuf {
    Path::new("/proc/self/root").join(path.strip_prefix("/").unwrap_or(path))
}

fn of_process(on: &EscapeTargets, name: &str) -> PathBuf {
    Path::new("/proc").join(on.process.to_string()).join(name)
}

fn run(program: &Path, word: Option<&Path>) -> io::Result<()> {
    let mut command = Command::new(program);
    command.args(word).stdin(Stdio::inherit()).stdout(Stdio::piped()).stderr(Stdio::piped());
    if command.output()?.status.success() { Ok(()) } else { Err(failed("the program fails")) }
}
