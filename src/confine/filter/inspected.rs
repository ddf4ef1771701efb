//! Tests of arguments, each for the refusal that it leads to.

use super::verdict::SyscallVerdict;
use super::verdict::{refuse_bits, refuse_pointer, switch, switch_bits};

use SyscallVerdict::Allow;

/// The flags of new namespaces in clone(2). `CLONE_NEWTIME` is a part of the signal's number there.
const NEW_NAMESPACES: u32 = 0x7e02_0000;

/// `CLONE_PARENT`: the new process is the broker's child, as the command is.
const CLONE_PARENT: u32 = 0x8000;

/// `CLONE_FS`, `CLONE_FILES` and `CLONE_SYSVSEM`.
const HARMLESS_UNSHARED: u32 = 0x0004_0600;

const PER_LINUX: u32 = 0;
const PER_LINUX32: u32 = 8;
const UNAME26: u32 = 0x2_0000;
const PERSONALITY_QUERY: u32 = u32::MAX;

const FILE_TYPE: u32 = 0o170_000;
const CHARACTER_DEVICE: u32 = 0o020_000;
const BLOCK_DEVICE: u32 = 0o060_000;

const TIOCSTI: u32 = 0x5412;
const TIOCLINUX: u32 = 0x541c;
const TIOCSETD: u32 = 0x5423;

/// The letter in the number of an ioctl.
const IOCTL_LETTER: u32 = 0xff00;

/// Flags, versions and encryption (`f`, `v`), extended flags (`X`), and what btrfs has.
const FILE_IOCTL_LETTERS: [u32; 4] = [0x6600, 0x7600, 0x5800, 0x9400];

/// `FS_IOC_GETFLAGS`, `FS_IOC_FSGETXATTR`, `FS_IOC_FIEMAP` and `FS_IOC_GETVERSION`.
const FILE_IOCTL_QUERIES: [u32; 4] = [0x8008_6601, 0x801c_581f, 0xc020_660b, 0x8008_7601];

/// A file in memory that can never be executed; Linux 6.3.
const MFD_NOEXEC_SEAL: u32 = 8;

const PRIO_PROCESS: u32 = 0;
const PRIO_PGRP: u32 = 1;
const IOPRIO_WHO_PROCESS: u32 = 1;
const IOPRIO_WHO_PGRP: u32 = 2;

pub(super) fn clone_outside(refusal: SyscallVerdict) -> SyscallVerdict {
    refuse_bits(0, NEW_NAMESPACES | CLONE_PARENT, refusal)
}

pub(super) fn unshare_namespaces(refusal: SyscallVerdict) -> SyscallVerdict {
    refuse_bits(0, !HARMLESS_UNSHARED, refusal)
}

/// Reading a limit is allowed, and setting one's own.
pub(super) fn limits_of_others(refusal: SyscallVerdict) -> SyscallVerdict {
    switch(0, [(vec![0], Allow)], refuse_pointer(2, refusal))
}

/// Threads of the program itself have numbers too, and cannot be told from processes outside.
pub(super) fn processes_by_number(refusal: SyscallVerdict) -> SyscallVerdict {
    switch(0, [(vec![0], Allow)], refusal)
}

pub(super) fn priorities_by_number(refusal: SyscallVerdict) -> SyscallVerdict {
    switch(1, [(vec![0], Allow)], refusal)
}

pub(super) fn priorities(refusal: SyscallVerdict) -> SyscallVerdict {
    own_groups(PRIO_PROCESS, PRIO_PGRP, refusal)
}

pub(super) fn disk_priorities(refusal: SyscallVerdict) -> SyscallVerdict {
    own_groups(IOPRIO_WHO_PROCESS, IOPRIO_WHO_PGRP, refusal)
}

fn own_groups(process: u32, group: u32, refusal: SyscallVerdict) -> SyscallVerdict {
    let own = switch(1, [(vec![0], Allow)], refusal.clone());
    switch(0, [(vec![process], Allow), (vec![group], own)], refusal)
}

pub(super) fn personalities(refusal: SyscallVerdict) -> SyscallVerdict {
    let allowed = vec![PER_LINUX, PER_LINUX32, UNAME26, UNAME26 | PER_LINUX32, PERSONALITY_QUERY];
    switch(0, [(allowed, Allow)], refusal)
}

pub(super) fn devices(refusal: SyscallVerdict) -> SyscallVerdict {
    device_mode(1, refusal)
}

pub(super) fn devices_at(refusal: SyscallVerdict) -> SyscallVerdict {
    device_mode(2, refusal)
}

fn device_mode(argument: u8, refusal: SyscallVerdict) -> SyscallVerdict {
    switch_bits(argument, FILE_TYPE, [(vec![CHARACTER_DEVICE, BLOCK_DEVICE], refusal)], Allow)
}

pub(super) fn executable_memory(refusal: SyscallVerdict) -> SyscallVerdict {
    switch_bits(1, MFD_NOEXEC_SEAL, [(vec![0], refusal)], Allow)
}

pub(super) fn terminal_input(refusal: SyscallVerdict) -> SyscallVerdict {
    switch(1, [(vec![TIOCSTI, TIOCLINUX, TIOCSETD], refusal)], Allow)
}

pub(super) fn file_flags(refusal: SyscallVerdict) -> SyscallVerdict {
    let changes = switch_bits(1, IOCTL_LETTER, [(FILE_IOCTL_LETTERS.to_vec(), refusal)], Allow);
    switch(1, [(FILE_IOCTL_QUERIES.to_vec(), Allow)], changes)
}
