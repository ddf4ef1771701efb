//! The modes of the terminal that is stdin. A command may change them, and cannot put them back where it is
//! stopped or ended from outside; a shell does that only for its own jobs.

use nix::sys::termios::{SetArg, Termios, tcgetattr, tcsetattr};
use nix::unistd::{getpgrp, tcgetpgrp};

use crate::sys;

/// The terminal, with the modes that it had before the command.
#[derive(Debug)]
pub(super) struct CallerTerminal {
    before: Termios,
    /// The modes of a command that is stopped.
    stopped: Option<Termios>,
}

impl CallerTerminal {
    /// The terminal that is stdin, if it is one.
    pub(super) fn of_stdin() -> Option<Self> {
        let [stdin, ..] = sys::stdio();
        Some(Self { before: tcgetattr(stdin).ok()?, stopped: None })
    }

    /// Puts back the modes from before the command, where this process is in the foreground: elsewhere the
    /// terminal is another job's.
    pub(super) fn restore(&mut self) {
        let [stdin, ..] = sys::stdio();
        let now = tcgetattr(stdin).ok().filter(|now| *now != self.before && is_in_foreground());
        if now.is_some() {
            tcsetattr(stdin, SetArg::TCSANOW, &self.before).ok();
        }
        self.stopped = now;
    }

    /// Sets the modes again that [`Self::restore`] found, where this process is in the foreground.
    pub(super) fn resume(&mut self) {
        let [stdin, ..] = sys::stdio();
        if is_in_foreground()
            && let Some(modes) = self.stopped.take()
        {
            tcsetattr(stdin, SetArg::TCSANOW, &modes).ok();
        }
    }
}

fn is_in_foreground() -> bool {
    let [stdin, ..] = sys::stdio();
    tcgetpgrp(stdin) == Ok(getpgrp())
}
