//! The process of a FIFO door. It offers lanes in a directory, and sends each request that comes through one
//! to the broker, on a connection of version 2: it is a client of the broker's, and the broker does not
//! depend on it. It does what may block for ever (a read of a caller's pipe), so one door serves one socket.

use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd, RawFd};
use std::time::Instant;

use nix::dir::Dir;
use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags};
use nix::sys::prctl;
use nix::sys::signal::Signal;
use nix::unistd::{Pid, getppid, setsid};

use crate::limits::{DOOR_LANES, DOOR_SEND_RETRY, LANE_REQUEST_MAX};
use crate::sys::{self, in_child};

use super::lane::{Lane, LaneProgress, LaneRequest, remove_lane};

/// The values that a door is made with.
#[derive(Clone, Copy, Debug)]
pub(in crate::spawn) struct DoorSetup {
    /// The number of its stream, among the nursery's descriptors that it has copies of.
    pub(in crate::spawn) stream: RawFd,
    /// Its parent, which it does not outlive.
    pub(in crate::spawn) broker: Pid,
}

/// What the door tells the broker, once: its lanes can be opened.
pub(super) const OPEN: u8 = 1;

/// A door's whole life; its result is the exit code.
pub(in crate::spawn) fn live(setup: DoorSetup) -> u8 {
    let stream = OwnedFd::from(in_child::alone_with(setup.stream));
    // The setting is made before the parent is looked at, so that a broker that dies in between is noticed.
    if prctl::set_pdeathsig(Signal::SIGKILL).is_err() || getppid() != setup.broker {
        return 1;
    }
    match serve(stream.as_fd()) {
        Ok(()) => 0,
        Err(source) => {
            // The broker tells why there is no door. It may be gone.
            sys::send_now(stream.as_fd(), &sys::errno_of(&source).to_le_bytes()).ok();
            1
        }
    }
}

/// Receives the connection and the directory, and serves until the broker closes the stream.
fn serve(stream: BorrowedFd<'_>) -> io::Result<()> {
    sys::block_signals()?;
    prctl::set_dumpable(false)?;
    prctl::set_name(c"sluice-door")?;
    setsid()?;
    let mut first = [PollFd::new(stream, PollFlags::POLLIN)];
    sys::poll_until(&mut first, None)?;
    let message = sys::receive(stream, 1)?;
    let [connection, directory] =
        message.descriptors.try_into().map_err(|_| io::Error::from(io::ErrorKind::BrokenPipe))?;
    clear(&directory)?;
    let mut door = OpenDoor { connection, directory, lanes: Vec::new(), turn: 0, held: None };
    for index in 0..DOOR_LANES {
        let lane = door.publish(index)?;
        door.lanes.push(lane);
    }
    sys::send_now(stream, &[OPEN])?;
    let served = door.run(stream);
    (0..DOOR_LANES).for_each(|index| remove_lane(door.directory.as_fd(), &name(index)));
    served
}

/// Removes what a door that was killed had not finished.
fn clear(directory: &OwnedFd) -> io::Result<()> {
    let mut entries = Dir::from_fd(directory.try_clone()?)?;
    for entry in entries.iter().flatten() {
        let name = entry.file_name().to_string_lossy().into_owned();
        if is_unfinished(&name) {
            remove_lane(directory.as_fd(), &name);
        }
    }
    Ok(())
}

/// Whether this is the first name of a lane: `.LANE-TURN`.
fn is_unfinished(name: &str) -> bool {
    let numbers = name.strip_prefix('.').and_then(|numbers| numbers.split_once('-'));
    numbers.is_some_and(|(lane, turn)| lane.parse::<usize>().is_ok() && turn.parse::<u64>().is_ok())
}

fn name(index: usize) -> String {
    index.to_string()
}

/// A door with its lanes.
struct OpenDoor {
    /// The broker's connection.
    connection: OwnedFd,
    directory: OwnedFd,
    lanes: Vec<Lane>,
    turn: u64,
    /// The request that is to be passed on next.
    held: Option<LaneRequest>,
}

impl OpenDoor {
    /// A new lane at a place. What an earlier door could not remove may have the names of some turns.
    fn publish(&mut self, index: usize) -> io::Result<Lane> {
        loop {
            self.turn += 1;
            match Lane::publish(self.directory.as_fd(), &name(index), self.turn) {
                Err(source) if source.kind() == io::ErrorKind::AlreadyExists => {}
                made => return made,
            }
        }
    }

    fn run(&mut self, stream: BorrowedFd<'_>) -> io::Result<()> {
        loop {
            self.pass_on();
            let (due, lanes) = match self.held {
                // No other request would have room either: they wait in their lanes.
                Some(_) => (Some(Instant::now() + DOOR_SEND_RETRY), &[][..]),
                None => (self.due(), &self.lanes[..]),
            };
            let mut fds = vec![
                PollFd::new(stream, PollFlags::POLLIN),
                PollFd::new(self.connection.as_fd(), PollFlags::POLLIN),
            ];
            fds.extend(lanes.iter().map(|lane| PollFd::new(lane.request(), PollFlags::POLLIN)));
            sys::poll_until(&mut fds, due)?;
            let ready: Vec<_> = fds.iter().map(|fd| fd.any() != Some(false)).collect();
            let (is_over, has_answer, ready) = (ready[0], ready[1], &ready[2..]);
            if is_over || (has_answer && !self.drop_answer()?) {
                return Ok(());
            }
            for (index, is_ready) in ready.iter().enumerate() {
                self.attend(index, *is_ready)?;
                if self.held.is_some() {
                    break;
                }
            }
        }
    }

    /// When the first request that is not whole has been waited for long enough.
    fn due(&self) -> Option<Instant> {
        self.lanes.iter().filter_map(Lane::since).min().map(|since| since + LANE_REQUEST_MAX)
    }

    /// Passes on what came through a lane, if it is whole, late or no request.
    fn attend(&mut self, index: usize, is_ready: bool) -> io::Result<()> {
        let (now, lane) = (Instant::now(), &mut self.lanes[index]);
        let progress = if is_ready { lane.advance(now) } else { LaneProgress::Waits };
        let is_late = lane.since().is_some_and(|since| since + LANE_REQUEST_MAX <= now);
        if progress != LaneProgress::Waits || is_late {
            // The broker refuses what is no request, so that it is on record.
            self.held = self.replace(index)?.into_request();
            self.pass_on();
        }
        Ok(())
    }

    /// Puts a new lane in the place of one that was used.
    fn replace(&mut self, index: usize) -> io::Result<Lane> {
        let next = self.publish(index)?;
        Ok(std::mem::replace(&mut self.lanes[index], next))
    }

    /// Sends the broker the request that is held, with its descriptors. It is held further while the
    /// connection has no room, or the user has too many descriptors on their way (`ETOOMANYREFS`): so none is
    /// lost, and none reaches the broker without its descriptors because of that.
    fn pass_on(&mut self) {
        let connection = self.connection.as_fd();
        while let Some(request) = &mut self.held {
            let descriptors: Vec<_> = request.descriptors.iter().map(AsFd::as_fd).collect();
            sys::enlarge_send_buffer(connection, request.message.len()).ok();
            let sent = sys::send_patiently(connection, &request.message, &descriptors, Some(Instant::now()));
            match sent {
                Err(source) if passes_later(&source) => return,
                Err(_) if request.reduce() => {}
                Ok(_) | Err(_) => self.held = None,
            }
        }
    }

    /// Receives an answer that is nobody's: callers have theirs on *reply*, and one who does not read it gets
    /// none. Gives false where the broker has closed the connection.
    fn drop_answer(&self) -> io::Result<bool> {
        let mut start = [0; 1];
        match sys::receive_now(self.connection.as_fd(), &mut start) {
            Err(source) if source.kind() == io::ErrorKind::WouldBlock => Ok(true),
            received => Ok(received? > 0),
        }
    }
}

/// Whether what could not be sent can be sent later.
fn passes_later(source: &io::Error) -> bool {
    source.kind() == io::ErrorKind::TimedOut || sys::errno_of(source) == Errno::ETOOMANYREFS as i32
}
