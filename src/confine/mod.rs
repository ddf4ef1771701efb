//! Makes what confines a command, in the broker: a Landlock ruleset, a system call filter, and the steps by
//! which the command's view of the file system is changed. A launcher enforces it
//! (`spawn/process/confined.rs`). What a command may do is a rule's
//! [`Confinement`](crate::rules::Confinement); what this kernel can enforce is [`KernelSupport`]; the
//! difference is missing, and is refused or recorded.

#![forbid(unsafe_code)]

mod access;
mod denial;
mod filter;
mod parts;
mod place;
mod prepared;
mod ruleset;
mod step;
mod view;

pub use access::PlaceAccess;
pub use denial::LandlockEvent;
pub use filter::{
    FilterRequest, MemoryFiles, MetadataCalls, NamedSyscall, RefusalCase, RefusedSyscalls, refused_syscalls,
    syscall_filter,
};
pub use parts::{KernelSupport, MissingPart, ViewSupport};
pub use place::PlaceError;
pub use prepared::{CommandRestrictions, EnforcedParts, PrepareError, PreparedConfinement};
pub use step::ViewStep;
