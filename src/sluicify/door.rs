//! A connection for a sandbox: made outside, left open for the program that this process becomes, and named
//! in its environment. A sandbox whose filter forbids `socket` or `connect` leaves `sendmsg` on it.

use std::env;
use std::ffi::{CString, OsStr, OsString};
use std::fs;
use std::os::fd::{AsFd, BorrowedFd, RawFd};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::thread;
use std::time::Instant;

use nix::errno::Errno;
use nix::fcntl::{FcntlArg, fcntl};
use nix::poll::{PollFd, PollFlags};
use nix::unistd::execvpe;

use crate::client::{BrokerAddress, CallFailure, PendingRequest, SharedConnection};
use crate::limits::{FIRST_DOOR_FD, UNHEARD_WAIT};
use crate::sys::{self, Wakeup};
use crate::wire::v2::ListFormat;

use super::advice::AskedCall;
use super::call::say;
use super::place::{AskedPlace, DESCRIPTOR_VARIABLE, SOCKET_VARIABLE, variable};

/// The name of the program whose place a link of this name takes.
pub(super) const STAND_IN: &str = "bwrap";

/// The variable with which a stand-in tells what it did not do.
const VERBOSE_VARIABLE: &str = "SLUICE_VERBOSE";

/// The files that were stand-ins on the way here: their devices and inodes. Copies of this program that found
/// each other on `PATH` would go on for ever without it.
const PASSED_VARIABLE: &str = "SLUICE_STAND_INS";

/// Why a program was not started.
#[derive(Debug)]
pub(super) enum DoorFailure {
    /// There is no connection.
    Closed(String),
    /// The program could not be started.
    NoProgram(String, Errno),
}

/// Connects to the broker at `socket`, and becomes `command` with the connection left open. Gives only an
/// error.
pub(super) fn with_descriptor(socket: &OsStr, command: &[OsString]) -> DoorFailure {
    let path = if socket == "-" { variable(SOCKET_VARIABLE) } else { Some(socket.to_owned()) };
    let Some(path) = path.map(PathBuf::from) else {
        return DoorFailure::Closed(format!("${SOCKET_VARIABLE} is not set"));
    };
    let place = AskedPlace::Socket(path);
    let asked = AskedCall { place: &place, words: &[] };
    let opened = open_connection(place.path(), || say(&asked.unheard()), None);
    let number = match opened.and_then(|connection| connection.map(|it| leave_open(&it)).transpose()) {
        Ok(Some(number)) => number,
        Ok(None) => return DoorFailure::Closed(asked.advice(&CallFailure::Unanswered)),
        Err(failure) => return DoorFailure::Closed(asked.advice(&failure)),
    };
    let Some((program, arguments)) = command.split_first() else {
        return DoorFailure::NoProgram(String::new(), Errno::ENOENT);
    };
    become_program(program, program, arguments, &[(DESCRIPTOR_VARIABLE, number.to_string())])
}

/// Becomes the next program called `bwrap` on `PATH` that is no stand-in, with a connection to the broker at
/// `$SLUICE_SOCKET` left open if there is one: a sandbox without a gate is still one. Gives only an error.
pub(super) fn stand_in(arguments: &[OsString]) -> DoorFailure {
    let number = open_quietly();
    let (passed, own) = (variable(PASSED_VARIABLE).unwrap_or_default(), own_file());
    let mut passed: Vec<String> = passed.to_string_lossy().split(',').map(str::to_owned).collect();
    passed.extend(own);
    passed.retain(|file| !file.is_empty());
    passed.dedup();
    let search = env::var_os("PATH").unwrap_or_default();
    let Some(program) = env::split_paths(&search).find_map(|directory| real_program(&directory, &passed))
    else {
        return DoorFailure::NoProgram(format!("{STAND_IN}, other than links to sluicify"), Errno::ENOENT);
    };
    let mut variables = vec![(PASSED_VARIABLE, passed.join(","))];
    variables.extend(number.map(|number| (DESCRIPTOR_VARIABLE, number.to_string())));
    become_program(program.as_os_str(), OsStr::new(STAND_IN), arguments, &variables)
}

/// The number of a new connection that is left open; `None`, and a note if that is wanted, where there is no
/// broker.
fn open_quietly() -> Option<RawFd> {
    let note = |why: &str| {
        if variable(VERBOSE_VARIABLE).is_some() {
            say(&format!("this sandbox has no gate: {why}"));
        }
        None
    };
    let Some(path) = variable(SOCKET_VARIABLE).map(PathBuf::from) else {
        return note(&format!("${SOCKET_VARIABLE} is not set"));
    };
    let place = AskedPlace::Socket(path.clone());
    let asked = AskedCall { place: &place, words: &[] };
    match open_in_time(path) {
        Some(Ok(Some(connection))) => leave_open(&connection).ok(),
        Some(Ok(None)) | None => note(&asked.unheard()),
        Some(Err(failure)) => note(&asked.advice(&failure)),
    }
}

/// What [`open_connection`] gives within [`UNHEARD_WAIT`]. connect(2) waits without a bound while the
/// socket's backlog is full, so a thread does it, which ends at exec.
fn open_in_time(path: PathBuf) -> Option<Result<Option<SharedConnection>, CallFailure>> {
    let deadline = Instant::now().checked_add(UNHEARD_WAIT);
    let is_over = Arc::new(Wakeup::new().ok()?);
    let woken = Arc::clone(&is_over);
    let open = move || {
        let opened = open_connection(&path, || (), deadline);
        woken.wake();
        opened
    };
    let opener = thread::Builder::new().spawn(open).ok()?;
    let mut looked_at = [PollFd::new(is_over.as_fd(), PollFlags::POLLIN)];
    let is_opened = sys::poll_until(&mut looked_at, deadline).unwrap_or_default();
    if is_opened { opener.join().ok() } else { None }
}

/// Connects, and makes the connection one of version 2, which stays for as long as it is open here, by asking
/// for the listing; `None` when no answer came until the deadline. Calls `unheard` when none came for a
/// while.
fn open_connection(
    path: &Path,
    unheard: impl Fn(),
    deadline: Option<Instant>,
) -> Result<Option<SharedConnection>, CallFailure> {
    let connection = SharedConnection::open(path).map_err(CallFailure::Unreached)?;
    let address = BrokerAddress::Open(connection.clone());
    let mut request = PendingRequest::<BorrowedFd<'static>>::list(address, ListFormat::Text)?;
    let soon = Instant::now().checked_add(UNHEARD_WAIT);
    let mut end = request.wait_for_end(soon);
    if matches!(end, Ok(None)) && deadline.is_none() {
        unheard();
        end = request.wait_for_end(None);
    }
    match end {
        // A broker of version 2 refuses a listing that is too large, or for which no rules are in force.
        Ok(Some(_)) | Err(CallFailure::Refused(..)) => Ok(Some(connection)),
        Ok(None) => Ok(None),
        Err(failure) => Err(failure),
    }
}

/// A copy of a connection that stays open in the program that this process becomes, and its number.
fn leave_open(connection: &SharedConnection) -> Result<RawFd, CallFailure> {
    let copied = fcntl(connection, FcntlArg::F_DUPFD(FIRST_DOOR_FD));
    copied.map_err(|error| CallFailure::Unsent(error.into()))
}

/// The device and inode of this program's file.
fn own_file() -> Option<String> {
    file_of(Path::new("/proc/self/exe"))
}

fn file_of(path: &Path) -> Option<String> {
    let found = fs::metadata(path).ok()?;
    Some(format!("{}:{}", found.dev(), found.ino()))
}

/// The program called `bwrap` in a directory, unless it is one of these files. Its path has a slash, also
/// where `PATH` means the working directory: exec would look a name up in `PATH` once more.
fn real_program(directory: &Path, passed: &[String]) -> Option<PathBuf> {
    let path = Path::new(".").join(directory).join(STAND_IN);
    let found = fs::metadata(&path).ok()?;
    let is_program = found.is_file() && found.permissions().mode() & 0o111 != 0;
    let is_passed = passed.contains(&format!("{}:{}", found.dev(), found.ino()));
    (is_program && !is_passed).then_some(path)
}

/// Becomes a program, which is looked for on `PATH`, under a name, with these variables beside those of this
/// process. Gives only an error.
fn become_program(
    program: &OsStr,
    name: &OsStr,
    arguments: &[OsString],
    variables: &[(&str, String)],
) -> DoorFailure {
    // Neither arguments nor variables hold a NUL.
    let text = |text: &OsStr| CString::new(text.as_bytes()).unwrap_or_default();
    let words: Vec<_> =
        std::iter::once(name).chain(arguments.iter().map(OsString::as_os_str)).map(text).collect();
    let is_set = |name: &OsStr| variables.iter().any(|(set, _)| name == *set);
    let inherited = env::vars_os().filter(|(name, _)| !is_set(name));
    let set = variables.iter().map(|(name, value)| ((*name).into(), value.into()));
    let mut environment = Vec::new();
    for (mut variable, value) in inherited.chain(set) {
        variable.push("=");
        variable.push(&value);
        environment.push(text(&variable));
    }
    sys::end_by_broken_pipes().ok();
    let Err(errno) = execvpe(&text(program), &words, &environment);
    DoorFailure::NoProgram(program.to_string_lossy().into_owned(), errno)
}
