//! A request to the broker that is driven by the runtime: it is opened on a thread that may wait, and its
//! events are awaited. A request that is dropped closes its pipes, and the broker ends the call.

use std::ffi::OsString;
use std::io;
use std::os::fd::{BorrowedFd, OwnedFd};
use std::sync::Arc;
use std::time::Instant;

use sluice::client::{CallFailure, PendingRequest, ReadyEnds, RequestEvent};
use sluice::wire::Malformed;
use sluice::wire::v2::{CallEnd, ListFormat};
use tokio::io::Interest;
use tokio::io::unix::AsyncFd;
use tokio::sync::Semaphore;
use tokio::task;

use crate::limits::OPENINGS_MAX;
use crate::place::BrokerPlace;

/// The requests that may be on their way at once.
static OPENINGS: Semaphore = Semaphore::const_new(OPENINGS_MAX);

/// The descriptors of a command, shared by the requests that try one address after the other.
type Stdio = [Arc<OwnedFd>; 3];

/// A request under way.
#[derive(Debug)]
pub(crate) struct AsyncRequest(PendingRequest<Arc<OwnedFd>>);

impl AsyncRequest {
    /// Has the broker run `words` with these descriptors.
    pub(crate) async fn call(
        place: BrokerPlace,
        words: Vec<OsString>,
        stdio: [OwnedFd; 3],
    ) -> Result<Self, CallFailure> {
        let stdio: Stdio = stdio.map(Arc::new);
        Self::open(move || place.ask(|address| PendingRequest::call(address, &words, stdio.clone()))).await
    }

    /// Asks the broker for its listing.
    pub(crate) async fn list(place: BrokerPlace) -> Result<Self, CallFailure> {
        Self::open(move || place.ask(|address| PendingRequest::list(address, ListFormat::Json))).await
    }

    /// Connects and sends, both of which may wait while the broker's queue is full.
    async fn open(
        ask: impl FnOnce() -> Result<PendingRequest<Arc<OwnedFd>>, CallFailure> + Send + 'static,
    ) -> Result<Self, CallFailure> {
        // A thread that nobody waits for any more keeps its permit until its request has gone out.
        let permit = OPENINGS.acquire().await;
        let asked = task::spawn_blocking(move || {
            let asked = ask();
            drop(permit);
            asked
        });
        let asked = asked.await;
        asked.map_err(|error| CallFailure::Unsent(io::Error::other(error)))?.map(Self)
    }

    /// The number of the call, once it has begun.
    pub(crate) fn number(&self) -> Option<u64> {
        self.0.number()
    }

    /// The next event.
    pub(crate) async fn next_event(&mut self) -> Result<RequestEvent, CallFailure> {
        loop {
            let ready = self.0.wait(Some(Instant::now())).map_err(|_| CallFailure::Unanswered)?;
            // Where a broker went away, what follows waits for its explanation.
            if let Some(event) = task::block_in_place(|| self.0.advance(ready))? {
                return Ok(event);
            }
            if ready == ReadyEnds::NONE {
                self.readable().await.map_err(|_| CallFailure::Unanswered)?;
            }
        }
    }

    /// The end of a call. `hear` is told of each event on the way.
    pub(crate) async fn end(&mut self, mut hear: impl FnMut(&RequestEvent)) -> Result<CallEnd, CallFailure> {
        loop {
            let event = self.next_event().await?;
            hear(&event);
            match event {
                RequestEvent::Ended(end) => return Ok(end),
                RequestEvent::Listing(text) => {
                    return Err(CallFailure::Unreadable(Malformed::Trailing(text.len())));
                }
                RequestEvent::Queued { .. } | RequestEvent::Started { .. } => {}
            }
        }
    }

    async fn readable(&self) -> io::Result<()> {
        let ends = self.0.ends();
        let watched = |end: Option<_>| end.map(watch).transpose();
        let (reply, connection) = (watched(ends.reply)?, watched(ends.connection)?);
        tokio::select! {
            ready = until_readable(reply.as_ref()) => ready,
            ready = until_readable(connection.as_ref()) => ready,
        }
    }
}

#[expect(
    deprecated,
    reason = "its successor is unsafe for types without I/O safety, which a borrowed descriptor has"
)]
fn watch(fd: BorrowedFd<'_>) -> io::Result<AsyncFd<BorrowedFd<'_>>> {
    AsyncFd::with_interest(fd, Interest::READABLE)
}

async fn until_readable(fd: Option<&AsyncFd<BorrowedFd<'_>>>) -> io::Result<()> {
    match fd {
        Some(fd) => fd.readable().await.map(drop),
        None => std::future::pending().await,
    }
}
