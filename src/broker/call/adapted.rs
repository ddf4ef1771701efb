//! A request of version 2 on its way from the connection to an adapter. When the adapter has it, the
//! connection is watched for the next request, and the request goes on with the line to the adapter as a
//! connection of its own.

use std::mem;
use std::os::fd::AsFd;

use crate::broker::client_request::ClientRequest;
use crate::broker::connection::Connection;
use crate::broker::state::Broker;
use crate::refusal::{DescriptorFault, Refusal};
use crate::sys;

/// A request that an adapter was told to take.
#[derive(Debug)]
pub(super) struct AdaptedRequest {
    line: Connection,
}

impl AdaptedRequest {
    /// Has an adapter take the request that waits on a connection. Until [`Self::finish`], nothing else may
    /// look at the connection.
    /// Errors: there is no adapter to be had. The request is still in the connection.
    pub(super) fn begin(broker: &Broker, shared: &Connection) -> Result<Self, Refusal> {
        let adapter = broker.adapters.take(shared.socket()).inspect_err(|_| shared.give_up())?;
        let ends = sys::pair().and_then(|(near, far)| {
            // With credentials on each message, a look at one leaves no room in which the kernel could
            // install the command's descriptors here.
            sys::pass_credentials(near.as_fd())?;
            sys::never_wait(near.as_fd()).map(|()| (near, far))
        });
        let (near, far) = ends.map_err(Refusal::no_launcher).inspect_err(|_| shared.give_up())?;
        shared.lend();
        adapter.adapter().send(shared.as_fd(), far.as_fd()).map_err(Refusal::no_launcher)?;
        Ok(Self { line: Connection::line(near, shared, adapter) })
    }

    /// Waits until the adapter has the request, and puts the line in the place of the connection, which is
    /// watched again. Returns the number of descriptors that came with the request.
    /// Errors: the adapter cannot use the descriptors, and then the request is answered on the connection;
    /// or it did not take the request.
    pub(super) fn finish(self, broker: &Broker, client: &mut ClientRequest) -> Result<usize, Refusal> {
        let taken = self.line.await_taken(broker.events.as_stop());
        // One that is late may not have taken it.
        let is_late = matches!(taken, Err(Refusal::PipedDescriptors(DescriptorFault::Late)));
        if !is_late && matches!(taken, Ok(_) | Err(Refusal::PipedDescriptors(_) | Refusal::InFlight)) {
            client.connection.note_request_taken();
        }
        let count = taken?;
        broker.watch_again(mem::replace(&mut client.connection, self.line));
        Ok(count)
    }
}
