//! Opening and closing FIFO doors: each is a process (`spawn/door`) with a connection to its socket. The main
//! thread decides which doors there are to be; threads that live for a moment open and close them, because
//! that waits for the nursery.

use std::fs::{DirBuilder, OpenOptions};
use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::thread;
use std::time::Instant;

use nix::errno::Errno;
use nix::fcntl::OFlag;
use nix::sys::socket::{UnixAddr, getsockname};
use nix::unistd::geteuid;

use crate::limits::{CALL_STACK_BYTES, DOOR_FAILED_RETRY, DOOR_RETRY};
use crate::spawn::FifoDoor;
use crate::sys;
use crate::trust::TrustedName;

use super::connection::Connection;
use super::doors::{DoorChange, DoorState};
use super::notice::Notice;
use super::state::Broker;

/// Opens and closes doors as the rules say. Never waits.
pub(super) fn settle_doors(broker: &Arc<Broker>) {
    let doors = &broker.doors;
    if !doors.take_news() {
        return;
    }
    let now = Instant::now();
    for (index, socket) in broker.sockets.iter().enumerate() {
        let is_wanted = doors.given().is_some() || socket.rules.policy().has_fifo_door();
        let is_wanted = is_wanted && !broker.events.is_stopping();
        if let Some(what) = doors.begin_change(index, is_wanted, now) {
            change(broker, index, what);
        }
    }
}

/// Has a thread change a door.
fn change(broker: &Arc<Broker>, index: usize, what: DoorChange) {
    let own = broker.clone();
    let work = move || {
        let state = match what {
            DoorChange::Open => open(&own, index),
            DoorChange::Close(door) => {
                FifoDoor::close_all([door], &own.reaper);
                DoorState::Closed
            }
        };
        own.doors.end_change(index, state);
        // Its end may have been seen before it counted as open.
        if own.doors.has_ended(index) {
            lose_door(&own, index);
        }
        own.events.wake();
    };
    if thread::Builder::new().name("door".into()).stack_size(CALL_STACK_BYTES).spawn(work).is_err() {
        broker.doors.end_change(index, DoorState::Failed(Instant::now() + DOOR_RETRY));
    }
}

fn open(broker: &Arc<Broker>, index: usize) -> DoorState {
    match try_open(broker, index) {
        Ok(door) => DoorState::Open(door),
        Err((path, source)) => {
            (broker.say)(&Notice::NoDoor(&path, &source));
            DoorState::Failed(Instant::now() + DOOR_FAILED_RETRY)
        }
    }
}

fn try_open(broker: &Arc<Broker>, index: usize) -> Result<FifoDoor, (PathBuf, io::Error)> {
    let path = match broker.doors.given() {
        Some(given) => given.clone(),
        None => place(broker.incoming.listener(index))
            .map_err(|source| (broker.sockets[index].name.to_string().into(), source))?,
    };
    let at = |source: io::Error| (path.clone(), source);
    let directory = own_directory(&path).map_err(at)?;
    let (near, far) = sys::pair().map_err(at)?;
    sys::never_wait(near.as_fd()).and_then(|()| sys::pass_credentials(near.as_fd())).map_err(at)?;
    let door = broker.pool.order_door(far.as_fd(), directory.as_fd()).map_err(at)?;
    drop(far);
    let connection = Connection::of_door(near, index, broker.closing.clone());
    // The door is closed again where the kernel does not allow one more watch.
    broker.incoming.watch_idle(connection).map_err(at)?;
    Ok(door)
}

/// The directory of a socket's door: `fifo` beside a socket called `sock`, else `NAME.fifo`.
fn place(listener: BorrowedFd<'_>) -> io::Result<PathBuf> {
    let address: UnixAddr = getsockname(listener.as_raw_fd())?;
    let socket = address.path().ok_or(Errno::EDESTADDRREQ)?;
    let name = socket.file_name().unwrap_or_default();
    let mut door = name.to_owned();
    door.push(".fifo");
    Ok(socket.with_file_name(if name == "sock" { "fifo".as_ref() } else { door.as_os_str() }))
}

/// Opens the door's directory, and makes it where it is not there: mode 0700, this user's, no link, and in
/// directories that no other user can change.
fn own_directory(path: &Path) -> io::Result<OwnedFd> {
    TrustedName::parent_of(path, true).map_err(|distrust| io::Error::other(distrust.to_string()))?;
    match DirBuilder::new().mode(0o700).create(path) {
        Err(source) if source.kind() != io::ErrorKind::AlreadyExists => return Err(source),
        _ => {}
    }
    let flags = (OFlag::O_DIRECTORY | OFlag::O_NOFOLLOW).bits();
    let directory = OpenOptions::new().read(true).custom_flags(flags).open(path)?;
    let found = directory.metadata()?;
    let is_own = found.uid() == geteuid().as_raw() && found.mode() & 0o077 == 0;
    if is_own { Ok(directory.into()) } else { Err(Errno::EPERM.into()) }
}

/// Notes that the door of a socket has ended.
pub(super) fn lose_door(broker: &Broker, index: usize) {
    if let Some(door) = broker.doors.lose(index, Instant::now() + DOOR_RETRY) {
        FifoDoor::close_all([door], &broker.reaper);
        broker.events.wake();
    }
}

/// Closes all doors: the broker ends.
pub(super) fn close_doors(broker: &Broker) {
    FifoDoor::close_all(broker.doors.take_open(), &broker.reaper);
}
