//! Confining a command: the launcher's part. The broker made what is enforced here (`confine/`).
//!
//! This code runs in the nursery's memory: nothing here allocates or can panic.
#![cfg_attr(not(test), deny(clippy::indexing_slicing))]

use std::ffi::CStr;
use std::os::fd::AsFd;

use nix::errno::Errno;

use crate::confine::ViewStep;
use crate::limits::VIEW_KEPT_MAX;
use crate::sys::confine::{self, HandedSocket};
use crate::sys::in_child::ChildFd;
use crate::sys::mounts::{self, MountFlags};

use super::failure::{LaunchFailure, LaunchStep};
use super::plan::RestrictionBits;
use super::received_plan::ReceivedRestrictions;

/// The descriptors of a confinement.
#[derive(Debug, Default)]
pub(super) struct RestrictionFds {
    pub(super) ruleset: Option<ChildFd>,
    pub(super) user_namespace: Option<ChildFd>,
}

impl RestrictionFds {
    /// Takes those of a confinement from the descriptors that came with the plan.
    pub(super) fn take(of: &ReceivedRestrictions<'_>, carried: &mut impl Iterator<Item = ChildFd>) -> Self {
        let mut next = |bit: u32| if of.bits & bit == 0 { None } else { carried.next() };
        Self {
            ruleset: next(RestrictionBits::RULESET),
            user_namespace: next(RestrictionBits::USER_NAMESPACE),
        }
    }

    /// Gives each descriptor another number.
    pub(super) fn move_by(
        &mut self,
        moved: impl Fn(&ChildFd) -> Result<ChildFd, LaunchFailure>,
    ) -> Result<(), LaunchFailure> {
        for fd in [&mut self.ruleset, &mut self.user_namespace] {
            *fd = fd.as_ref().map(&moved).transpose()?;
        }
        Ok(())
    }
}

/// Gives this process its view of the file system.
pub(super) fn enter_view(of: &ReceivedRestrictions<'_>, fds: &RestrictionFds) -> Result<(), LaunchFailure> {
    if of.bits & RestrictionBits::VIEW == 0 {
        return Ok(());
    }
    change_view(of, fds).map_err(|errno| LaunchFailure { step: LaunchStep::View, errno })
}

fn change_view(of: &ReceivedRestrictions<'_>, fds: &RestrictionFds) -> nix::Result<()> {
    if let Some(namespace) = &fds.user_namespace {
        mounts::join_user_namespace(namespace.as_fd())?;
    }
    mounts::own_mounts()?;
    let mut changes = ViewChanges { kept: [const { None }; VIEW_KEPT_MAX], next: 0, put: 0, temporary: c"" };
    of.view.iter().try_for_each(|step| {
        let (step, place) = ViewStep::read(step).ok_or(Errno::EBADMSG)?;
        changes.make(step, place)
    })?;
    if let Some(ruleset) = &fds.ruleset
        && of.temporary_rights != 0
    {
        let temporary = mounts::open_unlinked(of.temporary)?;
        confine::allow_beneath(ruleset.as_fd(), temporary.as_fd(), of.temporary_rights)?;
    }
    Ok(())
}

/// The view while it is changed.
struct ViewChanges<'p> {
    kept: [Option<ChildFd>; VIEW_KEPT_MAX],
    /// The places of `kept` that the next mounts are kept in, and taken from.
    next: usize,
    put: usize,
    /// The last directory that a temporary file system covers.
    temporary: &'p CStr,
}

impl<'p> ViewChanges<'p> {
    fn make(&mut self, step: ViewStep, place: &'p CStr) -> nix::Result<()> {
        match step {
            ViewStep::Keep => self.keep(place),
            ViewStep::AllReadOnly => mounts::make_all_read_only(),
            ViewStep::Temporary => {
                self.begin_temporary(place, libc::MOUNT_ATTR_NOSUID | libc::MOUNT_ATTR_NODEV)
            }
            ViewStep::TemporaryData => self.begin_temporary(
                place,
                libc::MOUNT_ATTR_NOSUID | libc::MOUNT_ATTR_NODEV | libc::MOUNT_ATTR_NOEXEC,
            ),
            ViewStep::TemporaryToo => {
                let tree = mounts::copy_tree(mounts::open_unlinked(self.temporary)?.as_fd())?;
                put(&tree, place)
            }
            ViewStep::Blank => put(&blank(c"0755", 0)?, place),
            ViewStep::Directory => mounts::make_directory(place),
            ViewStep::EmptyRegular => mounts::make_file(place),
            ViewStep::PutReadOnly => self.put(place, MountFlags::READ_ONLY),
            ViewStep::PutWritable => self.put(place, MountFlags::WRITABLE),
            ViewStep::PutData => self.put(place, MountFlags::DATA),
            ViewStep::Writable => change(place, MountFlags::WRITABLE),
            ViewStep::Data => change(place, MountFlags::DATA),
            ViewStep::Executable => change(place, MountFlags::EXECUTABLE),
            ViewStep::Pin => may_be_absent(change(place, MountFlags::SAME)),
            ViewStep::Protect => may_be_absent(change(place, MountFlags::READ_ONLY)),
            ViewStep::Hide => may_be_absent(hide(place)),
            ViewStep::ProtectThere => change(place, MountFlags::READ_ONLY),
            ViewStep::HideThere => hide(place),
        }
    }

    fn keep(&mut self, place: &CStr) -> nix::Result<()> {
        let tree = mounts::copy_tree(mounts::open_unlinked(place)?.as_fd())?;
        *self.kept.get_mut(self.next).ok_or(Errno::E2BIG)? = Some(tree);
        self.next += 1;
        Ok(())
    }

    fn put(&mut self, place: &CStr, flags: MountFlags) -> nix::Result<()> {
        let tree = self.kept.get_mut(self.put).and_then(Option::take).ok_or(Errno::EBADMSG)?;
        self.put += 1;
        mounts::change_tree(tree.as_fd(), flags)?;
        put(&tree, place)
    }

    fn begin_temporary(&mut self, place: &'p CStr, flags: u64) -> nix::Result<()> {
        self.temporary = place;
        put(&blank(c"1777", flags)?, place)
    }
}

/// An empty file system that is nowhere yet.
fn blank(mode: &CStr, flags: u64) -> nix::Result<ChildFd> {
    mounts::new_tmpfs(&[(c"mode", mode)], flags)
}

/// Puts mounts over a place.
fn put(tree: &ChildFd, place: &CStr) -> nix::Result<()> {
    mounts::place_tree(tree.as_fd(), mounts::open_unlinked(place)?.as_fd())
}

/// Puts the mounts at a place over the place itself, with other flags.
fn change(place: &CStr, flags: MountFlags) -> nix::Result<()> {
    let place = mounts::open_unlinked(place)?;
    let tree = mounts::copy_tree(place.as_fd())?;
    mounts::change_tree(tree.as_fd(), flags)?;
    mounts::place_tree(tree.as_fd(), place.as_fd())
}

/// Covers a directory by an empty one that nobody can enter, any other file by `/dev/null`.
fn hide(place: &CStr) -> nix::Result<()> {
    let place = mounts::open_unlinked(place)?;
    let cover = if mounts::is_directory(place.as_fd())? {
        blank(c"0", libc::MOUNT_ATTR_RDONLY)?
    } else {
        mounts::copy_tree(mounts::open_unlinked(c"/dev/null")?.as_fd())?
    };
    mounts::place_tree(cover.as_fd(), place.as_fd())
}

fn may_be_absent(result: nix::Result<()>) -> nix::Result<()> {
    // A repository's `.git` may be a file, and then nothing is below it.
    if matches!(result, Err(Errno::ENOENT | Errno::ENOTDIR)) { Ok(()) } else { result }
}

/// Takes from this process, for good, what its command must not have. Afterwards it only becomes the command.
pub(super) fn restrict(of: &ReceivedRestrictions<'_>, fds: &RestrictionFds) -> Result<(), LaunchFailure> {
    let at = |step| move |errno| LaunchFailure { step, errno };
    let mut has_socket = false;
    if of.bits & RestrictionBits::NO_SOCKETS != 0 {
        for number in 0..3 {
            match confine::handed_socket(number).map_err(at(LaunchStep::Stdio))? {
                Some(HandedSocket::ReachesPaths) => {
                    return Err(LaunchFailure { step: LaunchStep::Stdio, errno: Errno::EPROTOTYPE });
                }
                Some(HandedSocket::Connected) => has_socket = true,
                None => {}
            }
        }
    }
    for (resource, most) in of.limits() {
        confine::limit(resource, most).map_err(at(LaunchStep::Limits))?;
    }
    confine::forgo_capabilities().map_err(at(LaunchStep::Privileges))?;
    confine::forgo_new_privileges().map_err(at(LaunchStep::Privileges))?;
    if let Some(ruleset) = &fds.ruleset {
        confine::restrict(ruleset.as_fd(), of.landlock_flags).map_err(at(LaunchStep::Landlock))?;
    }
    if has_socket && !of.passing_filter.is_empty() {
        confine::filter_syscalls(of.passing_filter).map_err(at(LaunchStep::Seccomp))?;
    }
    if !of.filter.is_empty() {
        confine::filter_syscalls(of.filter).map_err(at(LaunchStep::Seccomp))?;
    }
    Ok(())
}
