//! The kinds of records, one type each, and their entries in the journal. `call.rs` has a call's start and
//! end, `denied.rs` what the kernel denied it, `aftermath.rs` the records after its end or in place of it,
//! `reject.rs` and `reject_many.rs` refusals, `listing.rs` listings, `lifecycle.rs` the records of a broker
//! on itself. `kind.rs` has the names of the kinds, `argv.rs` and `trace.rs` parts that several records
//! share.

pub(super) mod aftermath;
pub(super) mod argv;
pub(super) mod ascii;
pub(super) mod call;
pub(super) mod denied;
pub(super) mod journal_entry;
pub(super) mod kind;
pub(super) mod lifecycle;
pub(super) mod listing;
pub(super) mod reject;
pub(super) mod reject_many;
pub(super) mod trace;
