//! Reads manifests: files, plain or packed, in the order in which they were written; lines; records.
//! Believes nothing: a file may hold any bytes. `source.rs` opens a file, `record.rs` parses a line,
//! `classify.rs` judges whether a line is a record at all.

mod classify;
mod facts;
mod lines;
mod record;
mod rotation;
mod source;
mod unpack;

pub use classify::{ClassifiedLines, ForeignPlace, LineClassifier, LineRelation, TornLine};
pub(super) use facts::{LineText, RecordFacts};
pub use lines::{ManifestLine, ManifestLines};
pub use record::{ParsedRecord, RecordFields, RecordHead};
pub use rotation::{rotated, unrotated};
pub use source::{ManifestSource, ReadError};
