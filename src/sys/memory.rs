//! Memory that nobody uses.

#[cfg(target_env = "gnu")]
use crate::limits::{HEAPS_MAX, STACKS_KEPT_BYTES};

/// Has threads share their heaps. The C library makes eight for each processor, and of each, a burst leaves
/// something behind. `mallopt(3)`. For a program's beginning: heaps that are there stay.
#[allow(unsafe_code, reason = "no crate offers mallopt")]
pub fn share_heaps() {
    #[cfg(target_env = "gnu")]
    // SAFETY: takes the allocator's own locks, and changes a number of its own.
    unsafe {
        libc::mallopt(libc::M_ARENA_MAX, HEAPS_MAX);
    }
}

/// Gives free memory back to the kernel, as far as the C library can: of a burst, it keeps what each thread
/// had. `malloc_trim(3)`.
#[allow(unsafe_code, reason = "no crate offers malloc_trim")]
pub fn give_back_memory() {
    #[cfg(target_env = "gnu")]
    // SAFETY: takes the allocator's own locks, and touches free memory only.
    unsafe {
        libc::malloc_trim(0);
    }
}

/// Gives the stacks of ended threads back to the kernel. The C library keeps them for the next threads, and
/// with each the pages that were its innermost; it lets go of the oldest when it has too much, which is when
/// a thread ends whose stack is as large as all that it keeps. Nothing of that stack is touched, so it is no
/// memory.
pub fn give_back_stacks() {
    #[cfg(target_env = "gnu")]
    // Where the kernel does not give as much, the stacks stay.
    std::thread::Builder::new()
        .stack_size(STACKS_KEPT_BYTES)
        .spawn(|| {})
        .map(std::thread::JoinHandle::join)
        .ok();
}
