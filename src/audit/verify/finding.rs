//! The faults that verifying a manifest finds, and their places.

use std::fmt;
use std::path::PathBuf;

use crate::ids::CallId;

use crate::audit::record::kind::RecordKind;

/// A line of a file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LinePlace {
    /// The file.
    pub file: PathBuf,
    /// The line, from 1.
    pub line: u64,
}

impl fmt::Display for LinePlace {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.file.display(), self.line)
    }
}

/// Why a line does not fit. One variant for each thing that can have happened, as far as the remaining lines
/// tell.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ChainFinding {
    /// The line is not a record, or not one that this version knows.
    NotRecord,
    /// The last line has no end.
    Unfinished {
        /// The number of its bytes.
        bytes: u64,
    },
    /// The line is the same as the line before it.
    Doubled,
    /// This line and the next one have changed places.
    Swapped,
    /// The line does not belong there: the line after it follows the line before it.
    Stray,
    /// The line was changed: it does not follow the line before it, and the line after it does not follow
    /// it.
    Changed,
    /// The line was changed, or lines after it are missing: the next line follows another one.
    ChangedOrMissing,
    /// The journal knows another record that followed this line.
    Missing {
        /// The kind of that record.
        kind: RecordKind,
        /// The call of that record.
        call: Option<CallId>,
    },
    /// The file does not begin as a broker begins a file.
    HeadMissing,
    /// A record that follows a `close`, and is no `open`.
    AfterClose,
    /// An `open` that stood elsewhere in the file when it was written.
    Moved {
        /// Bytes of the file before it when it was written.
        was: u64,
        /// Bytes of the file before it now.
        is: u64,
    },
    /// An `open` in which a broker says that it found another last line than was left.
    FoundCut,
    /// No given file ends with the line that this file's first line follows.
    Unlinked,
    /// The file begins a chain, and so does another file.
    SecondBeginning,
    /// The file has the same lines as another file.
    Copy,
    /// The record has the number of another call.
    NumberTwice(CallId),
    /// A second end of a call.
    EndTwice(CallId),
    /// The journal has another record in this place.
    Denied {
        /// The kind of that record.
        kind: RecordKind,
        /// The call of that record.
        call: Option<CallId>,
    },
    /// The journal knows records that followed this line, which is the last one of the file.
    Cut {
        /// The number of these records, at least.
        records: u64,
        /// The kind of the first of them.
        kind: RecordKind,
        /// The call of the first of them.
        call: Option<CallId>,
    },
    /// The journal has other records of this manifest, from the time of this file.
    OtherRecords {
        /// The number of these records.
        records: u64,
    },
    /// The packed file is damaged.
    Damaged(String),
}

impl fmt::Display for ChainFinding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NotRecord => f.write_str("is not a record: no broker wrote it, or it was changed"),
            Self::Unfinished { bytes } => write!(
                f,
                "torn: {bytes} bytes without an end, as a crash or a full disk leaves them; a broker that starts sets \
                 them apart"
            ),
            Self::Doubled => f.write_str("doubled: the same line as the one before it"),
            Self::Swapped => f.write_str("swapped with the next line"),
            Self::Stray => f.write_str("does not belong here: the next line follows the one before this"),
            Self::Changed => {
                f.write_str("changed: neither follows the line before it nor is followed by the next")
            }
            Self::ChangedOrMissing => {
                f.write_str("changed, or lines after it are missing: the next line follows another one")
            }
            Self::Missing { kind, call } => {
                write!(f, "lines after it are missing: the journal has {} next", JournalCopy(*kind, *call))
            }
            Self::HeadMissing => f.write_str("lines before it are missing: no broker begins a file with it"),
            Self::AfterClose => {
                f.write_str("was put there: a broker writes nothing after its `close`, and the next one begins with `open`")
            }
            Self::Moved { was, is } if was > is => {
                write!(f, "lines before it are missing: {} bytes of the file", was - is)
            }
            Self::Moved { was, is } => write!(f, "lines were put before it: {} bytes", is - was),
            Self::FoundCut => f.write_str(
                "lines before it are missing or were changed: its broker found another last line than was left",
            ),
            Self::Unlinked => {
                f.write_str("lines are missing before it: no file given here ends with the line before")
            }
            Self::SecondBeginning => {
                f.write_str("begins a chain of its own: nothing says what was before it")
            }
            Self::Copy => f.write_str("the file is a copy of another one given here"),
            Self::NumberTwice(call) => write!(f, "call {call} is on record already"),
            Self::EndTwice(call) => write!(f, "call {call} ended before"),
            Self::Denied { kind, call } => write!(f, "changed: the journal has {} here", JournalCopy(*kind, *call)),
            Self::Cut { records, kind, call } => write!(
                f,
                "the last line here, but the journal has {records} more: {} is missing first",
                JournalCopy(*kind, *call)
            ),
            Self::OtherRecords { records } => write!(
                f,
                "another manifest than was written here: the journal has {records} records of that time that are in none \
                 of these files"
            ),
            Self::Damaged(why) => write!(f, "cannot be unpacked from here on: {why}"),
        }
    }
}

/// A record, as the journal names it.
struct JournalCopy(RecordKind, Option<CallId>);

impl fmt::Display for JournalCopy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self(kind, Some(call)) => write!(f, "the {} of call {call}", kind.name()),
            Self(kind, None) => write!(f, "the record `{}`", kind.name()),
        }
    }
}
