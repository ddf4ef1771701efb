//! The secrets that a command gets with its plan: no log shows them, and they are overwritten when they are
//! dropped.

use std::fmt;

use crate::sys;

/// Bytes that hold a secret. They are in one place of memory as long as code only looks at them, and that
/// place is overwritten when the value is dropped.
#[derive(PartialEq, Eq)]
pub struct SecretBytes(Vec<u8>);

impl SecretBytes {
    /// Takes over the bytes, which must have had room for all of their content from the beginning: a vector
    /// that grows leaves copies behind.
    pub fn new(bytes: Vec<u8>) -> Self {
        Self(bytes)
    }

    /// The bytes, to look at and to change in place.
    pub fn as_mut_slice(&mut self) -> &mut [u8] {
        &mut self.0
    }

    /// The bytes.
    pub fn as_slice(&self) -> &[u8] {
        &self.0
    }

    /// Keeps the first bytes; the others are overwritten.
    pub fn shorten(&mut self, length: usize) {
        let length = length.min(self.0.len());
        sys::wipe(&mut self.0[length..]);
        self.0.truncate(length);
    }
}

/// The secrets of one command. They are apart from its plan, because they are dropped as soon as its launcher
/// has them.
#[derive(Debug, Default)]
pub struct LaunchSecrets {
    /// Variables, as `NAME=value`.
    pub variables: Vec<SecretBytes>,
    /// The contents of files in memory, whose descriptors come after those of the plan's `opened`.
    pub files: Vec<SecretBytes>,
}

impl Drop for SecretBytes {
    fn drop(&mut self) {
        sys::wipe(&mut self.0);
    }
}

impl fmt::Debug for SecretBytes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "SecretBytes({} bytes)", self.0.len())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_secret_is_not_in_what_is_printed_for_debugging() {
        let mut secret = SecretBytes::new(b"TOKEN=tombola\n".to_vec());
        secret.shorten(13);
        assert_eq!(secret.as_slice(), b"TOKEN=tombola");
        assert_eq!(format!("{secret:?}"), "SecretBytes(13 bytes)");
    }
}
