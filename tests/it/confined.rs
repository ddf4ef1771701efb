//! Confined commands of an ordinary user's broker: tools in a tree that an attacker writes, and system calls
//! that lead out of a confinement. Everything that an attack could reach is there and works: the same attack,
//! unconfined, reaches it. `site.rs` is the user's home, `outside.rs` what lies outside of the tree.

mod afterwards;
mod attack;
mod builds;
#[cfg(target_arch = "x86_64")]
mod escapes;
mod git;
mod innocent;
mod leaks;
mod outside;
#[cfg(target_arch = "x86_64")]
mod own;
mod policy;
#[cfg(target_arch = "x86_64")]
mod probed;
mod remote;
mod site;
mod trees;
