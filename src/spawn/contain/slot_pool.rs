//! The way of a slot: a call takes it with the launcher that is in it, and gives it back when it is over.
//! Then a thread that has nothing more urgent to do cleans it, and has the next launcher made in it. A slot
//! that is not clean is given up.

use std::fmt;
use std::io;
use std::os::fd::BorrowedFd;
use std::sync::Arc;
use std::sync::mpsc::{SendError, SyncSender};
use std::time::Instant;

use nix::errno::Errno;
use nix::sys::epoll::{EpollEvent, EpollTimeout};

use crate::ids::SocketName;
use crate::rules::Resource;
use crate::sd::BusError;
use crate::spawn::process::launcher::{Launcher, dismiss};
use crate::spawn::process::pool::{OrderPatience, OrderedLauncher};
use crate::sys::errno_of;

use super::scope::{CallGroup, CallScope, GroupFiles, LeftGroup, SlotHome};
use super::shared::{FreeSlot, MakerEvent, SharedSlots, hears_once};
use super::slot::{Slot, SlotSort};
use super::slot_set::SlotSet;

/// The errors of a kernel that has no room for another process. Any other error may be the slot's.
const LACKING: [Errno; 4] = [Errno::EAGAIN, Errno::ENOMEM, Errno::EMFILE, Errno::ENFILE];

/// Whether the kernel has no room for another process.
pub(super) fn is_lacking(source: &io::Error) -> bool {
    LACKING.map(|errno| errno as i32).contains(&errno_of(source))
}

/// Stopped scopes that are heard of at one time.
const STOPPED_BATCH: usize = 16;

/// Why a slot that was taken has no launcher for the call.
#[derive(Debug)]
pub(super) enum SlotFailure {
    /// The slot, or its launcher, was spoilt while it was free. There may be another one.
    Spoilt,
    /// No group could be made in it.
    NoGroup(io::Error),
    /// No launcher could be made.
    NoLauncher(io::Error),
}

impl SlotFailure {
    /// Whether another slot may be better: the nursery was gone, or not below the manager yet (`EACCES`), or
    /// the scope was ended. Not where the kernel has no room, or makes no such process at all.
    pub(super) fn is_slots(&self) -> bool {
        let (Self::NoGroup(source) | Self::NoLauncher(source)) = self else { return true };
        let mut others = LACKING.into_iter().chain([Errno::ENOSYS, Errno::EPERM, Errno::EINVAL]);
        source.kind() != io::ErrorKind::TimedOut && !others.any(|errno| errno as i32 == errno_of(source))
    }
}

impl fmt::Display for SlotFailure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Spoilt => f.write_str("the scope was stopped before the call began"),
            Self::NoGroup(source) | Self::NoLauncher(source) => write!(f, "{source}"),
        }
    }
}

impl SharedSlots {
    /// The launcher of a slot that was taken out of its set. A slot that has none has one made.
    pub(super) fn claim(self: &Arc<Self>, slot: FreeSlot) -> Result<Launcher, SlotFailure> {
        let ordered = match slot {
            FreeSlot::Parked(ordered) => ordered,
            FreeSlot::Empty(slot) => self.place(slot, OrderPatience::Waits)?,
        };
        let launcher = match ordered.arrive() {
            Ok(launcher) => launcher,
            Err((scope, source)) => {
                let is_good = is_lacking(&source);
                return Err(self.take_apart(scope, source, is_good));
            }
        };
        self.pool.note_made();
        let is_untouched = |scope: &CallScope| scope.is_untouched(launcher.pid(), self.changes());
        if launcher.scope().is_none_or(is_untouched) {
            return Ok(launcher);
        }
        dismiss([launcher], &self.reaper);
        Err(SlotFailure::Spoilt)
    }

    /// A launcher in a delegated group, which is made for one call.
    pub(super) fn claim_group(
        self: &Arc<Self>,
        socket: &SocketName,
        resources: &[Resource],
    ) -> io::Result<Launcher> {
        let slot = Slot::delegated(socket.clone(), self.calls(socket)?, resources.to_vec());
        if slot.is_counted() {
            self.state().set(SlotSort::Delegated, socket).note_out();
        }
        self.claim(FreeSlot::Empty(slot)).map_err(|why| match why {
            SlotFailure::NoGroup(source) | SlotFailure::NoLauncher(source) => source,
            SlotFailure::Spoilt => Errno::ESRCH.into(),
        })
    }

    /// Has a launcher made in a slot that has no group.
    fn place(
        self: &Arc<Self>,
        mut slot: Slot,
        patience: OrderPatience,
    ) -> Result<OrderedLauncher, SlotFailure> {
        let made = slot.new_group().and_then(|group| Ok((GroupFiles::open(&group)?, group)));
        let (files, group) = match made {
            Ok(made) => made,
            Err(source) => {
                self.give_up(slot, false);
                return Err(SlotFailure::NoGroup(source));
            }
        };
        let scope = CallScope::new(CallGroup { files, group, slot }, self.clone());
        self.pool.order(scope, patience).map_err(|(scope, source)| self.take_apart(scope, source, true))
    }

    /// Takes back a slot in which no launcher could be made. Where the process is what was lacking, the slot
    /// is good.
    fn take_apart(&self, scope: CallScope, source: io::Error, is_good: bool) -> SlotFailure {
        let CallGroup { group, slot, .. } = scope.into_group();
        let is_good = is_good && !slot.is_for_one();
        if is_good && slot.clear(&group, self.changes()) {
            let (sort, socket) = (slot.sort(), slot.socket.clone());
            self.put(sort, &socket, FreeSlot::Empty(slot), true);
        } else {
            self.give_up(slot, false);
        }
        SlotFailure::NoLauncher(source)
    }

    /// Frees a slot, with a launcher for the next call in it, or on its way.
    /// Errors: no group can be made in it, and it was given up.
    pub(super) fn park(self: &Arc<Self>, slot: Slot, was_out: bool) -> io::Result<()> {
        let (sort, socket) = (slot.sort(), slot.socket.clone());
        if !was_out {
            self.state().set(sort, &socket).note_out();
        }
        match self.place(slot, OrderPatience::None) {
            Ok(ordered) => self.put(sort, &socket, FreeSlot::Parked(ordered), true),
            Err(SlotFailure::NoGroup(source)) => return Err(source),
            // The slot is free without one, or was given up.
            Err(SlotFailure::NoLauncher(_) | SlotFailure::Spoilt) => {}
        }
        Ok(())
    }

    /// Notes that a scope was made that was to be parked.
    pub(super) fn note_made(&self, socket: &SocketName) {
        let mut state = self.state();
        let set = state.set(SlotSort::Scope, socket);
        set.making = set.making.saturating_sub(1);
    }

    /// Hands a new slot to the call that waits for it; gives it up if the call did.
    pub(super) fn hand(&self, slot: Slot, call: &SyncSender<Result<Slot, BusError>>) {
        if let Err(SendError(Ok(slot))) = call.send(Ok(slot)) {
            self.give_up(slot, false);
        }
    }

    /// Has as many slots made as are wanted: scopes by the scope maker, groups here.
    pub(super) fn refill(self: &Arc<Self>) {
        let now = Instant::now();
        let missing: Vec<_> = {
            let mut state = self.state();
            if state.sets(SlotSort::Scope).any(|(_, set)| set.missing(now) > 0) {
                self.maker.tell(MakerEvent::Look);
            }
            let sets = state.sets(SlotSort::Delegated);
            sets.map(|(socket, set)| (socket.clone(), set.missing(now))).collect()
        };
        for (socket, missing) in missing {
            for _ in 0..missing {
                // A failure is not reported here: the call that needs a group tries again, and reports it.
                let Ok(calls) = self.calls(&socket) else { return };
                self.park(Slot::delegated(socket.clone(), calls, Vec::new()), false).ok();
            }
        }
    }

    /// Has the scope maker told when the manager stops a scope, so that a free one is given up at once.
    pub(super) fn watch_anchor(&self, anchor: BorrowedFd<'_>) {
        // Without a watch left, a stop takes as long as the manager waits.
        self.stopped.add(anchor, hears_once()).ok();
    }

    /// Gives up the free slots whose scopes are being stopped.
    pub(super) fn give_up_stopped(self: &Arc<Self>) {
        let mut events = [EpollEvent::empty(); STOPPED_BATCH];
        if self.stopped.wait(&mut events, EpollTimeout::ZERO).is_ok_and(|told| told > 0) {
            let mut state = self.state();
            let spoilt = state.all_sets().flat_map(|set| set.take_spoilt(|slot| !slot.stands())).collect();
            drop(state);
            self.dismiss(spoilt);
        }
    }

    /// Gives up free slots, which their set counts as out.
    pub(super) fn dismiss(self: &Arc<Self>, slots: Vec<FreeSlot>) {
        let mut launchers = Vec::new();
        for slot in slots {
            match slot {
                FreeSlot::Empty(slot) => self.give_up(slot, false),
                FreeSlot::Parked(ordered) => {
                    ordered.scope().note_surplus();
                    launchers.extend(ordered.arrive().ok());
                }
            }
        }
        dismiss(launchers, &self.reaper);
    }

    /// Gives up a slot that its set counts as out, or that is none of a set.
    fn give_up(&self, slot: Slot, keeps: bool) {
        let sort = slot.sort();
        if slot.is_counted() {
            self.state().set(sort, &slot.socket).lose_one();
        }
        if let Some(anchor) = slot.retire(keeps, self.changes()) {
            // One that has not ended in time is reaped with a later call.
            self.reaper.reap_unused(anchor);
        }
        if sort == SlotSort::Scope {
            self.maker.tell(MakerEvent::Look);
        }
    }
}

impl SlotHome for SharedSlots {
    fn take_back(self: Arc<Self>, group: Box<CallGroup>, left: LeftGroup) {
        let mut state = self.state();
        let is_urgent = left.keeps || left.is_surplus || state.is_stopping;
        let set = state.set(group.slot.sort(), &group.slot.socket);
        if !is_urgent && !set.is_short() {
            set.unclean += usize::from(group.slot.is_counted());
            state.returned.push((group, left));
            return;
        }
        drop(state);
        self.clean(*group, left);
    }
}

impl SharedSlots {
    /// Cleans the slots that calls have given back, if there are as many as `least`, which is not 0. Gives
    /// whether there were.
    pub(super) fn clean_returned(self: &Arc<Self>, least: usize) -> bool {
        let returned = {
            let mut state = self.state();
            if state.returned.len() < least {
                return false;
            }
            for slot in state.all_sets().flat_map(SlotSet::free) {
                if let FreeSlot::Parked(ordered) = slot {
                    ordered.greet();
                }
            }
            let returned = std::mem::take(&mut state.returned);
            for (group, _) in returned.iter().filter(|(group, _)| group.slot.is_counted()) {
                state.set(group.slot.sort(), &group.slot.socket).unclean -= 1;
            }
            returned
        };
        for (group, left) in returned {
            self.clean(*group, left);
        }
        true
    }

    /// Removes a call's group, and has its slot used again if it is clean.
    fn clean(self: &Arc<Self>, CallGroup { group, slot, .. }: CallGroup, left: LeftGroup) {
        let LeftGroup { keeps, is_described, is_surplus } = left;
        let is_clean = !keeps && slot.clear(&group, self.changes());
        if !is_clean && slot.sort() == SlotSort::Delegated {
            self.maker.tell(MakerEvent::Kept(group.path().into()));
        }
        let is_stopping = self.state().is_stopping;
        if is_stopping || is_surplus || slot.is_for_one() || !is_clean && slot.sort() == SlotSort::Scope {
            return self.give_up(slot, keeps);
        }
        drop(group);
        if let Some(name) = slot.name().filter(|_| is_described) {
            self.maker.tell(MakerEvent::Ready(name.clone(), slot.socket.clone()));
        }
        // Where that fails, another slot is made when it is wanted.
        self.park(slot, true).ok();
    }
}
