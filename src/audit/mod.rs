//! The audit: the manifest with its chain and its numbers. No command runs before its start is written here,
//! and no caller is answered before the end or the refusal of its call is. `record/` has the kinds of lines,
//! `write/` brings a line to disk and to the journal, `read/` tells which lines of a file are records,
//! `query/` finds the records that an operator asks for, and `verify/` checks that a manifest is as its
//! broker wrote it.

#![forbid(unsafe_code)]

mod chain;
mod query;
mod read;
mod record;
mod verify;
mod write;

pub use chain::Digest;
pub use query::{
    CallCount, CallHistory, CallMatcher, CallQuery, FoundLine, LineConsumer, LineFilter, ManifestFollower,
    ReadPosition, RuleQuery, UnreadPart,
};
pub use read::{
    ClassifiedLines, ForeignPlace, LineClassifier, LineRelation, ManifestLine, ManifestLines, ManifestSource,
    ParsedRecord, ReadError, RecordFields, RecordHead, TornLine, rotated, unrotated,
};
pub use record::argv::Caller;
pub use record::ascii::to_ascii;
pub use record::call::{CallOutcome, CallStart, CapturedBytes, EndCause, now_ms};
pub use record::denied::DeniedAccesses;
pub use record::kind::RecordKind;
pub use record::lifecycle::RecordAuthor;
pub use record::reject::RefusedRequest;
pub use verify::{
    AskJournal, ChainFinding, FileReport, IndexedEntry, JournalIndex, JournalProcess, LinePlace,
    SenderProgram, VerifyError, VerifyRemark, VerifyReport, verify,
};
pub use write::capture_file::CaptureFile;
pub use write::journal_sink::{JournalNews, JournalSink, NewsListener};
pub use write::live::LiveParts;
pub use write::lock::ManifestOpenError;
pub use write::manifest::Manifest;
pub use write::started::StartedCall;
pub use write::unfiled::UnfiledRefusals;
