//! The message about each failure, in one line: what happened, whether anything ran, and what to do. Text
//! that comes from outside (words, paths) is quoted, so that a message stays one line.

use std::ffi::OsString;
use std::io;

use nix::errno::Errno;

use crate::client::{BadWords, CallFailure};
use crate::limits::{ARG_BYTES_MAX, ARGC_MAX, LISTING_BYTES_MAX, MESSAGE_BYTES_MAX, SHOWN_COMMAND_CHARS_MAX};
use crate::text::{command_line, visible};
use crate::wire::{Explanation, Status};

use super::place::AskedPlace;
use super::unit::SocketUnit;
use super::unreached;

/// The request that this process makes, to be named in the messages.
#[derive(Debug)]
pub struct AskedCall<'a> {
    /// Where the broker is asked.
    pub place: &'a AskedPlace,
    /// The command line; empty for the listing.
    pub words: &'a [OsString],
}

impl AskedCall<'_> {
    /// The message about `failure`, without a prefix or a newline.
    pub(super) fn advice(&self, failure: &CallFailure) -> String {
        match failure {
            CallFailure::Words(bad) => words(*bad),
            CallFailure::Unreached(why) => unreached::advice(self.place.path(), self.words, why),
            CallFailure::Unsent(error) => self.unsent(error),
            CallFailure::Version1Only => format!(
                "the broker on {} speaks version 1 alone, and this needs version 2: a newer broker, or the text of the \
                 listing, or the socket's path; nothing ran",
                self.socket()
            ),
            CallFailure::Unanswered if self.words.is_empty() => {
                format!("the broker on {} closed the connection without an answer; try again", self.socket())
            }
            CallFailure::Unanswered => format!(
                "the broker on {} went away without an answer; the command may have run: see the broker's record",
                self.socket()
            ),
            CallFailure::Unreadable(malformed) => format!(
                "what answers on {} is not a broker that this sluicify understands ({malformed}): is it the right socket?",
                self.socket()
            ),
            CallFailure::Refused(status, why) => self.refused(*status, why.as_ref()),
        }
    }

    /// The message while the broker has not taken the request yet.
    pub(super) fn unheard(&self) -> String {
        format!(
            "still waiting: nobody has taken the request on {} yet. Its broker may not start: outside, {} says why. Or \
             all places of its rules are taken (max_calls)",
            self.socket(),
            SocketUnit::at(self.place.path()).status()
        )
    }

    fn socket(&self) -> String {
        self.place.shown()
    }

    fn unsent(&self, error: &io::Error) -> String {
        match error.raw_os_error().map(Errno::from_raw) {
            Some(Errno::EMSGSIZE) => {
                "the request is larger than this kernel passes on (net.core.wmem_max): use stdin for bulk"
                    .into()
            }
            Some(Errno::EPIPE | Errno::ECONNRESET) if matches!(self.place, AskedPlace::Descriptor(_)) => {
                format!(
                    "the broker on {} has closed the connection, and nothing ran; it does not come back: start the sandbox \
                 anew",
                    self.socket()
                )
            }
            Some(Errno::EPIPE | Errno::ECONNRESET) => {
                format!(
                    "the broker on {} hung up before it was asked, and nothing ran: it stops, or could not start \
                     ({} says why); try again",
                    self.socket(),
                    SocketUnit::at(self.place.path()).status()
                )
            }
            _ => format!("cannot send to {}: {error}; nothing ran", self.socket()),
        }
    }

    fn refused(&self, status: Status, why: Option<&Explanation>) -> String {
        // Where no rules are in force, calls have no number, and there is nothing to list.
        let is_listed = why.is_none_or(|why| why.call().is_some());
        let (command, why) = (self.command(), why.map_or_else(String::new, shown));
        match status {
            Status::NO_RULE if self.words.is_empty() => format!("there is nothing that may be called{why}"),
            Status::NO_RULE if !is_listed => format!("no rule allows: {command}{why}"),
            Status::NO_RULE => format!(
                "no rule allows: {command}{why}{}; see what may be called with: sluicify --list {}",
                if self.is_one_text() {
                    "; it is one word with blanks in it: leave the quotes out, if a command line is meant"
                } else {
                    ""
                },
                self.place.argument()
            ),
            Status::PROTO if self.words.is_empty() => {
                format!("the broker does not know listings (PROTO): it is too old{why}")
            }
            Status::SPAWN => {
                let guess = "; its program, interpreter or directory is missing outside, or its scope or a limit cannot \
                             be had there; the broker's record says which";
                let why = if why.is_empty() { guess } else { &why };
                format!("allowed, but could not be started, and nothing of it ran (SPAWN): {command}{why}")
            }
            Status::TIMEOUT => format!("ended by its rule's timeout (TIMEOUT): {command}{why}"),
            Status::TOO_LARGE => format!(
                "the listing is over {LISTING_BYTES_MAX} bytes (TOO_LARGE): ask the operator for the rules{why}"
            ),
            status => fixed(status).map_or_else(|| unknown(status), str::to_owned) + &why,
        }
    }

    /// Whether a whole command line was given as one word.
    fn is_one_text(&self) -> bool {
        matches!(self.words, [word] if word.as_encoded_bytes().contains(&b' '))
    }

    /// The command line in shell words, cut at [`SHOWN_COMMAND_CHARS_MAX`]: a longer message would not be
    /// read.
    fn command(&self) -> String {
        let line = command_line(self.words.iter().map(|word| word.to_string_lossy()));
        match line.char_indices().nth(SHOWN_COMMAND_CHARS_MAX) {
            Some((end, _)) => format!("{}...", &line[..end]),
            None => line,
        }
    }
}

/// The call's number and the broker's reason, as a clause for the end of a message. Hidden characters are
/// made visible here, because a broker of another version may not have done so.
fn shown(why: &Explanation) -> String {
    let reason = visible(why.reason());
    match (why.call(), reason.is_empty()) {
        (None, true) => String::new(),
        (None, false) => format!(" ({reason})"),
        (Some(call), true) => format!(" (call {call})"),
        (Some(call), false) => format!(" (call {call}: {reason})"),
    }
}

/// The message for a status that means one thing for every command.
fn fixed(status: Status) -> Option<&'static str> {
    Some(match status {
        Status::PROTO => "the broker could not read the request (PROTO): is it older than this sluicify?",
        Status::FDS => {
            "the broker cannot pass on stdin, stdout or stderr (FDS): none may be a directory or opened with O_PATH"
        }
        Status::AUDIT => {
            "the broker cannot keep its record (AUDIT): the command did not run, or was ended; the operator has to look \
             at `sluice log --rejects` and the broker's status"
        }
        Status::PEER => "the broker cannot tell who calls (PEER): call it directly, not through a relay",
        Status::STOPPING => {
            "the broker is shutting down (STOPPING): the command did not run, or was ended; try again later"
        }
        _ => return None,
    })
}

fn unknown(status: Status) -> String {
    format!("the broker answered {status}, which this sluicify does not know: is it too old?")
}

fn words(bad: BadWords) -> String {
    match bad {
        BadWords::TooMany { words } => {
            format!("{words} words, and a request has at most {ARGC_MAX}: use several calls, or stdin")
        }
        BadWords::Long { place, bytes } => format!(
            "word {place} has {bytes} bytes, and a word of a request at most {ARG_BYTES_MAX}: use stdin for bulk"
        ),
        BadWords::NotUtf8 { place } => format!(
            "word {place} is not UTF-8, and a request can carry nothing else: rename the file, or send its bytes on stdin"
        ),
        BadWords::Nul { place } => format!("word {place} has a NUL byte in it, and no command line can"),
        BadWords::Large => {
            format!("all words together are over {MESSAGE_BYTES_MAX} bytes: use stdin for bulk")
        }
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::ffi::OsStringExt;

    use crate::wire::Malformed;

    use super::*;

    fn check(words: &[&str], failure: &CallFailure, want: &str) {
        let words: Vec<_> = words.iter().map(OsString::from).collect();
        let place = AskedPlace::Socket("/run/s".into());
        assert_eq!(AskedCall { place: &place, words: &words }.advice(failure), want);
    }

    #[test]
    fn a_command_without_a_rule_is_repeated_in_shell_words() {
        let refused = CallFailure::Refused(Status::NO_RULE, None);
        let tail = "; see what may be called with: sluicify --list /run/s";
        check(
            &["git", "push", "it's", "a\nb"],
            &refused,
            &[r"no rule allows: git push 'it'\''s' $'a\nb'", tail].concat(),
        );
        let cut = format!("no rule allows: echo {}...{tail}", "x".repeat(195));
        check(&["echo", &"x".repeat(16_000)], &refused, &cut);
    }

    #[test]
    fn a_command_line_that_is_one_word_is_told_from_words() {
        let refused = CallFailure::Refused(Status::NO_RULE, None);
        let want = "no rule allows: 'git push'; it is one word with blanks in it: leave the quotes out, if a command line is \
                    meant; see what may be called with: sluicify --list /run/s";
        check(&["git push"], &refused, want);
    }

    #[test]
    fn where_no_rules_are_in_force_nothing_leads_to_the_listing() {
        let why = Explanation::new(None, "no rules are in force here");
        let refused = CallFailure::Refused(Status::NO_RULE, Some(why.clone()));
        check(&["git", "push"], &refused, "no rule allows: git push (no rules are in force here)");
        check(&[], &refused, "there is nothing that may be called (no rules are in force here)");
    }

    #[test]
    fn a_request_that_nobody_takes_names_the_unit() {
        let place = AskedPlace::Socket("/run/user/7/sluice/agent/sock".into());
        let asked = AskedCall { place: &place, words: &[] };
        let unit = "systemctl --user status sluice@agent.socket sluice@agent.service says why";
        assert!(asked.unheard().contains(unit), "{}", asked.unheard());
    }

    #[test]
    fn every_status_of_the_brokers_own_says_its_name_and_what_to_do() {
        for (status, name) in Status::NAMES {
            let place = AskedPlace::Socket("/run/s".into());
            let line = AskedCall { place: &place, words: &["git".into()] }
                .advice(&CallFailure::Refused(status, None));
            assert!(status == Status::NO_RULE || line.contains(name), "{line}");
            assert!(!line.contains('\n') && line.contains(": "), "{line}");
        }
        check(
            &[],
            &CallFailure::Refused(Status::PROTO, None),
            "the broker does not know listings (PROTO): it is too old",
        );
        let unknown = "the broker answered -77, which this sluicify does not know: is it too old?";
        check(&["git"], &CallFailure::Refused(Status::from_wire(-77), None), unknown);
    }

    #[test]
    fn it_says_whether_anything_can_have_run() {
        let gone = CallFailure::Unsent(io::Error::from_raw_os_error(Errno::EPIPE as i32));
        let want = "the broker on /run/s hung up before it was asked, and nothing ran: it stops, or could not start \
                    (systemctl --user status 'sluice*' says why); try again";
        check(&["git"], &gone, want);
        let place = AskedPlace::Descriptor(9);
        let want = "the broker on descriptor 9 ($SLUICE_FD) has closed the connection, and nothing ran; it does not come \
                    back: start the sandbox anew";
        assert_eq!(AskedCall { place: &place, words: &["git".into()] }.advice(&gone), want);
        let want = "the broker on /run/s went away without an answer; the command may have run: see the broker's record";
        check(&["git"], &CallFailure::Unanswered, want);
        let want = "the broker on /run/s closed the connection without an answer; try again";
        check(&[], &CallFailure::Unanswered, want);
        let want = "what answers on /run/s is not a broker that this sluicify understands (magic 0x00000001): is it the \
                    right socket?";
        check(&["git"], &CallFailure::Unreadable(Malformed::Magic(1)), want);
    }

    #[test]
    fn words_that_do_not_fit_are_named() {
        let check = |bad, want| check(&["git"], &CallFailure::Words(bad), want);
        check(
            BadWords::TooMany { words: 300 },
            "300 words, and a request has at most 256: use several calls, or stdin",
        );
        let want = "word 2 has 20000 bytes, and a word of a request at most 16384: use stdin for bulk";
        check(BadWords::Long { place: 2, bytes: 20_000 }, want);
        let want = "word 3 is not UTF-8, and a request can carry nothing else: rename the file, or send its bytes on stdin";
        check(BadWords::NotUtf8 { place: 3 }, want);
        check(BadWords::Nul { place: 2 }, "word 2 has a NUL byte in it, and no command line can");
        check(BadWords::Large, "all words together are over 1048576 bytes: use stdin for bulk");
    }

    #[test]
    fn a_word_that_is_not_utf8_is_still_shown() {
        let words = [OsString::from_vec(vec![b'a', 0xff])];
        let place = AskedPlace::Socket("/run/s".into());
        assert_eq!(AskedCall { place: &place, words: &words }.command(), "'a\u{fffd}'");
    }
}
