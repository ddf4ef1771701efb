//! End-to-end tests: the real binaries, real sockets, real processes. `harness` is what they stand on; every other
//! file holds one class of promise.

mod harness;
mod environment;
mod fds;
mod lifecycle;
mod stdio;
mod wire;
