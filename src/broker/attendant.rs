//! A thread that answers one visitor. Its socket's gate has counted it before, and is told when it ends.

use std::io;
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;

use crate::limits::CALL_STACK_BYTES;

use super::call::{Visit, answer};
use super::state::Broker;

/// Answers a visit in a thread of its own; gives it back when the kernel has no thread to give.
pub(super) fn begin_thread(
    broker: Arc<Broker>,
    index: usize,
    visit: Visit,
) -> Result<(), (io::Error, Option<Visit>)> {
    let handed = Arc::new(Mutex::new(Some(visit)));
    let taken = handed.clone();
    let work = move || {
        let ending = Ending(&broker, index);
        if let Some(visit) = take(&taken) {
            answer(&broker, &broker.sockets[index], visit);
        }
        drop(ending);
    };
    let begun = thread::Builder::new().name("call".into()).stack_size(CALL_STACK_BYTES).spawn(work);
    begun.map(drop).map_err(|source| (source, take(&handed)))
}

fn take(slot: &Mutex<Option<Visit>>) -> Option<Visit> {
    slot.lock().unwrap_or_else(PoisonError::into_inner).take()
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
