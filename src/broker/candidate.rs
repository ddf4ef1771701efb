//! What the admission of a socket asks of a call.

use std::sync::Arc;

/// A call that wants a place: it counts against its rule and its socket.
pub(super) trait Candidate {
    /// The rule, by which running calls are counted.
    fn rule(&self) -> &Arc<str>;
    /// Calls of the rule that may run at once.
    fn rule_limit(&self) -> Option<u32>;
    /// Calls of the socket that may run at once.
    fn socket_limit(&self) -> u32;
    /// Bytes of memory that the call takes while it waits.
    fn bytes(&self) -> usize;
    /// Notes that there is no place for the call now.
    fn note_wait(&mut self);
    /// Whether the call is not to run any more, because its caller has left.
    fn has_left(&self) -> bool;
    /// Tells the caller, once, that the call waits, because so many calls run as `limit` allows.
    fn tell_wait(&mut self, limit: u32);
}
