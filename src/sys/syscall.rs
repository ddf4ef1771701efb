//! System calls without the C library, for a process that shares its memory with another: `errno` belongs to a thread,
//! and there it would be both's.

use nix::errno::Errno;

/// One system call of up to five arguments.
///
/// # Safety
/// As the system call's own.
#[cfg(target_arch = "x86_64")]
#[allow(unsafe_code, reason = "a system call that leaves errno alone")]
pub(super) unsafe fn call<const N: usize>(number: libc::c_long, arguments: [usize; N]) -> nix::Result<usize> {
    let [first, second, third, fourth, fifth] = filled(arguments);
    let result: libc::c_long;
    // SAFETY: the caller answers for the call; the kernel changes rax, rcx and r11 alone, and memory as the call says.
    unsafe {
        std::arch::asm!(
            "syscall",
            inlateout("rax") number => result,
            in("rdi") first,
            in("rsi") second,
            in("rdx") third,
            in("r10") fourth,
            in("r8") fifth,
            lateout("rcx") _,
            lateout("r11") _,
            options(nostack),
        );
    }
    outcome(result)
}

/// The same where processes share no memory (see `clone_vm.rs`): `errno` is this one's alone.
///
/// # Safety
/// As the system call's own.
#[cfg(not(target_arch = "x86_64"))]
#[allow(unsafe_code, reason = "the C library has no function for a call by number that is safe")]
pub(super) unsafe fn call<const N: usize>(number: libc::c_long, arguments: [usize; N]) -> nix::Result<usize> {
    let [first, second, third, fourth, fifth] = filled(arguments);
    // SAFETY: the caller answers for the call.
    Errno::result(unsafe { libc::syscall(number, first, second, third, fourth, fifth) })
        .map(|result| result as usize)
}

/// The arguments, and 0 in the place of those that are not given.
fn filled<const N: usize>(arguments: [usize; N]) -> [usize; 5] {
    const { assert!(N <= 5) };
    let mut all = [0; 5];
    all.iter_mut().zip(arguments).for_each(|(place, argument)| *place = argument);
    all
}

/// What the kernel's word means: a result, or an error, negative.
#[cfg(target_arch = "x86_64")]
pub(super) fn outcome(result: libc::c_long) -> nix::Result<usize> {
    usize::try_from(result).map_err(|_| Errno::from_raw(i32::try_from(-result).unwrap_or_default()))
}
