//! The kernel bounds the descriptors that are on their way in messages for a whole user who is not root, by
//! the limit of descriptors of the process that sends. All tests are one user, so a test that has many on
//! their way stands aside from one whose broker has a small limit.

use std::sync::{PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard};

static IN_FLIGHT: RwLock<()> = RwLock::new(());

/// For a test that has many descriptors on their way: alone among those of both kinds, while this is kept.
pub(crate) fn many_in_flight() -> RwLockWriteGuard<'static, ()> {
    IN_FLIGHT.write().unwrap_or_else(PoisonError::into_inner)
}

/// For a test whose broker has a small limit of descriptors: while this is kept, few are on their way.
pub(crate) fn few_in_flight() -> RwLockReadGuard<'static, ()> {
    IN_FLIGHT.read().unwrap_or_else(PoisonError::into_inner)
}
