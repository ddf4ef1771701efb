//! What is on record: the manifest with its chain and its numbers, and which files may be trusted. Nothing runs before
//! its start is written here, and nothing is answered before its end or its refusal is. Read `record.rs` for what a
//! line holds, `book.rs` for how it gets to disk, `entry.rs` for what the journal is given, `started.rs` for the order.

#![forbid(unsafe_code)]

mod ascii;
mod book;
mod budget;
mod calls;
mod capture;
mod chain;
mod commit;
mod counts;
mod diary;
mod disturbed;
mod entry;
mod fold;
mod history;
mod listed;
mod manifest;
mod many;
mod mark;
mod owed;
mod place;
mod query;
mod read;
mod record;
mod recover;
mod rejected;
mod room;
mod sequel;
mod sink;
mod started;
mod stray;
mod trust;
mod unfiled;
mod verify;
mod words;

pub use ascii::to_ascii;
pub use calls::LiveParts;
pub use capture::CaptureFile;
pub use chain::Digest;
pub use diary::RecordAuthor;
pub use entry::MESSAGE_IDS;
pub use manifest::Manifest;
pub use place::ManifestOpenError;
pub use query::{
    CallCount, CallHistory, CallMatcher, CallQuery, FoundLine, LineConsumer, LineFilter, ManifestFollower,
    ReadPosition, RuleQuery, UnreadPart,
};
pub use read::{
    ClassifiedLines, ForeignPlace, LineClassifier, LineRelation, ManifestLine, ManifestLines, ManifestSource,
    ParsedRecord, ReadError, RecordFields, RecordHead, RecordKind, TornLine, rotated, unrotated,
};
pub use record::{CallOutcome, CallStart, CapturedBytes, EndCause, now_ms};
pub use rejected::RefusedRequest;
pub use sink::{JournalNews, JournalSink, NewsListener};
pub use started::StartedCall;
pub use trust::{TrustError, TrustedName, trusted_directory, trusted_file, trusted_program, trusted_rules};
pub use unfiled::UnfiledRefusals;
pub use verify::{
    AskJournal, ChainFinding, FileReport, IndexedEntry, JournalIndex, JournalProcess, LinePlace,
    SenderProgram, VerifyError, VerifyRemark, VerifyReport, verify,
};
pub use words::Caller;
