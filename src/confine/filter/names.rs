//! The names and numbers of system calls on this architecture. A call that only older architectures have is
//! named everywhere, and has a number where it exists.

use libc::c_long;

/// The numbers: the C library's, and those that it does not have yet, which are the same on every
/// architecture.
#[allow(non_upper_case_globals, reason = "the kernel's names, as libc has them")]
pub(super) mod numbers {
    use libc::c_long;

    pub(in super::super) use libc::*;

    #[cfg(target_arch = "x86_64")]
    pub(in super::super) const SYS_uretprobe: c_long = 335;
    #[cfg(target_arch = "x86_64")]
    pub(in super::super) const SYS_uprobe: c_long = 336;
    pub(in super::super) const SYS_kexec_file_load: c_long =
        if cfg!(target_arch = "x86_64") { 320 } else { 294 };
    pub(in super::super) const SYS_cachestat: c_long = 451;
    pub(in super::super) const SYS_fchmodat2: c_long = 452;
    pub(in super::super) const SYS_map_shadow_stack: c_long = 453;
    pub(in super::super) const SYS_futex_wake: c_long = 454;
    pub(in super::super) const SYS_futex_wait: c_long = 455;
    pub(in super::super) const SYS_futex_requeue: c_long = 456;
    pub(in super::super) const SYS_setxattrat: c_long = 463;
    pub(in super::super) const SYS_getxattrat: c_long = 464;
    pub(in super::super) const SYS_listxattrat: c_long = 465;
    pub(in super::super) const SYS_removexattrat: c_long = 466;
    pub(in super::super) const SYS_open_tree_attr: c_long = 467;
    pub(in super::super) const SYS_file_getattr: c_long = 468;
    pub(in super::super) const SYS_file_setattr: c_long = 469;
}

/// The last number that this program knows.
pub(super) const LAST_NUMBER: u32 = 469;

/// The numbers between the calls of one architecture and those that all architectures share.
#[cfg(target_arch = "x86_64")]
pub(super) const UNUSED_NUMBERS: std::ops::Range<u32> = 337..424;

/// The numbers between the calls of one architecture and those that all architectures share.
#[cfg(not(target_arch = "x86_64"))]
pub(super) const UNUSED_NUMBERS: std::ops::Range<u32> = 295..424;

/// A system call.
#[derive(Clone, Copy, Debug)]
pub struct NamedSyscall {
    name: &'static str,
    number: Option<u32>,
}

impl NamedSyscall {
    #[allow(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "numbers of system calls are small"
    )]
    pub(super) const fn new(name: &'static str, number: c_long) -> Self {
        Self { name, number: Some(number as u32) }
    }

    #[cfg(not(target_arch = "x86_64"))]
    pub(super) const fn absent(name: &'static str) -> Self {
        Self { name, number: None }
    }

    /// The name in the manual.
    pub fn name(&self) -> &'static str {
        self.name.trim_start_matches("SYS_")
    }

    /// The number, where this architecture has the call.
    pub fn number(&self) -> Option<u32> {
        self.number
    }
}

/// A system call that every architecture has.
macro_rules! call {
    ($name:ident) => {
        crate::confine::filter::names::NamedSyscall::new(
            stringify!($name),
            crate::confine::filter::names::numbers::$name,
        )
    };
}

/// A list of system calls that every architecture has.
macro_rules! calls {
    ($($name:ident)*) => {
        &[$(crate::confine::filter::names::call!($name)),*]
    };
}

/// A list of system calls that x86-64 has, and newer architectures have not.
#[cfg(target_arch = "x86_64")]
macro_rules! older_calls {
    ($($name:ident)*) => { calls![$($name)*] };
}

/// A list of system calls that x86-64 has, and newer architectures have not.
#[cfg(not(target_arch = "x86_64"))]
macro_rules! older_calls {
    ($($name:ident)*) => { &[$(crate::confine::filter::names::NamedSyscall::absent(stringify!($name))),*] };
}

pub(super) use {call, calls, older_calls};
