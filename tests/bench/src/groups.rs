//! What the kernel itself takes for a process in a group (cgroup) of its own: a group is made, the program
//! begins in it and ends, and the group is removed. Nothing else is around it. The groups lie beside those of
//! a broker in a delegated cgroup, and have the same controllers.

use std::ffi::{CString, c_char};
use std::fs::{self, File};
use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use nix::errno::Errno;
use nix::fcntl::{OFlag, open, openat};
use nix::libc;
use nix::sys::stat::{Mode, mkdirat};
use nix::sys::wait::{WaitStatus, waitpid};
use nix::unistd::{Pid, UnlinkatFlags, unlinkat};

/// Where cgroup v2 is mounted, alone or beside version 1.
const MOUNTS: [&str; 2] = ["/sys/fs/cgroup", "/sys/fs/cgroup/unified"];

const DIRECTORY: OFlag = OFlag::O_DIRECTORY.union(OFlag::O_RDONLY).union(OFlag::O_CLOEXEC);

/// A kernel may count a process that was waited for as in its group for a moment more.
const REMOVED_IN: Duration = Duration::from_secs(1);
/// `CLONE_INTO_CGROUP`. The constant of `libc` is cut to an `int`, which leaves 0.
const CLONE_INTO_CGROUP: u64 = 0x2_0000_0000;

/// A command that is run in a new group each time.
#[derive(Debug)]
pub struct Groups {
    /// The directory that they are made in.
    above: OwnedFd,
    /// The number of the last group that was made.
    number: AtomicU64,
    argv: Vec<CString>,
    env: Vec<CString>,
    null: File,
}

impl Groups {
    /// Runs the words of a command, the first an absolute path, in groups beside those of the broker `pid`,
    /// which has a delegated cgroup.
    pub fn beside(pid: u32, words: &[&str]) -> io::Result<Self> {
        let above = open(&above(pid)?, DIRECTORY, Mode::empty())?;
        let argv = words.iter().map(|word| CString::new(*word)).collect::<Result<_, _>>()?;
        let null = File::options().read(true).write(true).open("/dev/null")?;
        let env = vec![c"PATH=/bin:/usr/bin:/sbin:/usr/sbin".to_owned()];
        Ok(Self { above, number: AtomicU64::new(0), argv, env, null })
    }

    /// Makes a group, runs the command in it, and removes it: the exit code.
    pub fn run(&self) -> io::Result<i32> {
        let number = self.number.fetch_add(1, Ordering::Relaxed) + 1;
        let name = format!("bench-{}-{number}", std::process::id());
        mkdirat(&self.above, name.as_str(), Mode::from_bits_truncate(0o755))?;
        let status = openat(&self.above, name.as_str(), DIRECTORY, Mode::empty())
            .map_err(io::Error::from)
            .and_then(|group| self.run_in(group.as_fd()));
        let end = Instant::now() + REMOVED_IN;
        loop {
            match unlinkat(&self.above, name.as_str(), UnlinkatFlags::RemoveDir) {
                Err(Errno::EBUSY) if Instant::now() < end => {}
                removed => return removed.map_err(io::Error::from).and(status),
            }
        }
    }

    /// Runs it in this group, and waits for it.
    fn run_in(&self, group: BorrowedFd<'_>) -> io::Result<i32> {
        let child = spawn_into(group, &self.argv, &self.env, &self.null)?;
        match waitpid(child, None)? {
            WaitStatus::Exited(_, code) => Ok(code),
            other => Err(io::Error::other(format!("{other:?}"))),
        }
    }
}

/// The directory above the group of this process.
fn above(pid: u32) -> io::Result<PathBuf> {
    let text = fs::read_to_string(format!("/proc/{pid}/cgroup"))?;
    let own = text.lines().find_map(|line| line.strip_prefix("0::/"));
    let above = own.and_then(|own| Path::new(own).parent()).ok_or(io::ErrorKind::NotFound)?;
    let mounted = MOUNTS.iter().find(|mount| Path::new(mount).join("cgroup.procs").exists());
    Ok(Path::new(mounted.ok_or(io::ErrorKind::NotFound)?).join(above))
}

/// `posix_spawn` with this file as its stdio, into a group.
#[cfg(target_arch = "x86_64")]
#[allow(unsafe_code, reason = "no crate offers posix_spawn into a cgroup, and glibc only from 2.39")]
fn spawn_into(group: BorrowedFd<'_>, argv: &[CString], env: &[CString], stdio: &File) -> io::Result<Pid> {
    let pointers = |strings: &[CString]| -> Vec<*const c_char> {
        strings.iter().map(|string| string.as_ptr()).chain([std::ptr::null()]).collect()
    };
    let (argv, env) = (pointers(argv), pointers(env));
    let flags = u64::from((libc::CLONE_VM | libc::CLONE_VFORK).cast_unsigned()) | CLONE_INTO_CGROUP;
    // SAFETY: all zeroes are arguments of clone3.
    let mut args: libc::clone_args = unsafe { std::mem::zeroed() };
    args.flags = flags;
    args.exit_signal = u64::from(libc::SIGCHLD.unsigned_abs());
    args.cgroup = u64::from(group.as_raw_fd().unsigned_abs());
    let result: libc::c_long;
    // SAFETY: the new process shares this stack and writes nothing to it or to other memory: it makes its
    // system calls with what is in registers, until it is another program or ends. This thread waits for that
    // (CLONE_VFORK), and goes on behind the last label with its own registers.
    unsafe {
        std::arch::asm!(
            "syscall",
            "test rax, rax",
            "jnz 3f",
            "xor esi, esi",
            "2:",
            "mov eax, {dup2}",
            "mov edi, r12d",
            "syscall",
            "inc esi",
            "cmp esi, 3",
            "jne 2b",
            "mov eax, {execve}",
            "mov rdi, [r13]",
            "mov rsi, r13",
            "mov rdx, r14",
            "syscall",
            "mov eax, {exit_group}",
            "mov edi, 127",
            "syscall",
            "ud2",
            "3:",
            dup2 = const libc::SYS_dup2,
            execve = const libc::SYS_execve,
            exit_group = const libc::SYS_exit_group,
            inlateout("rax") libc::SYS_clone3 => result,
            in("rdi") &raw mut args,
            in("rsi") size_of::<libc::clone_args>(),
            in("r12") stdio.as_raw_fd(),
            in("r13") argv.as_ptr(),
            in("r14") env.as_ptr(),
            lateout("rcx") _,
            lateout("r11") _,
        );
    }
    if result < 0 {
        return Err(io::Error::from_raw_os_error(i32::try_from(-result).unwrap_or(libc::EINVAL)));
    }
    Ok(Pid::from_raw(i32::try_from(result).map_err(io::Error::other)?))
}

/// For this processor it is not written.
#[cfg(not(target_arch = "x86_64"))]
fn spawn_into(_: BorrowedFd<'_>, _: &[CString], _: &[CString], _: &File) -> io::Result<Pid> {
    Err(Errno::ENOSYS.into())
}
