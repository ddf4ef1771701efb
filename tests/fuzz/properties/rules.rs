//! x
pub(crate) fn check(_: &[u8]) {}
