//! Finds out whether a process has called execve(2) since it was made.
#![cfg_attr(not(test), deny(clippy::indexing_slicing))]

use std::os::fd::AsFd;

use nix::unistd::Pid;

use super::in_child::{ChildFd, read};
use super::syscall;
use super::text::text_with_number;

/// Whether a process still runs the program of its maker, as it has not called execve(2) (`PF_FORKNOEXEC`).
/// The kernel also knows this of a process that has ended, until it is reaped. `false` if the process cannot
/// be looked at. For a process that lives in another's memory: nothing is allocated, and `errno` stays.
/// `/proc/PID/stat`, `proc_pid_stat(5)`.
pub fn is_before_exec(process: Pid) -> bool {
    let mut text = [0; STAT_BYTES];
    let path = text_with_number(b"/proc/", process.as_raw().unsigned_abs(), b"/stat");
    let stat = read_beginning(&path, &mut text).unwrap_or_default();
    flags(stat).is_some_and(|flags| flags & FORKED_NO_EXEC != 0)
}

const FORKED_NO_EXEC: u32 = 0x40;

/// Enough for the first nine fields: the second, a name in parentheses, has at most 64 bytes.
const STAT_BYTES: usize = 256;

/// The longest path, and a NUL.
const PATH_BYTES: usize = b"/proc/".len() + 10 + b"/stat".len() + 1;

/// The ninth field. The second, the name, may contain anything, but no field after it contains a `)`.
fn flags(stat: &[u8]) -> Option<u32> {
    let name_end = stat.iter().rposition(|byte| *byte == b')')?;
    let field = stat.get(name_end..)?.split(|byte| *byte == b' ').nth(7)?;
    str::from_utf8(field).ok()?.parse().ok()
}

/// The beginning of a file. `openat(2)`, `read(2)`.
#[allow(unsafe_code, reason = "nix's open sets errno")]
fn read_beginning<'a>(path: &[u8; PATH_BYTES], buffer: &'a mut [u8]) -> nix::Result<&'a [u8]> {
    let flags = (libc::O_RDONLY | libc::O_CLOEXEC).cast_unsigned() as usize;
    let arguments = [libc::AT_FDCWD.cast_unsigned() as usize, path.as_ptr().expose_provenance(), flags, 0];
    // SAFETY: the path is a C string, as its last byte is a NUL, and outlives the call.
    let number = unsafe { syscall::call(libc::SYS_openat, arguments) }?;
    // SAFETY: it was opened just now, and nothing else owns it.
    let file = unsafe { ChildFd::from_raw(i32::try_from(number).unwrap_or(i32::MAX)) };
    let length = read(file.as_fd(), buffer)?;
    Ok(buffer.get(..length).unwrap_or_default())
}

#[cfg(test)]
mod tests {
    use std::io;
    use std::process::{Command, Stdio};

    use super::*;

    #[test]
    fn a_program_that_was_started_has_become_one_and_this_copy_of_a_shell_has_not() {
        // Through descriptor 3, because the shell gives a background process /dev/null as stdin, at which
        // `read` would end at once.
        let script = "exec 3<&0; sh -c 'exit 0'; (read go <&3) & echo $!; read go";
        let mut shell = Command::new("/bin/sh");
        let shell = shell.args(["-c", script]).stdin(Stdio::piped()).stdout(Stdio::piped());
        let mut shell = shell.spawn().expect("there is a shell");
        let mut line = String::new();
        let mut said = io::BufReader::new(shell.stdout.take().expect("a pipe"));
        io::BufRead::read_line(&mut said, &mut line).expect("a line");
        let copy = Pid::from_raw(line.trim().parse().expect("a pid"));
        assert!(is_before_exec(copy));
        assert!(!is_before_exec(Pid::from_raw(shell.id().cast_signed())));
        drop(shell.stdin.take());
        shell.wait().expect("a child of ours");
        assert!(!is_before_exec(Pid::from_raw(i32::MAX)), "nobody has this pid");
    }

    #[test]
    fn the_flags_stand_behind_any_name() {
        let check = |text: &str, want| assert_eq!(flags(text.as_bytes()), want, "{text}");
        check("7 (sh) S 1 7 7 0 -1 4194368 0 0", Some(4_194_368));
        check("7 () Z 9 9 9) Z 1 7 7 0 -1 64 0 0", Some(64));
        check("7 (sh) S 1 7", None);
        check("", None);
    }
}
