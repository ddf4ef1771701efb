//! Overwrites secrets in memory.

/// Overwrites the bytes with zeroes, although nothing reads them afterwards. `explicit_bzero(3)`.
#[allow(unsafe_code, reason = "the compiler leaves out ordinary writes that nothing reads")]
pub fn wipe(bytes: &mut [u8]) {
    // SAFETY: so many bytes can be written there.
    unsafe { libc::explicit_bzero(bytes.as_mut_ptr().cast(), bytes.len()) };
}
