//! System calls without the C library, for a process that shares its memory with another: `errno` is a
//! thread's variable in memory, and the two processes would share it.
#![cfg_attr(not(test), deny(clippy::indexing_slicing))]

use nix::errno::Errno;

/// One system call of up to six arguments.
///
/// # Safety
/// As the system call's own.
#[cfg(target_arch = "x86_64")]
#[allow(unsafe_code, reason = "a system call that leaves errno alone")]
pub(super) unsafe fn call<const N: usize>(number: libc::c_long, arguments: [usize; N]) -> nix::Result<usize> {
    let [first, second, third, fourth, fifth, sixth] = filled(arguments);
    let result: libc::c_long;
    // SAFETY: the caller answers for the call; the kernel changes rax, rcx and r11 alone, and memory as the
    // call says.
    unsafe {
        std::arch::asm!(
            "syscall",
            inlateout("rax") number => result,
            in("rdi") first,
            in("rsi") second,
            in("rdx") third,
            in("r10") fourth,
            in("r8") fifth,
            in("r9") sixth,
            lateout("rcx") _,
            lateout("r11") _,
            options(nostack),
        );
    }
    outcome(result)
}

/// One system call of up to six arguments, through the C library: on this processor no processes share memory
/// (see `clone_vm.rs`), so `errno` is this process's alone.
///
/// # Safety
/// As the system call's own.
#[cfg(not(target_arch = "x86_64"))]
#[allow(unsafe_code, reason = "the C library has no function for a call by number that is safe")]
pub(super) unsafe fn call<const N: usize>(number: libc::c_long, arguments: [usize; N]) -> nix::Result<usize> {
    let [first, second, third, fourth, fifth, sixth] = filled(arguments);
    // SAFETY: the caller answers for the call.
    Errno::result(unsafe { libc::syscall(number, first, second, third, fourth, fifth, sixth) })
        .map(|result| result as usize)
}

/// Ends this process: no handler runs, nothing is flushed. `exit_group(2)`.
#[allow(unsafe_code, reason = "the C library's _exit takes this process's memory for its own")]
pub(super) fn exit(code: u8) -> ! {
    loop {
        // SAFETY: a number goes in, and the call does not return.
        unsafe { call(libc::SYS_exit_group, [code.into()]) }.ok();
    }
}

/// The arguments, filled up with 0.
fn filled<const N: usize>(arguments: [usize; N]) -> [usize; 6] {
    const { assert!(N <= 6) };
    let mut all = [0; 6];
    all.iter_mut().zip(arguments).for_each(|(place, argument)| *place = argument);
    all
}

/// Tells a system call's result from an error, which is a negative errno.
#[cfg(target_arch = "x86_64")]
pub(super) fn outcome(result: libc::c_long) -> nix::Result<usize> {
    usize::try_from(result).map_err(|_| Errno::from_raw(i32::try_from(-result).unwrap_or_default()))
}
