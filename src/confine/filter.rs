//! A confinement's filter of system calls: from `syscalls`, `net` and `unix` to the bytes of a program that
//! seccomp(2) takes. A pure function. `filter/refused.rs` says what is refused and why, `filter/usual.rs`
//! what `strict` leaves, `filter/sockets.rs` which sockets there are, `filter/program.rs` makes the program.
//! Decisions 6 to 11 in DECISIONS.md are about this.

use std::collections::HashMap;
use std::collections::HashSet;

use crate::rules::{NetAccess, SyscallSet, UnixAccess};

mod inspected;
mod names;
mod program;
mod refused;
mod sockets;
#[cfg(test)]
mod tests;
mod usual;
mod verdict;

pub use names::NamedSyscall;
pub use refused::{RefusalCase, RefusedSyscalls, refused_syscalls};

use names::{LAST_NUMBER, UNUSED_NUMBERS};
use program::{NumberRange, filter_program};
use sockets::SocketRules;
use usual::usual_syscalls;
use verdict::SyscallVerdict;

/// The first number of x32, whose calls are those of x86-64 under other numbers.
const X32_NUMBERS: u32 = 0x4000_0000;

/// The parts of a confinement that system calls are filtered by.
#[derive(Clone, Debug)]
pub struct FilterRequest<'a> {
    /// `syscalls =`
    pub syscalls: SyscallSet,
    /// `net =`
    pub net: &'a NetAccess,
    /// `unix =`. Sockets at paths are the mount namespace's matter: here `PATH…` is as `any`.
    pub unix: &'a UnixAccess,
    /// Changes of files' modes, owners, times and attributes.
    pub metadata: MetadataCalls,
    /// Files in memory.
    pub memory_files: MemoryFiles,
}

/// Whether a file in memory can be executed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum MemoryFiles {
    /// As what the command writes elsewhere.
    Executable,
    /// Nothing that the command writes can be executed.
    Data,
}

/// Whether the filter lets a file's mode, owner, times and attributes be changed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum MetadataCalls {
    /// They can be: the command's view of the files keeps it from what it may not write.
    Allowed,
    /// They cannot be: there is no such view, and nothing that the command may write.
    Refused,
}

/// The filter's program: an array of `struct sock_filter` in this machine's byte order. `None` where nothing
/// is filtered.
pub fn syscall_filter(request: &FilterRequest<'_>) -> Option<Vec<u8>> {
    number_ranges(request).map(|ranges| filter_program(&ranges))
}

/// The filter of a command whose stdin, stdout or stderr is a unix socket, beside its other one: no message
/// brings or takes descriptors, which would be a way around every other part of a confinement. read(2),
/// write(2), send(2) and recv(2) stay.
pub(super) fn passing_filter() -> Vec<u8> {
    let passing = [libc::SYS_sendmsg, libc::SYS_recvmsg, libc::SYS_sendmmsg, libc::SYS_recvmmsg];
    let passing: HashSet<_> = passing.into_iter().filter_map(|number| u32::try_from(number).ok()).collect();
    let verdict = |number| match number {
        X32_NUMBERS => SyscallVerdict::refuse(libc::ENOSYS),
        number if passing.contains(&number) => SyscallVerdict::refuse(libc::EPERM),
        _ => SyscallVerdict::Allow,
    };
    let numbers = (0..=LAST_NUMBER + 1).chain([X32_NUMBERS]);
    let mut ranges: Vec<NumberRange> = numbers.map(|number| (number, verdict(number))).collect();
    ranges.dedup_by(|next, range| next.1 == range.1);
    filter_program(&ranges)
}

/// Ranges of numbers with one verdict each; neighbours differ.
fn number_ranges(request: &FilterRequest<'_>) -> Option<Vec<NumberRange>> {
    let is_every_family = request.syscalls == SyscallSet::Any;
    let sockets = SocketRules { net: request.net, unix: request.unix, is_every_family };
    let is_any = request.syscalls == SyscallSet::Any;
    if is_any && sockets.are_void() && request.metadata == MetadataCalls::Allowed {
        return None;
    }
    let special = special_verdicts(request, &sockets);
    let usual: HashSet<_> = usual_syscalls().filter_map(NamedSyscall::number).collect();
    let verdict = |number| {
        if !is_any && is_unknown(number) {
            return SyscallVerdict::refuse(libc::ENOSYS);
        }
        let is_barred = request.syscalls == SyscallSet::Strict && !usual.contains(&number);
        match special.get(&number).cloned().unwrap_or(SyscallVerdict::Allow) {
            SyscallVerdict::Allow | SyscallVerdict::Inspect(_) if is_barred => {
                SyscallVerdict::refuse(libc::EPERM)
            }
            verdict @ (SyscallVerdict::Allow | SyscallVerdict::Refuse(_) | SyscallVerdict::Inspect(_)) => {
                verdict
            }
        }
    };
    let mut ranges: Vec<NumberRange> =
        (0..=LAST_NUMBER + 1).map(|number| (number, verdict(number))).collect();
    ranges.push((X32_NUMBERS, SyscallVerdict::refuse(libc::ENOSYS)));
    ranges.dedup_by(|next, range| next.1 == range.1);
    Some(ranges)
}

fn is_unknown(number: u32) -> bool {
    number > LAST_NUMBER || UNUSED_NUMBERS.contains(&number)
}

/// The verdicts of calls that are named one by one.
fn special_verdicts(request: &FilterRequest<'_>, sockets: &SocketRules<'_>) -> HashMap<u32, SyscallVerdict> {
    let mut verdicts = HashMap::new();
    let mut add = |number, verdict: &SyscallVerdict| {
        let before = verdicts.remove(&number).unwrap_or(SyscallVerdict::Allow);
        verdicts.insert(number, before.and(verdict));
    };
    for group in refused_syscalls().filter(|group| is_in_force(group.case, request)) {
        let verdict = group.verdict();
        group.calls.iter().filter_map(NamedSyscall::number).for_each(|number| add(number, &verdict));
    }
    for (call, verdict) in sockets.verdicts() {
        call.number().into_iter().for_each(|number| add(number, &verdict));
    }
    verdicts
}

fn is_in_force(case: RefusalCase, request: &FilterRequest<'_>) -> bool {
    match case {
        RefusalCase::Always => request.syscalls != SyscallSet::Any,
        RefusalCase::AnyFilter => true,
        RefusalCase::NoMetadata => request.metadata == MetadataCalls::Refused,
        RefusalCase::NoExec => {
            request.memory_files == MemoryFiles::Data && request.syscalls != SyscallSet::Any
        }
    }
}
