//! Memory that nobody uses.

/// Gives free memory back to the kernel, as far as the C library can: of a burst, it keeps what each thread had.
/// `malloc_trim(3)`.
#[allow(unsafe_code, reason = "no crate offers malloc_trim")]
pub fn give_back_memory() {
    #[cfg(target_env = "gnu")]
    // SAFETY: takes the allocator's own locks, and touches free memory only.
    unsafe {
        libc::malloc_trim(0);
    }
}
