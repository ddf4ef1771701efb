//! A caller's orders on a call's control pipe.
//!
//! Shape: `u32 kind`, `i32 number`, little-endian, 8 bytes each. Kind 1 asks for a signal to the command's
//! process group. Other kinds, and other signals, are left out. The end of the pipe means that the caller is
//! gone.

use nix::sys::signal::Signal;

/// The bytes of one order.
pub const CONTROL_BYTES: usize = 8;

/// The signals that are forwarded.
pub const FORWARDED_SIGNALS: [Signal; 9] = [
    Signal::SIGINT,
    Signal::SIGTERM,
    Signal::SIGHUP,
    Signal::SIGQUIT,
    Signal::SIGUSR1,
    Signal::SIGUSR2,
    Signal::SIGWINCH,
    Signal::SIGCONT,
    Signal::SIGTSTP,
];

/// The order to forward a signal.
pub fn signal_order(signal: Signal) -> [u8; CONTROL_BYTES] {
    let mut order = [0; CONTROL_BYTES];
    let (kind, number) = order.split_at_mut(4);
    kind.copy_from_slice(&SIGNAL.to_le_bytes());
    number.copy_from_slice(&(signal as i32).to_le_bytes());
    order
}

/// The signal that an order asks to forward, if it asks for one. Allocates nothing and cannot panic.
pub fn signal_of(order: [u8; CONTROL_BYTES]) -> Option<Signal> {
    let [a, b, c, d, number @ ..] = order;
    let number = i32::from_le_bytes(number);
    let is_signal = u32::from_le_bytes([a, b, c, d]) == SIGNAL;
    FORWARDED_SIGNALS.into_iter().find(|signal| is_signal && *signal as i32 == number)
}

/// The kind of an order to forward a signal.
const SIGNAL: u32 = 1;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn orders_are_read_as_they_were_written() {
        assert_eq!(signal_order(Signal::SIGINT), *b"\x01\0\0\0\x02\0\0\0");
        for signal in FORWARDED_SIGNALS {
            assert_eq!(signal_of(signal_order(signal)), Some(signal));
        }
    }

    #[test]
    fn other_signals_and_other_kinds_are_left_out() {
        for signal in [Signal::SIGKILL, Signal::SIGSTOP, Signal::SIGSEGV, Signal::SIGCHLD] {
            assert_eq!(signal_of(signal_order(signal)), None);
        }
        assert_eq!(signal_of(*b"\x02\0\0\0\x02\0\0\0"), None);
        assert_eq!(signal_of(*b"\x01\0\0\0\xff\xff\xff\xff"), None);
    }
}
