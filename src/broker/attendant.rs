//! What threads are given to do at a socket. Its gate has counted the thread before, and is told when it
//! ends.

use std::sync::Arc;

use super::state::{Broker, Socket};
use super::turns::{answer, attend};
use super::visit::Visit;

/// A connection that said something, and the place of a thread that answers it.
#[derive(Debug)]
pub(super) struct Spoken {
    pub(super) place: Place,
    pub(super) visit: Visit,
}

/// What a thread is given to do.
#[derive(Debug)]
pub(super) enum Errand {
    /// Answer somebody.
    Answer(Spoken),
    /// Look after those who wait for a place.
    Attend(Place),
}

/// A thread's place at a socket, which is given back even from a panic.
#[derive(Debug)]
pub(super) struct Place {
    broker: Arc<Broker>,
    index: usize,
}

/// The work of a thread.
pub(super) fn serve(errand: Errand) {
    let place = match errand {
        Errand::Answer(Spoken { place, visit }) => {
            answer(&place.broker, place.socket(), visit);
            place
        }
        Errand::Attend(place) => {
            attend(&place.broker, place.socket());
            place
        }
    };
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
