//! A process that lives in the memory of the one that made it, until it becomes another program or ends: nothing is
//! copied to make it, and nothing has to be let go of when it becomes the other one. `posix_spawn` does the same, but
//! stops its caller meanwhile, and here the new process waits for its orders instead.
//!
//! What it may do is little: it has a stack and some room of its own, and everything else is the other's, who goes on.
//! It must not allocate, not panic, and not look at `errno` where it matters.

use std::io;
use std::mem::{align_of, size_of};
use std::os::fd::{AsRawFd, BorrowedFd, FromRawFd, OwnedFd};
use std::ptr::{NonNull, null_mut};
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};

use nix::errno::Errno;
use nix::unistd::Pid;

/// Nothing can be touched below the stack.
const GUARD_BYTES: usize = 64 * 1024;
const STACK_BYTES: usize = 128 * 1024;
const HEAD_BYTES: usize = 4096;
/// What a process has for what it reads; more is mapped for it.
const ROOM_BYTES: usize = 60 * 1024;
const BERTH_BYTES: usize = GUARD_BYTES + STACK_BYTES + HEAD_BYTES + ROOM_BYTES;

/// `CLONE_INTO_CGROUP`; what `libc` has under this name is 0, cut to an `int`.
pub(super) const CLONE_INTO_CGROUP: u64 = 0x2_0000_0000;

/// Whether the memory is shared. Where that is not written for the processor, the process gets a copy.
const SHARES: bool = cfg!(target_arch = "x86_64");

/// What lies between the stack and the room.
#[repr(C)]
struct SlotHeader {
    /// Not 0 while a process lives there; the kernel sets it to 0 when that lets go of the memory.
    child_tid: AtomicU32,
    /// What was mapped for it beside.
    more: *mut libc::c_void,
    more_bytes: usize,
}

/// What a new process begins with.
struct ChildStart<T> {
    entry: fn(T, ChildMemory) -> u8,
    orders: T,
    room: ChildMemory,
}

/// Memory of its own for one process at a time. It is never given back: whoever lives there may outlive all else.
#[derive(Debug)]
struct ChildSlot {
    start: NonNull<u8>,
}

/// Memory for processes, as many as live at one time.
#[derive(Debug, Default)]
pub struct ChildSlots(Vec<ChildSlot>);

/// The room of one process.
#[derive(Debug)]
pub struct ChildMemory {
    head: NonNull<SlotHeader>,
}

/// An anonymous private mapping. `mmap(2)`. Errors: `ENOMEM`.
#[allow(unsafe_code, reason = "nix's mmap does the same, and is unsafe too")]
fn map(bytes: usize) -> io::Result<NonNull<libc::c_void>> {
    let (access, kind) = (libc::PROT_READ | libc::PROT_WRITE, libc::MAP_PRIVATE | libc::MAP_ANONYMOUS);
    // SAFETY: a new mapping, at a place that the kernel chooses, touches nothing that is there.
    let start = unsafe { libc::mmap(null_mut(), bytes, access, kind | libc::MAP_NORESERVE, -1, 0) };
    if start == libc::MAP_FAILED {
        return Err(io::ErrorKind::OutOfMemory.into());
    }
    if SHARES {
        // A copy of this process (`fork.rs`) has no use for it, and must not hold what is here of other
        // calls.
        // SAFETY: the whole of a new mapping, whose contents stay.
        Errno::result(unsafe { libc::madvise(start, bytes, libc::MADV_DONTFORK) })?;
    }
    NonNull::new(start).ok_or_else(|| io::ErrorKind::OutOfMemory.into())
}

impl ChildSlot {
    #[allow(unsafe_code, reason = "memory that is written by another process's system calls too")]
    fn new() -> io::Result<Self> {
        let start = map(BERTH_BYTES)?;
        // SAFETY: the guard is the beginning of the new mapping, where nothing is yet.
        Errno::result(unsafe { libc::mprotect(start.as_ptr(), GUARD_BYTES, libc::PROT_NONE) })?;
        // All zeroes, as the kernel gives it, is a head of nobody's.
        Ok(Self { start: start.cast() })
    }

    #[allow(unsafe_code, reason = "a place in a mapping")]
    fn head(&self) -> NonNull<SlotHeader> {
        // SAFETY: this is within the mapping, at the beginning of a page.
        unsafe { self.start.add(GUARD_BYTES + STACK_BYTES) }.cast()
    }

    #[allow(unsafe_code, reason = "memory that the kernel writes to")]
    fn child_tid(&self) -> &AtomicU32 {
        // SAFETY: the head is never unmapped, and this field is atomic to all who touch it.
        unsafe { &(*self.head().as_ptr()).child_tid }
    }

    fn is_free(&self) -> bool {
        self.child_tid().load(Ordering::Acquire) == 0
    }

    /// Lets go of what was mapped for the last process.
    #[allow(unsafe_code, reason = "memory that another process used")]
    fn clear(&mut self) {
        // SAFETY: nobody lives here, so the head is this process's alone.
        let head = unsafe { self.head().as_mut() };
        if head.more_bytes > 0 {
            // SAFETY: `Room::take` mapped exactly this, for a process that is gone.
            unsafe { libc::munmap(head.more, head.more_bytes) };
            head.more_bytes = 0;
        }
    }
}

impl ChildSlots {
    /// One where nobody lives. Errors: `ENOMEM`.
    fn free(&mut self) -> io::Result<&mut ChildSlot> {
        let place = match self.0.iter().position(ChildSlot::is_free) {
            Some(place) => place,
            None => {
                self.0.push(ChildSlot::new()?);
                self.0.len() - 1
            }
        };
        let slot = &mut self.0[place];
        slot.clear();
        Ok(slot)
    }
}

impl ChildMemory {
    /// Makes a copy of this process as its child, which goes on here too, and for which `None` is given: it
    /// has memory of its own, and of all berths a copy of this one alone. `errno` stays. `fork(2)`, without
    /// what the C library does beside.
    /// Errors: `EAGAIN` (too many processes, or tasks in the group), `ENOMEM`.
    #[allow(unsafe_code, reason = "the C library's fork takes locks and sets errno")]
    pub fn fork(&self) -> nix::Result<Option<Pid>> {
        self.advise(libc::MADV_DOFORK)?;
        let flags = libc::SIGCHLD.cast_unsigned() as usize;
        // SAFETY: without CLONE_VM and a stack the copy goes on here, on a copy of this stack.
        let child = unsafe { super::syscall::call(libc::SYS_clone, [flags, 0, 0, 0, 0]) };
        if child == Ok(0) {
            return Ok(None);
        }
        // Other copies have no use for it again.
        self.advise(libc::MADV_DONTFORK).ok();
        child.map(|child| Some(Pid::from_raw(i32::try_from(child).unwrap_or_default())))
    }

    /// Whether copies of this process have this berth.
    #[allow(unsafe_code, reason = "a place in a mapping")]
    fn advise(&self, advice: libc::c_int) -> nix::Result<()> {
        if !SHARES {
            return Ok(());
        }
        // SAFETY: the head stands so far behind the beginning of its mapping.
        let start = unsafe { self.head.cast::<u8>().sub(GUARD_BYTES + STACK_BYTES) };
        let arguments = [start.addr().get(), BERTH_BYTES, advice.cast_unsigned() as usize];
        // SAFETY: the whole of a mapping, whose contents stay.
        unsafe { super::syscall::call(libc::SYS_madvise, arguments) }.map(drop)
    }

    /// So many bytes, once; `None` when there is no memory.
    #[allow(unsafe_code, reason = "a place in a mapping")]
    pub fn take(self, bytes: usize) -> Option<&'static mut [u8]> {
        if bytes <= ROOM_BYTES {
            // SAFETY: the room follows the head's page in the mapping.
            let start = unsafe { self.head.cast::<u8>().add(HEAD_BYTES) };
            // SAFETY: so many bytes are there, written by nobody else, and this room is given away once.
            return Some(unsafe { std::slice::from_raw_parts_mut(start.as_ptr(), bytes) });
        }
        let start = map(bytes).ok()?;
        let mut head = self.head;
        // SAFETY: while a process lives here, the head is its own but for the atomic.
        let head = unsafe { head.as_mut() };
        (head.more, head.more_bytes) = (start.as_ptr(), bytes);
        // SAFETY: a new mapping of so many zeroes, which is unmapped when this process is gone.
        Some(unsafe { std::slice::from_raw_parts_mut(start.as_ptr().cast(), bytes) })
    }
}

/// Makes a process that lives `entry` and ends with what that gives, and gives its pid and a pidfd. It is a child of this
/// process's parent (`CLONE_PARENT`), which may wait for it; it has copies of all descriptors. With `group`, the
/// directory of a cgroup v2, it begins in there (`CLONE_INTO_CGROUP`, Linux 5.7): no move follows, which would take a
/// lock of the whole kernel's.
///
/// Where `clone3` cannot be called, which container's filters deny because they cannot look at its arguments,
/// `clone` does the same, but for the group.
///
/// Linux 5.3, `clone(2)`. Errors: `ENOSYS` (a group is asked for, and there is no `clone3`), `EAGAIN` (too
/// many processes, or tasks in the group), `ENOMEM`, `EMFILE`; of a group `EACCES`, `EBUSY` (it hands
/// controllers on, so it may hold no process), `ENODEV` (it was removed).
#[allow(unsafe_code, reason = "no crate offers clone3 with CLONE_PARENT, or with CLONE_VM")]
pub fn clone_sibling<T: Copy>(
    slots: &mut ChildSlots,
    group: Option<BorrowedFd<'_>>,
    entry: fn(T, ChildMemory) -> u8,
    orders: T,
) -> io::Result<(Pid, OwnedFd)> {
    const {
        assert!(
            size_of::<SlotHeader>() + size_of::<ChildStart<T>>() + align_of::<ChildStart<T>>() <= HEAD_BYTES
        )
    };
    let slot = slots.free()?;
    // SAFETY: behind the head there is room for this, as is asserted.
    let after_head = unsafe { slot.head().add(1) }.cast::<u8>();
    let start = after_head.as_ptr().wrapping_add(after_head.align_offset(align_of::<ChildStart<T>>()));
    let start = start.cast::<ChildStart<T>>();
    // SAFETY: aligned, within the head's page, and nobody lives here.
    unsafe { start.write(ChildStart { entry, orders, room: ChildMemory { head: slot.head() } }) };
    let mut pidfd: libc::c_int = -1;
    let mut args = arguments(slot, group, &mut pidfd);
    slot.child_tid().store(u32::from(SHARES), Ordering::Release);
    // SAFETY: `args` is whole, `pidfd` and `group` outlive the call, and the new process has a stack of its own, or a copy of
    // all memory.
    let child = unsafe { clone_any(&mut args, enter::<T>, start) };
    let child = child.inspect_err(|_| slot.child_tid().store(0, Ordering::Release))?;
    // SAFETY: the call succeeded with CLONE_PIDFD, so `pidfd` is a new descriptor that nobody else owns.
    let pidfd = unsafe { OwnedFd::from_raw_fd(pidfd) };
    Ok((Pid::from_raw(i32::try_from(child).expect("the kernel's pids fit i32")), pidfd))
}

fn arguments(slot: &ChildSlot, group: Option<BorrowedFd<'_>>, pidfd: &mut libc::c_int) -> libc::clone_args {
    let shared = if SHARES { libc::CLONE_VM | libc::CLONE_CHILD_CLEARTID } else { 0 };
    let flags = libc::CLONE_PARENT | libc::CLONE_PIDFD | shared;
    libc::clone_args {
        flags: u64::from(flags.cast_unsigned()) | group.map_or(0, |_| CLONE_INTO_CGROUP),
        pidfd: std::ptr::from_mut(pidfd).addr() as u64,
        child_tid: std::ptr::from_ref(slot.child_tid()).addr() as u64,
        parent_tid: 0,
        exit_signal: 0, // with CLONE_PARENT the kernel takes the nursery's own, SIGCHLD
        stack: if SHARES { (slot.start.addr().get() + GUARD_BYTES) as u64 } else { 0 },
        stack_size: if SHARES { STACK_BYTES as u64 } else { 0 },
        tls: 0,
        set_tid: 0,
        set_tid_size: 0,
        cgroup: group.map_or(0, |group| u64::from(group.as_raw_fd().unsigned_abs())),
    }
}

/// The first function of a new process, and the last.
#[allow(unsafe_code, reason = "what the other process left")]
extern "C" fn enter<T: Copy>(start: *mut ChildStart<T>) -> ! {
    // SAFETY: it was written for this process, which takes it once.
    let ChildStart { entry, orders, room } = unsafe { start.read() };
    let code = entry(orders, room);
    // SAFETY: ends this process, and nothing of the other's: no handler runs, nothing is flushed.
    unsafe { libc::_exit(code.into()) }
}

/// Whether `clone3` was denied once: it is not asked for again.
static WITHOUT_CLONE3: AtomicBool = AtomicBool::new(false);

/// `clone3`, or where that is denied `clone`.
///
/// # Safety
/// As [`clone_onto`]'s.
#[allow(unsafe_code, reason = "no crate offers clone3")]
unsafe fn clone_any<T>(
    args: &mut libc::clone_args,
    enter: extern "C" fn(*mut ChildStart<T>) -> !,
    start: *mut ChildStart<T>,
) -> nix::Result<usize> {
    if !WITHOUT_CLONE3.load(Ordering::Relaxed) {
        let whole = [std::ptr::from_mut(args).addr(), size_of::<libc::clone_args>(), 0, 0, 0];
        // SAFETY: the caller answers for it, and `args` is whole.
        let result = unsafe { clone_onto(libc::SYS_clone3, whole, enter, start) };
        if !matches!(result, Err(Errno::ENOSYS | Errno::EPERM)) {
            return result;
        }
    }
    if args.flags & CLONE_INTO_CGROUP != 0 {
        return Err(Errno::ENOSYS);
    }
    // The handle is stored where a parent's copy of the child's number would be.
    let place = |number: u64| usize::try_from(number).unwrap_or_default();
    let [flags, handle, child] = [args.flags, args.pidfd, args.child_tid].map(place);
    let stack = place(args.stack + args.stack_size);
    // SAFETY: the caller answers for it. The fourth and fifth are the child's number and thread storage, in
    // an order that depends on the processor; without their flags neither is looked at, and only x86-64 sets
    // the first one's.
    let result = unsafe { clone_onto(libc::SYS_clone, [flags, stack, handle, child, 0], enter, start) };
    if result.is_ok() {
        WITHOUT_CLONE3.store(true, Ordering::Relaxed);
    }
    result
}

/// A system call that makes a process, and in the new process `enter`, on the stack that the arguments name.
///
/// # Safety
/// As the call's; `enter` must do with the memory what may be done by two at a time.
#[cfg(target_arch = "x86_64")]
#[allow(
    unsafe_code,
    reason = "the new process begins on another stack, where no function has been called yet"
)]
unsafe fn clone_onto<T>(
    number: libc::c_long,
    arguments: [usize; 5],
    enter: extern "C" fn(*mut ChildStart<T>) -> !,
    start: *mut ChildStart<T>,
) -> nix::Result<usize> {
    let [first, second, third, fourth, fifth] = arguments;
    let result: libc::c_long;
    // SAFETY: this process continues behind the label with all registers but those named; the new one, whose result is 0, has
    // the same registers and an empty stack, and calls a function that does not return.
    unsafe {
        std::arch::asm!(
            "syscall",
            "test rax, rax",
            "jnz 2f",
            "xor ebp, ebp",
            "mov rdi, r12",
            "call r13",
            "ud2",
            "2:",
            inlateout("rax") number => result,
            in("rdi") first,
            in("rsi") second,
            in("rdx") third,
            in("r10") fourth,
            in("r8") fifth,
            in("r12") start,
            in("r13") enter,
            lateout("rcx") _,
            lateout("r11") _,
        );
    }
    super::syscall::outcome(result)
}

/// The same in a copy of this process, which may call what it likes.
///
/// # Safety
/// As the call's; only for a process with one thread: the copy would miss every other.
#[cfg(not(target_arch = "x86_64"))]
#[allow(unsafe_code, reason = "no crate offers clone3")]
unsafe fn clone_onto<T>(
    number: libc::c_long,
    arguments: [usize; 5],
    enter: extern "C" fn(*mut ChildStart<T>) -> !,
    start: *mut ChildStart<T>,
) -> nix::Result<usize> {
    let [first, second, third, ..] = arguments;
    // SAFETY: the caller answers for it; without CLONE_VM the child has a copy of the memory.
    let child = unsafe { super::syscall::call(number, [first, second, third]) }?;
    if child == 0 {
        enter(start);
    }
    Ok(child)
}

#[cfg(test)]
mod tests {
    use std::os::fd::AsFd;

    use nix::fcntl::OFlag;
    use nix::unistd::pipe2;

    use super::*;

    /// Waits for a byte, and gives one more of its room than the orders say.
    fn wait((number, bytes): (i32, usize), room: ChildMemory) -> u8 {
        let mut byte = [0];
        let heard = crate::sys::read(crate::sys::alone_with(number).as_fd(), &mut byte);
        let Some(room) = room.take(bytes).filter(|_| heard.is_ok()) else { return 99 };
        room[bytes - 1] = byte[0];
        room[bytes - 1] + 1
    }

    #[test]
    fn a_sibling_lives_beside_until_it_ends_and_its_berth_is_another_s_then() {
        // Whose parent is the test's parent: nobody here can wait for it. So it is a child's sibling that is made.
        let mut slots = ChildSlots::default();
        let (listen, speak) = pipe2(OFlag::O_CLOEXEC).expect("a pipe");
        for bytes in [1, ROOM_BYTES, 10 * ROOM_BYTES] {
            let (_, pidfd) =
                clone_sibling(&mut slots, None, wait, (listen.as_raw_fd(), bytes)).expect("a process");
            assert_eq!(slots.0.iter().filter(|slot| !slot.is_free()).count(), usize::from(SHARES));
            nix::unistd::write(&speak, &[7]).expect("told");
            let mut end = [nix::poll::PollFd::new(pidfd.as_fd(), nix::poll::PollFlags::POLLIN)];
            assert!(crate::sys::poll_until(&mut end, None).expect("polled"));
            assert!(slots.0.iter().all(ChildSlot::is_free));
            let no_child = crate::sys::reap(pidfd.as_fd()).expect_err("it is the parent's");
            assert_eq!(no_child.raw_os_error(), Some(libc::ECHILD));
        }
        assert_eq!(slots.0.len(), 1);
    }
}
