//! The messages about calls that have no exit status: what happened, whether the command can have run, and
//! what to do.

use std::io;

use sluice::client::{BadWords, CallFailure, ConnectFailure};
use sluice::text::visible;
use sluice::wire::Status;

use crate::place::BrokerPlace;

/// The message about a failure.
pub(crate) fn told(failure: &CallFailure, place: &BrokerPlace) -> String {
    match failure {
        CallFailure::Words(bad) => words(*bad),
        CallFailure::Unreached(why) => {
            format!("no broker can be reached on {}, and nothing ran: {}", place.shown(), unreached(why))
        }
        CallFailure::Unsent(error) => format!(
            "the broker on {} went away before it was asked, and nothing ran ({error}); try again{}",
            place.shown(),
            if place.path().is_none() { ", in a sandbox that is started anew" } else { "" }
        ),
        CallFailure::Version1Only => format!(
            "the broker on {} speaks version 1 of the wire protocol alone, which has no listing for programs; \
             install a newer broker",
            place.shown()
        ),
        CallFailure::Unanswered => {
            "the broker went away in the middle, and the command may have run; outside, \
            `sluice log` says whether it did"
                .to_owned()
        }
        CallFailure::Unreadable(why) => format!(
            "the answer on {} is not a broker's ({why}); the command may have run; is that the socket of a \
             broker?",
            place.shown()
        ),
        CallFailure::Refused(status, why) => {
            // A broker of another version may have left hidden characters in it.
            refused(*status, &visible(why.as_ref().map(|why| why.reason()).unwrap_or_default()))
        }
    }
}

/// The message about an end with a status of the broker's own.
pub(crate) fn refused(status: Status, reason: &str) -> String {
    let what = match status {
        Status::NO_RULE => "no rule allows this, and nothing ran",
        Status::SPAWN => "a rule allows this, but the command could not be started, and nothing of it ran",
        Status::AUDIT => "the call cannot be kept on record as the rules demand",
        Status::TIMEOUT => "the rule's timeout ended the command",
        Status::STOPPING => "the broker stops; try again",
        Status::TOO_LARGE => "the listing of the rules is too large for a message",
        _ => "the broker refused the request",
    };
    if reason.is_empty() { what.to_owned() } else { format!("{what}: {reason}") }
}

#[expect(clippy::wildcard_enum_match_arm, reason = "a reason that came later is told as it is")]
fn unreached(why: &ConnectFailure) -> String {
    match why {
        ConnectFailure::Forbidden(error) => {
            format!("this process may not use unix sockets ({error}); have the MCP server run outside the sandbox")
        }
        ConnectFailure::Missing | ConnectFailure::NoDirectory(_) => {
            "there is no socket; outside, `systemctl --user enable --now sluice@NAME.socket` makes it; inside a \
             sandbox its directory has to be bound"
                .to_owned()
        }
        ConnectFailure::NotSocket(_) => "that is not a socket".to_owned(),
        ConnectFailure::Silent => {
            "the socket is there and nobody listens; outside, `systemctl --user status sluice@NAME.socket` says \
             why"
                .to_owned()
        }
        ConnectFailure::Foreign => {
            "its directory is shared with another machine; the broker has to run on the same kernel".to_owned()
        }
        ConnectFailure::Fenced { is_selinux: false } => {
            "its permissions allow it and a sandbox does not (Landlock); have the MCP server run outside the sandbox"
                .to_owned()
        }
        ConnectFailure::Fenced { is_selinux: true } => {
            "its permissions allow it and SELinux does not (`ausearch -m avc -ts recent` says why)".to_owned()
        }
        ConnectFailure::Denied { .. } => "permission denied; the socket may be another user's".to_owned(),
        ConnectFailure::WrongType => "that socket is not a broker's".to_owned(),
        ConnectFailure::LongPath(bytes) => format!("a socket's path has at most 107 bytes, not {bytes}"),
        ConnectFailure::Other(error) => error.to_string(),
        ConnectFailure::DoorBusy => "other callers have all lanes of its FIFO door; try again".to_owned(),
        other => format!("{other:?}"),
    }
}

fn words(bad: BadWords) -> String {
    let what = match bad {
        BadWords::TooMany { words } => format!("{words} words are more than a request carries"),
        BadWords::Long { place, bytes } => {
            format!("word {place} has {bytes} bytes, more than a request carries")
        }
        BadWords::NotUtf8 { place } => format!("word {place} is not UTF-8"),
        BadWords::Nul { place } => format!("word {place} has a NUL byte in it"),
        BadWords::Large => "all words together are more than a request carries".to_owned(),
    };
    format!("{what}; nothing was sent")
}

/// The message about a call for which this process has no descriptors.
pub(crate) fn local(error: &io::Error) -> String {
    format!(
        "the MCP server cannot make the pipes for a call ({error}); nothing ran; try again with fewer calls at once"
    )
}
