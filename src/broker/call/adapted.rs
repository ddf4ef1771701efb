//! A request of version 2 on its way from the connection to an adapter. When the adapter has it, the
//! connection is watched for the next request, and the request goes on with the line to the adapter as a
//! connection of its own. Where no adapter can be had, or it ends before it has the request, the request
//! stays where it is.

use std::mem;
use std::os::fd::AsFd;
use std::time::{Duration, Instant};

use crate::broker::client_request::ClientRequest;
use crate::broker::connection::Connection;
use crate::broker::state::Broker;
use crate::limits::{ADAPTER_KILL_GRACE, REQUEST_REST_MIN};
use crate::refusal::{DescriptorFault, Refusal};
use crate::sys::{self, PeekedMessage};

/// A request that an adapter was told to take.
#[derive(Debug)]
pub(super) struct AdaptedRequest {
    line: Connection,
    is_empty: bool,
}

/// What became of a request that an adapter was told to take.
#[derive(Debug)]
pub(super) enum AdapterResult {
    /// The adapter has it, with so many descriptors.
    Taken(usize),
    /// It is still in its connection, because of this.
    Untaken(Refusal),
}

impl AdaptedRequest {
    /// Has an adapter take the request that waits on a connection. Until [`Self::finish`], nothing else may
    /// look at the connection. Waits for an adapter at the first try alone, and for a process for it.
    /// Errors: there is no adapter to be had. The request is still in the connection.
    pub(super) fn begin(
        broker: &Broker,
        shared: &Connection,
        message: &PeekedMessage,
    ) -> Result<Self, Refusal> {
        let is_awaited = !shared.is_tried_again();
        let give_up = Instant::now() + if is_awaited { REQUEST_REST_MIN } else { Duration::ZERO };
        let adapter = broker.adapters.take(shared.socket(), give_up, is_awaited)?;
        let ends = sys::pair().and_then(|(near, far)| {
            // With credentials on each message, a look at one leaves no room in which the kernel could
            // install the command's descriptors here.
            sys::pass_credentials(near.as_fd())?;
            sys::never_wait(near.as_fd()).map(|()| (near, far))
        });
        let sent = ends.and_then(|(near, far)| {
            shared.lend_to_adapter();
            adapter.adapter().send(shared.as_fd(), far.as_fd(), give_up).map(|()| near)
        });
        match sent {
            Ok(near) => {
                Ok(Self { line: Connection::line(near, shared, adapter), is_empty: message.length == 0 })
            }
            Err(source) => {
                shared.take_back();
                adapter.give_back();
                Err(Refusal::no_launcher(source))
            }
        }
    }

    /// Waits until the adapter has the request, and puts the line in the place of the connection, which is
    /// watched again.
    /// Errors: the adapter cannot use the descriptors, or ended with the request, and then the request is
    /// answered on the connection; or it is not known whether it has the request.
    pub(super) fn finish(
        self,
        broker: &Broker,
        client: &mut ClientRequest,
    ) -> Result<AdapterResult, Refusal> {
        let refusal = match self.line.await_taken(broker.events.as_stop()) {
            Ok(count) => {
                client.connection.note_request_taken();
                broker.watch_again(mem::replace(&mut client.connection, self.line));
                return Ok(AdapterResult::Taken(count));
            }
            Err(refusal) => refusal,
        };
        let is_late = matches!(refusal, Refusal::PipedDescriptors(DescriptorFault::Late));
        let is_said = !is_late && matches!(refusal, Refusal::PipedDescriptors(_) | Refusal::InFlight);
        let is_taken = if is_said {
            Some(true)
        } else if matches!(refusal, Refusal::Stopping) {
            None
        } else {
            self.was_taken(&client.connection)
        };
        match is_taken {
            Some(true) => client.connection.note_request_taken(),
            Some(false) => {
                client.connection.take_back();
                return Ok(AdapterResult::Untaken(refusal));
            }
            None => {}
        }
        Err(refusal)
    }

    /// Kills the adapter, and says whether it has taken the request; after that it takes nothing more. `None`
    /// where that is not certain.
    fn was_taken(&self, shared: &Connection) -> Option<bool> {
        self.line.end_adapter(Instant::now());
        if shared.is_request_taken()? {
            // It may take long to end, because it closes what came with the request.
            return Some(true);
        }
        let is_over = self.line.end_adapter(Instant::now() + ADAPTER_KILL_GRACE);
        if shared.is_request_taken()? { Some(true) } else { (is_over && !self.is_empty).then_some(false) }
    }
}
