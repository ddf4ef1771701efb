//! Returns unused memory of the C library to the kernel.

#[cfg(target_env = "gnu")]
use crate::limits::{HEAPS_MAX, STACKS_KEPT_BYTES};

/// Limits the number of heaps, which threads then share. The C library makes up to eight for each processor,
/// and a burst of calls leaves memory behind in each. `mallopt(3)`. Called when a program begins: existing
/// heaps stay.
#[allow(unsafe_code, reason = "no crate offers mallopt")]
pub fn share_heaps() {
    #[cfg(target_env = "gnu")]
    // SAFETY: takes the allocator's own locks, and changes a number of its own.
    unsafe {
        libc::mallopt(libc::M_ARENA_MAX, HEAPS_MAX);
    }
}

/// Gives free memory back to the kernel, as far as the C library can: after a burst, it keeps the memory of
/// each thread. `malloc_trim(3)`.
#[allow(unsafe_code, reason = "no crate offers malloc_trim")]
pub fn give_back_memory() {
    #[cfg(target_env = "gnu")]
    // SAFETY: takes the allocator's own locks, and touches free memory only.
    unsafe {
        libc::malloc_trim(0);
    }
}

/// Gives the stacks of ended threads back to the kernel. The C library caches them, with the pages that were
/// used last, for the next threads, and frees the oldest ones when the cache is over its limit. So this
/// starts a thread whose stack is as large as the limit, and whose end pushes out the others. That stack's
/// pages are hardly touched, so it costs no memory.
pub fn give_back_stacks() {
    #[cfg(target_env = "gnu")]
    // Where the kernel does not give so large a stack, the cached stacks stay.
    std::thread::Builder::new()
        .stack_size(STACKS_KEPT_BYTES)
        .spawn(|| {})
        .map(std::thread::JoinHandle::join)
        .ok();
}
