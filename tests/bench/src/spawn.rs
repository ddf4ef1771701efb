//! Running a program directly: the baseline that every brokered call is held against.

use std::ffi::CString;
use std::fs::File;
use std::io;
use std::os::fd::AsRawFd;

use nix::spawn::{PosixSpawnAttr, PosixSpawnFileActions, posix_spawn};
use nix::sys::wait::{WaitStatus, waitpid};

/// A command line, ready to run with `/dev/null` as its stdio and nothing but `PATH` in its environment,
/// unless told otherwise, which is what a rule without settings gives.
#[derive(Debug)]
pub struct Line {
    argv: Vec<CString>,
    env: Vec<CString>,
    null: File,
}

impl Line {
    /// The words of a command; the first is an absolute path.
    pub fn new(words: &[&str]) -> io::Result<Self> {
        let argv = words.iter().map(|word| CString::new(*word)).collect::<Result<_, _>>()?;
        let null = File::options().read(true).write(true).open("/dev/null")?;
        Ok(Self { argv, env: vec![c"PATH=/bin:/usr/bin:/sbin:/usr/sbin".to_owned()], null })
    }

    /// With these variables of this process, as far as they are set.
    pub fn with(mut self, names: &[&str]) -> io::Result<Self> {
        for name in names {
            if let Ok(value) = std::env::var(name) {
                self.env.push(CString::new(format!("{name}={value}"))?);
            }
        }
        Ok(self)
    }

    /// `posix_spawn`, then `waitpid`: the exit code.
    pub fn run(&self) -> io::Result<i32> {
        let mut actions = PosixSpawnFileActions::init()?;
        for fd in 0..3 {
            actions.add_dup2(self.null.as_raw_fd(), fd)?;
        }
        let path = self.argv.first().ok_or(io::ErrorKind::InvalidInput)?;
        let child = posix_spawn(path.as_c_str(), &actions, &PosixSpawnAttr::init()?, &self.argv, &self.env)?;
        match waitpid(child, None)? {
            WaitStatus::Exited(_, code) => Ok(code),
            other => Err(io::Error::other(format!("{other:?}"))),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_exit_code_comes_back() {
        let run = |path| Line::new(&[path]).and_then(|line| line.run()).expect("it runs");
        assert_eq!((run("/bin/true"), run("/bin/false")), (0, 1));
    }
}
