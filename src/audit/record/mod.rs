//! The kinds of lines, one type each, and their entries in the journal. `call.rs` has a call's start and end,
//! `aftermath.rs` what is told after its end or for want of one, `reject.rs` and `reject_many.rs` refusals,
//! `listing.rs` listings, `lifecycle.rs` what a broker tells of itself. `kind.rs` has their names, `argv.rs`
//! and `trace.rs` the parts that several share.

pub(super) mod aftermath;
pub(super) mod argv;
pub(super) mod ascii;
pub(super) mod call;
pub(super) mod journal_entry;
pub(super) mod kind;
pub(super) mod lifecycle;
pub(super) mod listing;
pub(super) mod reject;
pub(super) mod reject_many;
pub(super) mod trace;
