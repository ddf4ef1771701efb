//! What a thread does that answers one visitor. Its socket's gate has counted it before, and is told when it ends.

use std::sync::Arc;

use super::call::answer;
use super::state::{Broker, Socket};
use super::visit::Visit;

/// A connection that said something, and the place of a thread that answers it.
#[derive(Debug)]
pub(super) struct Spoken {
    pub(super) place: Place,
    pub(super) visit: Visit,
}

/// A thread's place at a socket, which is given back even from a panic.
#[derive(Debug)]
pub(super) struct Place {
    broker: Arc<Broker>,
    index: usize,
}

/// The work of a thread.
pub(super) fn serve(Spoken { place, visit }: Spoken) {
    answer(&place.broker, place.socket(), visit);
    place.broker.pool.refill();
    place.broker.scopes.refill();
}

impl Place {
    /// One that the socket's gate has counted.
    pub(super) fn taken(broker: Arc<Broker>, index: usize) -> Self {
        Self { broker, index }
    }

    fn socket(&self) -> &Socket {
        &self.broker.sockets[self.index]
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let stopping = self.broker.events.is_stopping();
        if self.socket().gate.end_thread() || stopping {
            self.broker.events.wake();
        }
    }
}
