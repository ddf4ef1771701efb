//! The way from a call's thread to JavaScript: lines for a function there. Node's process stays until the
//! last line, unless JavaScript wants otherwise.

use std::io;
use std::sync::{Mutex, MutexGuard, PoisonError};

use napi::Status;
use napi::bindgen_prelude::{Env, Function, Result};
use napi::threadsafe_function::{ThreadsafeFunction, ThreadsafeFunctionCallMode};

/// A JavaScript function that other threads may call, with its arguments in a queue without bounds.
type Hearing = ThreadsafeFunction<String, (), String, Status, false>;

/// Who asked, and hears of it.
pub(crate) struct Asking(Mutex<Option<Hearing>>);

impl Asking {
    pub(crate) fn new(hear: &Function<'_, String, ()>) -> Result<Self> {
        let hearing = hear.build_threadsafe_function().callee_handled::<false>().build()?;
        Ok(Self(Mutex::new(Some(hearing))))
    }

    /// Says a line. Where JavaScript has ended, nobody hears it.
    pub(crate) fn tell(&self, line: String) {
        if let Some(hearing) = &*self.hearing() {
            hearing.call(line, ThreadsafeFunctionCallMode::NonBlocking);
        }
    }

    /// Says the last line.
    pub(crate) fn finish(&self, line: String) {
        self.tell(line);
        *self.hearing() = None;
    }

    /// Says whether node's process stays for what is to come.
    #[expect(
        deprecated,
        reason = "its successor is decided by a type, and node's own can be changed at any time"
    )]
    pub(crate) fn keep_alive(&self, env: &Env, is_kept: bool) -> Result<()> {
        match &mut *self.hearing() {
            Some(hearing) if is_kept => hearing.refer(env),
            Some(hearing) => hearing.unref(env),
            None => Ok(()),
        }
    }

    fn hearing(&self) -> MutexGuard<'_, Option<Hearing>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl std::fmt::Debug for Asking {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Asking")
    }
}

/// An error of the system as JavaScript has it.
pub(crate) fn thrown(error: io::Error) -> napi::Error {
    napi::Error::from_reason(error.to_string())
}
