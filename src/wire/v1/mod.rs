//! Version 1: one request on a connection, and its answer there.

mod explanation;
mod reply;
mod request;

pub use explanation::Explanation;
pub use reply::Reply;
pub use request::Request;
