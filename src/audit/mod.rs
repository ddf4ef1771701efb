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
pub use calls::GoesOn;
pub use capture::CaptureFile;
pub use chain::Digest;
pub use diary::Author;
pub use entry::MESSAGE_IDS;
pub use manifest::Manifest;
pub use place::OpenError;
pub use query::{Asked, Count, Filter, Follow, Found, History, Matcher, Reached, RuleAsked, Take, Unshown};
pub use read::{
    Fields, Foreign, Head, Kind, Line, Lines, ReadError, Recorded, Relation, Source, Standing, Stood, Torn,
    rotated, unrotated,
};
pub use record::{Captured, Cause, Opening, Outcome, now_ms};
pub use rejected::Rejected;
pub use sink::{Hear, JournalNews, Sink};
pub use started::Started;
pub use trust::{Distrust, Trusted, trusted_directory, trusted_file, trusted_program, trusted_rules};
pub use unfiled::UnfiledRefusals;
pub use verify::{
    Ask, FileReport, Misfit, Place, Process, Program, Remark, Report, Testimony, VerifyError, Witness, verify,
};
pub use words::Caller;
