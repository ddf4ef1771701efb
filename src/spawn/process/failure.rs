//! The failure of a launcher to become its command, and the form in which it is reported to the broker.

use std::io;
use std::os::fd::AsFd;
use std::os::unix::net::UnixStream;

use nix::errno::Errno;

use crate::sys;

/// The failure of a launcher, after which nothing of the command ran.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LaunchFailure {
    /// The step that failed.
    pub step: LaunchStep,
    /// The errno of the system call that failed in it.
    pub errno: Errno,
}

/// The steps of a launcher that can fail, as records name them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LaunchStep {
    /// Receiving the plan.
    Plan,
    /// Beginning a session of its own.
    Setsid,
    /// Setting the limit of descriptors.
    Limits,
    /// Putting stdin, stdout and stderr in place.
    Stdio,
    /// Becoming the subreaper of the command's orphans.
    Subreaper,
    /// Changing the command's view of the file system.
    View,
    /// Opening the files that slots hand to the command as descriptors.
    Open,
    /// Making the files that hold secrets.
    Secret,
    /// Entering the working directory.
    Chdir,
    /// Giving up capabilities, and the right to gain new ones.
    Privileges,
    /// Enforcing the Landlock ruleset.
    Landlock,
    /// Installing the system call filter.
    Seccomp,
    /// Becoming the program.
    Exec,
}

impl LaunchStep {
    const ALL: [Self; 13] = [
        Self::Plan,
        Self::Setsid,
        Self::Limits,
        Self::Stdio,
        Self::Subreaper,
        Self::View,
        Self::Open,
        Self::Secret,
        Self::Chdir,
        Self::Privileges,
        Self::Landlock,
        Self::Seccomp,
        Self::Exec,
    ];

    /// The word in records.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Plan => "plan",
            Self::Setsid => "setsid",
            Self::Limits => "limits",
            Self::Stdio => "stdio",
            Self::Subreaper => "subreaper",
            Self::View => "view",
            Self::Open => "open",
            Self::Secret => "secret",
            Self::Chdir => "chdir",
            Self::Privileges => "privileges",
            Self::Landlock => "landlock",
            Self::Seccomp => "seccomp",
            Self::Exec => "exec",
        }
    }
}

impl LaunchFailure {
    /// The failure of the broker to send the plan.
    pub(in crate::spawn) fn of_plan(source: &io::Error) -> Self {
        Self { step: LaunchStep::Plan, errno: Errno::from_raw(sys::errno_of(source)) }
    }

    /// The failure of a launcher that a signal ended before it became the command; `ENOMEM` if the kernel
    /// killed it for memory.
    pub(in crate::spawn) fn cut_off(oom: bool) -> Self {
        Self { step: LaunchStep::Exec, errno: if oom { Errno::ENOMEM } else { Errno::EINTR } }
    }

    /// Shape: the step's place in [`LaunchStep::ALL`], then the errno, `i32` little-endian.
    pub(super) fn encode(self) -> [u8; 5] {
        let step = LaunchStep::ALL.iter().position(|step| *step == self.step).unwrap_or_default();
        let [a, b, c, d] = (self.errno as i32).to_le_bytes();
        [u8::try_from(step).unwrap_or_default(), a, b, c, d]
    }

    /// The failure that a launcher reported before it ended; `None` when it became the command.
    pub(in crate::spawn) fn read(stream: &UnixStream) -> Option<Self> {
        let mut report = [0; 5];
        let whole = sys::receive_now(stream.as_fd(), &mut report).ok()? == report.len();
        Some(report).filter(|_| whole).and_then(Self::decode)
    }

    /// The reverse of [`Self::encode`]; `None` for bytes that are no such report.
    pub(in crate::spawn) fn decode([step, errno @ ..]: [u8; 5]) -> Option<Self> {
        let step = *LaunchStep::ALL.get(usize::from(step))?;
        Some(Self { step, errno: Errno::from_raw(i32::from_le_bytes(errno)) })
    }
}
