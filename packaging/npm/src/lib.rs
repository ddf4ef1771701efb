//! The native half of the package: the functions that JavaScript calls. Each call has a thread of its own
//! (`call.rs`), which waits for the broker; its news come to JavaScript as lines of JSON, the last one an
//! outcome as `sluicify --status-fd` writes it. Start with `index.js`.

mod asking;
mod call;
mod listing;
mod place;
mod signals;
mod streams;

use std::ffi::OsString;
use std::sync::{Arc, Weak};

use napi::bindgen_prelude::{Env, Function, Result};
use napi_derive::napi;
use nix::sys::signal::Signal;
use sluice::sluicify::PlaceVariables;

use asking::Asking;
use call::CallThread;
use place::CallPlace;
use signals::SentSignals;
use streams::{CallStreams, OwnEnds};

/// The place of a broker, for any number of calls.
#[napi]
#[derive(Debug)]
pub struct Place(Arc<CallPlace>);

#[napi]
impl Place {
    /// The broker that `socket` stands for, as of `sluicify`, with the values that the variables `SLUICE_FD`
    /// and `SLUICE_SOCKET` have. Where `keeps` is a path, its connection is kept from one call to the next.
    #[napi(constructor)]
    pub fn new(
        socket: String,
        descriptor: Option<String>,
        socket_variable: Option<String>,
        keeps: Option<String>,
    ) -> Self {
        let variables = PlaceVariables {
            descriptor: descriptor.map(OsString::from),
            socket: socket_variable.map(OsString::from),
        };
        Self(Arc::new(CallPlace::new(socket.into(), variables, keeps.map(Into::into))))
    }

    /// Closes the connection that is kept. Calls under way go on.
    #[napi]
    pub fn close(&self) {
        self.0.close();
    }
}

/// A request under way. When it is dropped, with its JavaScript environment, its call ends.
#[napi]
#[derive(Debug)]
pub struct Request {
    asking: Arc<Asking>,
    /// Gone with the call's thread, long before JavaScript lets go of this.
    signals: Weak<SentSignals>,
    ends: OwnEnds,
}

#[napi]
impl Request {
    /// The descriptors of this process's ends of stdin, stdout and stderr; -1 for one that is no pipe. They
    /// are closed with this, but for those that were released.
    #[napi(getter)]
    pub fn ends(&self) -> Vec<i32> {
        self.ends.numbers()
    }

    /// Says that a socket has the end of this index (0 to 2), and closes it.
    #[napi]
    pub fn release(&mut self, index: u32) {
        self.ends.release(index as usize);
    }

    /// Sends the signal of this number to the call. Gives false while its thread connects, and hears nothing.
    #[napi]
    pub fn kill(&self, number: i32) -> bool {
        Signal::try_from(number).is_ok_and(|signal| self.send(signal))
    }

    /// Says whether the request keeps node's process alive.
    #[napi]
    pub fn keep_alive(&self, env: Env, is_kept: bool) -> Result<()> {
        self.asking.keep_alive(&env, is_kept)
    }
}

impl Request {
    /// Whether the call hears a signal, or is over already.
    fn send(&self, signal: Signal) -> bool {
        self.signals.upgrade().is_none_or(|signals| signals.send(signal))
    }
}

impl Drop for Request {
    fn drop(&mut self) {
        self.send(Signal::SIGKILL);
    }
}

/// Has the broker run `words`. Each of `stdio` is the number of a descriptor to copy, [`streams::PIPE`] or
/// [`streams::NOTHING`]. `hear` gets lines of JSON: `{"queued":LIMIT}`, `{"started":CALL}`, and at last the
/// outcome.
#[napi]
pub fn call(
    place: &Place,
    words: Vec<String>,
    stdio: Vec<i32>,
    hear: Function<'_, String, ()>,
) -> Result<Request> {
    let streams = CallStreams::new(&stdio)?;
    let asking = Arc::new(Asking::new(&hear)?);
    let signals = Arc::new(SentSignals::new()?);
    let sending = Arc::downgrade(&signals);
    let words = words.into_iter().map(OsString::from).collect();
    CallThread::new(place.0.clone(), words, streams.theirs, asking.clone(), signals).start()?;
    Ok(Request { asking, signals: sending, ends: streams.own })
}

/// Asks for the listing. `hear` gets `{"listing":…}` with the listing in it, or an outcome.
#[napi]
pub fn list(place: &Place, hear: Function<'_, String, ()>) -> Result<()> {
    listing::start(place.0.clone(), Asking::new(&hear)?)
}
