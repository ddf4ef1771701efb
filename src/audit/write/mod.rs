//! Brings records to disk and to the journal. `manifest.rs` decides what is recorded when, under one lock;
//! `file.rs` is the open file, `commit.rs` syncs it, `journal_sink.rs` sends entries to the journal,
//! `dedup.rs` and `budget.rs` bound the records of refusals, `scan.rs` and `recover.rs` read and end what an
//! earlier broker left.

pub(super) mod backlog;
pub(super) mod budget;
pub(super) mod capture_file;
pub(super) mod commit;
pub(super) mod counts;
pub(super) mod dedup;
pub(super) mod disturbance;
pub(super) mod file;
pub(super) mod journal_sink;
pub(super) mod leftovers;
pub(super) mod live;
pub(super) mod lock;
pub(super) mod manifest;
pub(super) mod mark;
pub(super) mod recover;
pub(super) mod reserve;
pub(super) mod scan;
pub(super) mod started;
pub(super) mod unfiled;
