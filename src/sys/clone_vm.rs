//! Makes a process that lives in the memory of its maker until it becomes another program or ends: no page
//! tables are copied to make it, or freed when it becomes the other program. `posix_spawn` makes such a
//! process too, but stops its caller until the exec, which is no use for a process that waits for its orders.
//! [`clone_sibling`] says what such a process may do; `in_child.rs` has its system calls.

use std::io;
use std::mem::{align_of, size_of};
use std::os::fd::{AsRawFd, BorrowedFd, FromRawFd, OwnedFd};
use std::ptr::NonNull;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};

use nix::errno::Errno;
use nix::unistd::Pid;

use super::fork::CLONE_INTO_CGROUP;
use super::in_child;
use super::syscall;

/// Bytes below the stack without access, so that an overflow faults.
const GUARD_BYTES: usize = 64 * 1024;
const STACK_BYTES: usize = 128 * 1024;
const HEAD_BYTES: usize = 4096;
/// Bytes of memory for the messages that a process reads; for longer ones more is mapped.
const ROOM_BYTES: usize = 60 * 1024;
const SLOT_BYTES: usize = GUARD_BYTES + STACK_BYTES + HEAD_BYTES + ROOM_BYTES;

/// The header of a slot, between its stack and its room. Code accesses only its fields, through pointers: one
/// process reads `child_tid` while the other writes the rest.
#[repr(C)]
struct SlotHeader {
    /// Not 0 while a process lives in the slot; the kernel sets it to 0 when the process gives up the memory
    /// (`CLONE_CHILD_CLEARTID`).
    child_tid: AtomicU32,
    /// The mapping beside the slot, of a process that needed more than its room.
    more: *mut libc::c_void,
    more_bytes: usize,
    /// The bytes of the room that the slot's last process was given.
    used_bytes: usize,
}

/// The first values of a new process.
struct ChildStart<T> {
    entry: fn(T, ChildMemory) -> u8,
    orders: T,
    room: ChildMemory,
}

/// Memory for one process at a time. It is never unmapped: the process in it may outlive its maker's values.
#[derive(Debug)]
struct ChildSlot {
    start: NonNull<u8>,
}

/// The slots of this process's siblings: as many as lived at one time.
#[derive(Debug, Default)]
pub struct ChildSlots(Vec<ChildSlot>);

/// The memory that one new process may use: the room of its slot, or, in a copy, memory of its own.
#[derive(Debug)]
pub struct ChildMemory {
    /// The header of the slot in its maker's memory; `None` in a process that is a copy of its maker.
    head: Option<NonNull<SlotHeader>>,
}

/// An anonymous private mapping, which copies of this process (`fork.rs`) do not get: they have no use for
/// it, and must not hold other calls' data. `mmap(2)`, `madvise(2)`. Errors: `ENOMEM`.
#[allow(unsafe_code, reason = "nix's mmap sets errno")]
fn map(bytes: usize) -> nix::Result<NonNull<u8>> {
    let (access, kind) = (libc::PROT_READ | libc::PROT_WRITE, libc::MAP_PRIVATE | libc::MAP_ANONYMOUS);
    // No address and no file; the kernel ignores the file's number.
    let arguments = [0, bytes, flags(access), flags(kind | libc::MAP_NORESERVE), usize::MAX, 0];
    // SAFETY: a new mapping, at a place that the kernel chooses, touches nothing that is there.
    let start = unsafe { syscall::call(libc::SYS_mmap, arguments) }?;
    // SAFETY: the whole of a new mapping, whose contents stay.
    unsafe { syscall::call(libc::SYS_madvise, [start, bytes, flags(libc::MADV_DONTFORK)]) }?;
    NonNull::new(std::ptr::with_exposed_provenance_mut(start)).ok_or(Errno::ENOMEM)
}

/// Flags as an argument of a system call.
fn flags(flags: libc::c_int) -> usize {
    flags.cast_unsigned() as usize
}

impl ChildSlot {
    #[allow(unsafe_code, reason = "memory that is written by another process's system calls too")]
    fn new() -> io::Result<Self> {
        let start = map(SLOT_BYTES)?;
        // SAFETY: the guard is the beginning of the new mapping, where nothing is yet.
        Errno::result(unsafe { libc::mprotect(start.as_ptr().cast(), GUARD_BYTES, libc::PROT_NONE) })?;
        // All zeroes, as the kernel gives it, is the header of a free slot.
        Ok(Self { start })
    }

    #[allow(unsafe_code, reason = "a place in a mapping")]
    fn head(&self) -> NonNull<SlotHeader> {
        // SAFETY: this is within the mapping, at the beginning of a page.
        unsafe { self.start.add(GUARD_BYTES + STACK_BYTES) }.cast()
    }

    #[allow(unsafe_code, reason = "memory that the kernel writes to")]
    fn child_tid(&self) -> &AtomicU32 {
        // SAFETY: the head is never unmapped, and every access to this field is atomic.
        unsafe { &(*self.head().as_ptr()).child_tid }
    }

    fn is_free(&self) -> bool {
        self.child_tid().load(Ordering::Acquire) == 0
    }

    /// Overwrites the room of the slot's last process, which may have been sent a secret, and unmaps the
    /// mapping that was made for it.
    #[allow(unsafe_code, reason = "memory that another process used")]
    fn clear(&mut self) {
        let head = self.head().as_ptr();
        // SAFETY: the slot is free, so no other process uses this field.
        let used_bytes = std::mem::take(unsafe { &mut (*head).used_bytes });
        // SAFETY: the room follows the header's page in the mapping.
        let room = unsafe { head.cast::<u8>().add(HEAD_BYTES) };
        // SAFETY: so many bytes of the room were a process's that is gone.
        super::wipe(unsafe { std::slice::from_raw_parts_mut(room, used_bytes) });
        // SAFETY: the slot is free, so no other process uses this field.
        let more_bytes = unsafe { &mut (*head).more_bytes };
        if *more_bytes > 0 {
            // SAFETY: as above.
            let more = unsafe { (*head).more };
            // SAFETY: `ChildMemory::take` mapped exactly this, for a process that is gone.
            unsafe { libc::munmap(more, *more_bytes) };
            *more_bytes = 0;
        }
    }
}

impl ChildSlots {
    /// A slot in which no process lives. Errors: `ENOMEM`.
    fn free(&mut self) -> io::Result<&mut ChildSlot> {
        let place = match self.0.iter().position(ChildSlot::is_free) {
            Some(place) => place,
            None => {
                self.0.push(ChildSlot::new()?);
                self.0.len() - 1
            }
        };
        // All of them, so that what the last process was sent stays in none that is not used again.
        self.0.iter_mut().filter(|slot| slot.is_free()).for_each(ChildSlot::clear);
        Ok(&mut self.0[place])
    }
}

impl ChildMemory {
    /// The memory of a process that is a copy of its maker (`copy_sibling`): mappings of its own, without a
    /// slot.
    pub fn of_copy() -> Self {
        Self { head: None }
    }

    /// Makes a copy of this process as its child. The child returns from here too, with `None`; it has memory
    /// of its own, and a copy of this slot but of no other. `errno` stays. `fork(2)`, without the C library's
    /// locks and handlers.
    /// Errors: `EAGAIN` (too many processes, or tasks in the group), `ENOMEM`.
    #[allow(unsafe_code, reason = "the C library's fork takes locks and sets errno")]
    pub fn fork(&self) -> nix::Result<Option<Pid>> {
        self.advise(libc::MADV_DOFORK)?;
        // SAFETY: without CLONE_VM and a stack the copy goes on here, on a copy of this stack.
        let child = unsafe { syscall::call(libc::SYS_clone, [flags(libc::SIGCHLD), 0, 0, 0, 0]) };
        if child == Ok(0) {
            return Ok(None);
        }
        // Later copies must not get this slot.
        self.advise(libc::MADV_DONTFORK).ok();
        child.map(|child| Some(in_child::pid(Ok(child))))
    }

    /// Sets whether copies of this process get this slot (`MADV_DOFORK`, `MADV_DONTFORK`).
    #[allow(unsafe_code, reason = "a place in a mapping")]
    fn advise(&self, advice: libc::c_int) -> nix::Result<()> {
        let Some(head) = self.head else { return Ok(()) };
        // SAFETY: the header stands so far behind the beginning of its mapping.
        let start = unsafe { head.cast::<u8>().sub(GUARD_BYTES + STACK_BYTES) };
        // SAFETY: the whole of a mapping, whose contents stay.
        unsafe { syscall::call(libc::SYS_madvise, [start.addr().get(), SLOT_BYTES, flags(advice)]) }.map(drop)
    }

    /// Memory of `bytes` bytes, once; `None` when there is no memory.
    #[allow(unsafe_code, reason = "a place in a mapping")]
    pub fn take(self, bytes: usize) -> Option<&'static mut [u8]> {
        let start = match self.head {
            Some(head) if bytes <= ROOM_BYTES => {
                // SAFETY: while a process lives in the slot, it alone uses this field.
                unsafe { (*head.as_ptr()).used_bytes = bytes };
                // SAFETY: the room follows the header's page in the mapping.
                unsafe { head.cast::<u8>().add(HEAD_BYTES) }
            }
            head => {
                let start = map(bytes).ok()?;
                if let Some(head) = head {
                    let head = head.as_ptr();
                    // SAFETY: while a process lives in the slot, it alone uses this field.
                    unsafe { (*head).more = start.as_ptr().cast() };
                    // SAFETY: as above.
                    unsafe { (*head).more_bytes = bytes };
                }
                start
            }
        };
        // SAFETY: so many bytes are there, written by nothing else, and this memory is given away once. A
        // mapping is unmapped only when this process is gone.
        Some(unsafe { std::slice::from_raw_parts_mut(start.as_ptr(), bytes) })
    }
}

/// Makes a process in this process's memory, which runs `entry` and exits with its result; gives the new
/// process's pid and a pidfd. It is a child of this process's parent (`CLONE_PARENT`), which may wait for it,
/// and has copies of all descriptors. With `group`, the directory of a cgroup v2, the process begins in that
/// cgroup (`CLONE_INTO_CGROUP`, Linux 5.7): it need not be moved there, which would take a lock of the whole
/// kernel's.
///
/// Where `clone3` is denied (containers' seccomp filters cannot look at its arguments), `clone` is called
/// instead, which cannot do the group.
///
/// It is written for x86-64; on other processors it gives `ENOSYS`.
///
/// Linux 5.3, `clone(2)`. Errors: `ENOSYS` (a group is asked for, and there is no `clone3`), `EINVAL` or
/// `EPERM` (the kernel, or a filter, does not let processes share memory), `EAGAIN` (too many processes, or
/// tasks in the group), `ENOMEM`, `EMFILE`; of a group `EACCES`, `EBUSY` (it hands controllers on, so it may
/// hold no process), `ENODEV` (it was removed).
///
/// # Safety
/// `entry` runs beside this process, in its memory and with its thread's storage. So `entry`, and every
/// function that it calls: allocates and frees nothing, as the allocator may be at work here; never panics,
/// as a panic allocates and takes locks; leaves `errno` alone, as it is this process's too, and so makes its
/// system calls by `in_child.rs` and the like; and writes to nothing but its stack, `orders` and its
/// [`ChildMemory`].
#[allow(unsafe_code, reason = "no crate offers clone3 with CLONE_PARENT, or with CLONE_VM")]
pub unsafe fn clone_sibling<T: Copy>(
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
    // SAFETY: aligned, within the head's page, and no process lives here.
    unsafe { start.write(ChildStart { entry, orders, room: ChildMemory { head: Some(slot.head()) } }) };
    let mut pidfd: libc::c_int = -1;
    let mut args = arguments(slot, group, &mut pidfd);
    slot.child_tid().store(1, Ordering::Release);
    // SAFETY: `args` is whole, `pidfd` and `group` outlive the call, the new process has a stack of its own,
    // and the caller answers for what `entry` does.
    let child = unsafe { clone_any(&mut args, enter::<T>, start) };
    let child = child.inspect_err(|_| slot.child_tid().store(0, Ordering::Release))?;
    // SAFETY: the call succeeded with CLONE_PIDFD, so `pidfd` is a new descriptor that no other value owns.
    let pidfd = unsafe { OwnedFd::from_raw_fd(pidfd) };
    Ok((Pid::from_raw(i32::try_from(child).expect("the kernel's pids fit i32")), pidfd))
}

fn arguments(slot: &ChildSlot, group: Option<BorrowedFd<'_>>, pidfd: &mut libc::c_int) -> libc::clone_args {
    let flags = libc::CLONE_PARENT | libc::CLONE_PIDFD | libc::CLONE_VM | libc::CLONE_CHILD_CLEARTID;
    libc::clone_args {
        flags: u64::from(flags.cast_unsigned()) | group.map_or(0, |_| CLONE_INTO_CGROUP),
        pidfd: std::ptr::from_mut(pidfd).expose_provenance() as u64,
        child_tid: std::ptr::from_ref(slot.child_tid()).expose_provenance() as u64,
        parent_tid: 0,
        exit_signal: 0, // with CLONE_PARENT the kernel takes the nursery's own, SIGCHLD
        stack: (slot.start.addr().get() + GUARD_BYTES) as u64,
        stack_size: STACK_BYTES as u64,
        tls: 0,
        set_tid: 0,
        set_tid_size: 0,
        cgroup: group.map_or(0, |group| u64::from(group.as_raw_fd().unsigned_abs())),
    }
}

/// The function that a new process runs; it exits at its end.
#[allow(unsafe_code, reason = "a value that its maker wrote for it")]
extern "C" fn enter<T: Copy>(start: *mut ChildStart<T>) -> ! {
    // SAFETY: it was written for this process, which takes it once.
    let ChildStart { entry, orders, room } = unsafe { start.read() };
    syscall::exit(entry(orders, room))
}

/// Whether `clone3` was denied once: then it is not called again.
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
        let whole = [std::ptr::from_mut(args).expose_provenance(), size_of::<libc::clone_args>(), 0, 0, 0];
        // SAFETY: the caller answers for it, and `args` is whole.
        let result = unsafe { clone_onto(libc::SYS_clone3, whole, enter, start) };
        if !matches!(result, Err(Errno::ENOSYS | Errno::EPERM)) {
            return result;
        }
    }
    if args.flags & CLONE_INTO_CGROUP != 0 {
        return Err(Errno::ENOSYS);
    }
    // clone(2) stores the pidfd at the address of the argument `parent_tid`.
    let place = |number: u64| usize::try_from(number).unwrap_or_default();
    let [flags, handle, child] = [args.flags, args.pidfd, args.child_tid].map(place);
    let stack = place(args.stack + args.stack_size);
    // SAFETY: the caller answers for it. On x86-64 the fourth argument is `child_tid`, and the fifth thread
    // storage, which is ignored without its flag.
    let result = unsafe { clone_onto(libc::SYS_clone, [flags, stack, handle, child, 0], enter, start) };
    if result.is_ok() {
        WITHOUT_CLONE3.store(true, Ordering::Relaxed);
    }
    result
}

/// Makes a system call that makes a process, and calls `enter` in the new process, on the stack that the
/// arguments name.
///
/// # Safety
/// As the system call's; `enter` must use memory only in ways that two processes may at one time.
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
    // SAFETY: this process continues behind the label with all registers but those named; the new one, whose
    // result is 0, has the same registers and an empty stack, and calls a function that does not return.
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
    syscall::outcome(result)
}

/// Gives `ENOSYS`: for this processor there is no code that begins on another stack.
///
/// # Safety
/// The caller has nothing to uphold: the function does nothing.
#[cfg(not(target_arch = "x86_64"))]
#[allow(unsafe_code, reason = "the signature of the function for x86-64")]
unsafe fn clone_onto<T>(
    _: libc::c_long,
    _: [usize; 5],
    _: extern "C" fn(*mut ChildStart<T>) -> !,
    _: *mut ChildStart<T>,
) -> nix::Result<usize> {
    Err(Errno::ENOSYS)
}

#[cfg(test)]
#[cfg(target_arch = "x86_64")]
mod tests {
    use std::os::fd::AsFd;

    use nix::fcntl::OFlag;
    use nix::poll::{PollFd, PollFlags};
    use nix::unistd::pipe2;

    use crate::sys::copy_sibling;

    use super::*;

    /// Waits for a byte, stores it as the last of `bytes` bytes of its room, and exits with the byte plus
    /// one.
    fn wait((number, bytes): (i32, usize), room: ChildMemory) -> u8 {
        let mut byte = [0];
        let heard = in_child::read(in_child::alone_with(number).as_fd(), &mut byte);
        let Some(room) = room.take(bytes).filter(|_| heard.is_ok()) else { return 99 };
        room[bytes - 1] = byte[0];
        room[bytes - 1] + 1
    }

    /// Waits for the process's end. Its parent is the test's parent, so this process cannot reap it.
    fn see_end(pidfd: &OwnedFd) {
        assert!(
            crate::sys::poll_until(&mut [PollFd::new(pidfd.as_fd(), PollFlags::POLLIN)], None)
                .expect("polled")
        );
        let no_child = crate::sys::reap(pidfd.as_fd()).expect_err("it is the parent's");
        assert_eq!(no_child.raw_os_error(), Some(libc::ECHILD));
    }

    #[test]
    #[allow(unsafe_code, reason = "the contract of what is tested")]
    fn a_sibling_lives_beside_until_it_ends_and_its_slot_is_another_s_then() {
        let mut slots = ChildSlots::default();
        let (listen, speak) = pipe2(OFlag::O_CLOEXEC).expect("a pipe");
        for bytes in [1, ROOM_BYTES, 10 * ROOM_BYTES] {
            let orders = (listen.as_raw_fd(), bytes);
            // SAFETY: `wait` allocates nothing, panics only where there is a bug, and has its system calls
            // from `in_child.rs`.
            let (_, pidfd) = unsafe { clone_sibling(&mut slots, None, wait, orders) }.expect("a process");
            assert_eq!(slots.0.iter().filter(|slot| !slot.is_free()).count(), 1);
            nix::unistd::write(&speak, &[7]).expect("told");
            see_end(&pidfd);
            assert!(slots.0.iter().all(ChildSlot::is_free));
            let slot = slots.free().expect("a slot");
            // SAFETY: a byte of the room of a slot in which nothing lives.
            let last = unsafe { slot.head().cast::<u8>().add(HEAD_BYTES + (bytes - 1).min(ROOM_BYTES - 1)) };
            // SAFETY: as above.
            assert_eq!(unsafe { last.read() }, 0, "what was read is overwritten");
        }
        assert_eq!(slots.0.len(), 1);
    }

    #[test]
    fn what_lives_in_another_s_memory_lives_in_a_copy_too() {
        let (listen, speak) = pipe2(OFlag::O_CLOEXEC).expect("a pipe");
        for bytes in [1, 10 * ROOM_BYTES] {
            let orders = (listen.as_raw_fd(), bytes);
            let (_, pidfd) = copy_sibling(None, || wait(orders, ChildMemory::of_copy())).expect("a process");
            nix::unistd::write(&speak, &[7]).expect("told");
            see_end(&pidfd);
        }
    }
}
