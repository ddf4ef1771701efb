//! The jobs of the thread pool. Each belongs to a socket: the socket's admission has counted the thread
//! before the job begins, and is told when it ends.

use std::sync::Arc;

use crate::broker::call::handler::{answer, attend};
use crate::broker::connection::Connection;
use crate::broker::state::{Broker, ServedSocket};

/// A connection that can be read, and the slot of the thread that answers it.
#[derive(Debug)]
pub(super) struct ReadyConnection {
    pub(in crate::broker) place: ThreadSlot,
    pub(in crate::broker) connection: Connection,
}

/// The work that a thread is given.
#[derive(Debug)]
pub(super) enum Job {
    /// Answer the request on a connection.
    Answer(ReadyConnection),
    /// Look after the calls that wait for a place.
    Attend(ThreadSlot),
}

/// A thread's place in a socket's count, which is given back even after a panic.
#[derive(Debug)]
pub(super) struct ThreadSlot {
    broker: Arc<Broker>,
    index: usize,
}

/// Does the work of a thread.
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
    /// A place that the socket's admission has counted.
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
