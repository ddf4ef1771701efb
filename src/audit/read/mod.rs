//! Manifests as their readers see them: files, plain or packed, in the order in which they were written;
//! lines; records. Believes nothing: any bytes may be in there. `source.rs` is the way in, `call.rs` what a
//! line says, `classify.rs` whether it is a record at all.

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
