//! The place where calls are asked: as `sluicify` finds it, or a connection that is kept between calls.

use std::ffi::OsString;
use std::path::PathBuf;
use std::sync::{Mutex, MutexGuard, PoisonError};

use sluice::client::{BrokerAddress, SharedConnection};
use sluice::sluicify::{AskedPlace, PlaceVariables, ask_at};

/// The place of a broker.
#[derive(Debug)]
pub(crate) struct CallPlace {
    socket: OsString,
    variables: PlaceVariables,
    kept: Option<KeptConnection>,
}

/// A connection to the broker at a path.
#[derive(Debug)]
struct KeptConnection {
    path: PathBuf,
    /// Held while it is opened, which may take long. JavaScript's thread never takes it.
    opening: Mutex<()>,
    open: Mutex<Option<SharedConnection>>,
}

impl CallPlace {
    pub(crate) fn new(socket: OsString, variables: PlaceVariables, keeps: Option<PathBuf>) -> Self {
        let kept =
            keeps.map(|path| KeptConnection { path, opening: Mutex::default(), open: Mutex::default() });
        Self { socket, variables, kept }
    }

    /// Asks on the connection that is kept, and where nothing can be asked there, as `sluicify` does. `ask`
    /// gives an error where nothing could be asked. Errors: the messages of all places.
    pub(crate) fn ask<T>(
        &self,
        ask: impl Fn(&AskedPlace, BrokerAddress) -> Result<T, String>,
    ) -> Result<T, String> {
        if let Some(kept) = &self.kept
            && let Some(connection) = kept.connection()
        {
            let place = AskedPlace::Socket(kept.path.clone());
            match ask(&place, BrokerAddress::Open(connection)) {
                Err(_) => kept.close(),
                asked => return asked,
            }
        }
        ask_at(&self.socket, &self.variables, ask)
    }

    /// Closes the connection that is kept.
    pub(crate) fn close(&self) {
        if let Some(kept) = &self.kept {
            kept.close();
        }
    }
}

impl KeptConnection {
    /// The connection, which is opened if there is none; `None` where it cannot be.
    fn connection(&self) -> Option<SharedConnection> {
        let _opening = self.opening.lock().unwrap_or_else(PoisonError::into_inner);
        let open = self.open().clone();
        if open.is_some() {
            return open;
        }
        let opened = SharedConnection::open(&self.path).ok();
        self.open().clone_from(&opened);
        opened
    }

    fn close(&self) {
        *self.open() = None;
    }

    fn open(&self) -> MutexGuard<'_, Option<SharedConnection>> {
        self.open.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
