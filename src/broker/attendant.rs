//! What a thread does that answers one visitor. Its socket's gate has counted it before, and is told when it ends.

use std::sync::Arc;

use super::call::answer;
use super::state::Broker;
use super::visit::Visit;

/// A connection that said something, to a socket.
pub(super) struct Spoken {
    pub(super) broker: Arc<Broker>,
    pub(super) socket: usize,
    pub(super) visit: Visit,
}

/// The work of a thread.
pub(super) fn serve(Spoken { broker, socket, visit }: Spoken) {
    let ending = Ending(&broker, socket);
    answer(&broker, &broker.sockets[socket], visit);
    broker.pool.refill();
    broker.scopes.refill();
    drop(ending);
}

/// Gives the thread's place back, even from a panic.
struct Ending<'b>(&'b Broker, usize);

impl Drop for Ending<'_> {
    fn drop(&mut self) {
        let stopping = self.0.events.is_stopping();
        if self.0.sockets[self.1].gate.end_thread() || stopping {
            self.0.events.wake();
        }
    }
}
