//! Version 2: any number of requests on a connection, each with pipes of its own for the broker's frames and
//! for the caller's orders.

mod control;
mod frame;
mod request;

pub use control::{CONTROL_BYTES, FORWARDED_SIGNALS, signal_of, signal_order};
pub use frame::{CallEnd, EndFlags, Frame, FrameReader};
pub use request::{CALL_FDS, LIST_FDS, ListFormat, PipedRequest};
