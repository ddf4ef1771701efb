//! End-to-end tests: the real binaries, real sockets, real processes. `harness` is what they stand on; every other
//! file holds one class of promise.

mod activation;
mod captures;
mod captures_failing;
mod cli;
mod client;
mod concurrency;
mod config;
mod crash;
mod diagnostics;
mod docs;
mod durable;
mod environment;
mod faults;
mod fds;
mod fuzz_corpus;
mod hangup;
mod harness;
mod journal;
mod lifecycle;
mod log;
mod manifest;
mod matching;
mod notify;
mod numbers;
mod privileges;
mod recovery;
mod relay;
mod scope;
mod sink;
mod small;
mod stdio;
mod stop;
mod tidy;
mod verify;
mod wire;
