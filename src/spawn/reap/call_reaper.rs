//! The call reaper: a process between the broker and one command, which the kernel gives the command's
//! orphans. So every process below it belongs to that call alone, however many calls end at the same moment.
//! A call has a reaper where that matters: where its rule lets processes go on (`background = keep`), and
//! where the broker has children that no call started. The launcher becomes the reaper, and makes one more
//! process for the command; it holds no descriptor but its stream, reaps, and ends when no process is left
//! below it. It lives in the nursery's memory: nothing here allocates.
#![cfg_attr(not(test), deny(clippy::indexing_slicing))]

use std::os::fd::BorrowedFd;

use nix::unistd::Pid;

use crate::sys::in_child;
use crate::sys::{self, ChildMemory, ProcessEnd};

/// A report from a call reaper to the broker.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::spawn) enum ReaperReport {
    /// This process will be the command.
    Began(Pid),
    /// A signal ended the process before it became the command; sent before `Ended`.
    CutOff,
    /// The command ended, and left processes or not.
    Ended(ProcessEnd, ReaperChildren),
}

/// Whether there are processes below a call reaper.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::spawn) enum ReaperChildren {
    /// None: the reaper ends.
    Nothing,
    /// At least one process.
    Something,
}

/// The two processes of a launcher that forked.
pub(in crate::spawn) enum ReaperSide {
    /// This process is the reaper, of the command with this pid.
    Reaper(Pid),
    /// This process will be the command, below the reaper with this pid.
    Command(Pid),
}

impl ReaperReport {
    pub(in crate::spawn) const BYTES: usize = 5;
    const BEGAN: u8 = 100;
    const EXITED: u8 = 101;
    const SIGNALED: u8 = 102;
    const CUT_OFF: u8 = 103;
    /// Added to the kind where processes are left.
    const LEAVES: u8 = 10;

    /// Shape: a byte that no failure of a launcher begins with, then a pid, an exit code or a signal, `i32`
    /// little-endian.
    fn encode(self) -> [u8; Self::BYTES] {
        let (kind, number) = match self {
            Self::Began(pid) => (Self::BEGAN, pid.as_raw()),
            Self::CutOff => (Self::CUT_OFF, 0),
            Self::Ended(end, left) => {
                let leaves = if left == ReaperChildren::Something { Self::LEAVES } else { 0 };
                match end {
                    ProcessEnd::Exited(code) => (Self::EXITED + leaves, i32::from(code)),
                    ProcessEnd::Signaled(signal) => (Self::SIGNALED + leaves, signal),
                }
            }
        };
        let [a, b, c, d] = number.to_le_bytes();
        [kind, a, b, c, d]
    }

    /// The reverse of [`Self::encode`]; `None` for bytes that are no report of a reaper's.
    pub(in crate::spawn) fn decode([kind, number @ ..]: [u8; Self::BYTES]) -> Option<Self> {
        const EXITED_LEAVES: u8 = ReaperReport::EXITED + ReaperReport::LEAVES;
        const SIGNALED_LEAVES: u8 = ReaperReport::SIGNALED + ReaperReport::LEAVES;
        let number = i32::from_le_bytes(number);
        let exited = |left| Some(Self::Ended(ProcessEnd::Exited(u8::try_from(number).ok()?), left));
        match kind {
            Self::BEGAN => Some(Self::Began(Pid::from_raw(number))),
            Self::CUT_OFF => Some(Self::CutOff),
            Self::EXITED => exited(ReaperChildren::Nothing),
            EXITED_LEAVES => exited(ReaperChildren::Something),
            Self::SIGNALED => Some(Self::Ended(ProcessEnd::Signaled(number), ReaperChildren::Nothing)),
            SIGNALED_LEAVES => Some(Self::Ended(ProcessEnd::Signaled(number), ReaperChildren::Something)),
            _ => None,
        }
    }
}

/// Makes the process that will be the command. Errors: `EAGAIN` (too many processes), `ENOMEM`.
pub(in crate::spawn) fn part(room: &ChildMemory) -> nix::Result<ReaperSide> {
    let reaper = in_child::own_pid();
    Ok(match room.fork()? {
        Some(command) => ReaperSide::Reaper(command),
        None => ReaperSide::Command(reaper),
    })
}

/// A reaper's life, until no process is below it; its result is the exit code.
pub(in crate::spawn) fn reap(stream: BorrowedFd<'_>, command: Pid) -> u8 {
    // Signals to all processes of a call must not stop its reaper, which ends by itself after the others.
    in_child::block_all_signals().ok();
    tell(stream, ReaperReport::Began(command));
    let mut ended = None;
    loop {
        // When the command has ended, every other child that has ended by then is reaped before the report,
        // so that the report says truly whether a process is left.
        match (sys::ended_child(ended.is_none()), ended) {
            (Ok(Some(pid)), _) => {
                // Looked at before the process is reaped: afterwards it cannot be known.
                let is_before_exec = pid == command && sys::is_before_exec(pid);
                let Ok(end) = sys::reap_child(pid) else { return 0 };
                if is_before_exec && matches!(end, ProcessEnd::Signaled(_)) {
                    tell(stream, ReaperReport::CutOff);
                }
                ended = ended.or((pid == command).then_some(end));
            }
            (Ok(None), Some(end)) => {
                tell(stream, ReaperReport::Ended(end, ReaperChildren::Something));
                while let Ok(Some(pid)) = sys::ended_child(true) {
                    if sys::reap_child(pid).is_err() {
                        return 0;
                    }
                }
                return 0;
            }
            (Err(_), Some(end)) => {
                tell(stream, ReaperReport::Ended(end, ReaperChildren::Nothing));
                return 0;
            }
            (Ok(None) | Err(_), None) => return 0,
        }
    }
}

fn tell(stream: BorrowedFd<'_>, report: ReaperReport) {
    // A broker that is gone needs no report.
    in_child::write(stream, &report.encode()).ok();
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_report_is_read_as_it_was_told() {
        let reports = [
            ReaperReport::Began(Pid::from_raw(4_000_000)),
            ReaperReport::CutOff,
            ReaperReport::Ended(ProcessEnd::Exited(255), ReaperChildren::Nothing),
            ReaperReport::Ended(ProcessEnd::Exited(0), ReaperChildren::Something),
            ReaperReport::Ended(ProcessEnd::Signaled(40), ReaperChildren::Nothing),
            ReaperReport::Ended(ProcessEnd::Signaled(9), ReaperChildren::Something),
        ];
        for report in reports {
            assert_eq!(ReaperReport::decode(report.encode()), Some(report));
        }
        assert_eq!(ReaperReport::decode([0, 1, 0, 0, 0]), None);
        assert_eq!(ReaperReport::decode([101, 0, 1, 0, 0]), None);
    }
}
