//! What threads are given to do at a socket. Its gate has counted the thread before, and is told when it
//! ends.

use std::sync::Arc;

use crate::broker::call::handler::{answer, attend};
use crate::broker::connection::Connection;
use crate::broker::state::{Broker, ServedSocket};

/// A connection that can be read, and the place of a thread that answers it.
#[derive(Debug)]
pub(super) struct ReadyConnection {
    pub(in crate::broker) place: ThreadSlot,
    pub(in crate::broker) connection: Connection,
}

/// What a thread is given to do.
#[derive(Debug)]
pub(super) enum Job {
    /// Answer somebody.
    Answer(ReadyConnection),
    /// Look after those who wait for a place.
    Attend(ThreadSlot),
}

/// A thread's place at a socket, which is given back even from a panic.
#[derive(Debug)]
pub(super) struct ThreadSlot {
    broker: Arc<Broker>,
    index: usize,
}

/// The work of a thread.
pub(super) fn serve(job: Job) {
    let place = match job {
        Job::Answer(ReadyConnection { place, connection }) => {
            answer(&place.broker, place.socket(), connection);
            place
        }
        Job::Attend(place) => {
            attend(&place.broker, place.socket());
            place
        }
    };
    place.broker.pool.refill();
    place.broker.scopes.refill();
}

impl ThreadSlot {
    /// One that the socket's gate has counted.
    pub(in crate::broker) fn taken(broker: Arc<Broker>, index: usize) -> Self {
        Self { broker, index }
    }

    fn socket(&self) -> &ServedSocket {
        &self.broker.sockets[self.index]
    }
}

impl Drop for ThreadSlot {
    fn drop(&mut self) {
        let stopping = self.broker.events.is_stopping();
        if self.socket().admission.end_thread() || stopping {
            self.broker.events.wake();
        }
    }
}
