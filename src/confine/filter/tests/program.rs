//! Programs that are longer than a conditional jump reaches.

use super::*;
use crate::confine::filter::program::{NumberRange, filter_program};
use crate::confine::filter::verdict::{SyscallVerdict, refuse_bits};

/// The verdict of a number: one of many errnos, or a test of an argument, so that nothing can be merged.
fn verdict(number: u32) -> SyscallVerdict {
    let refusal = SyscallVerdict::refuse(i32::try_from(number % 97 + 1).expect("small"));
    if number.is_multiple_of(5) { refuse_bits(2, 1 << (number % 13), refusal) } else { refusal }
}

#[test]
fn jumps_reach_however_far_they_go() {
    for len in [1, 2, 3, 4, 5, 6, 7, 50, 255, 256, 257, 600, 1500] {
        let ranges: Vec<NumberRange> = (0..len).map(|number| (number, verdict(number))).collect();
        let machine = FilterMachine::new(&filter_program(&ranges));
        for number in 0..len {
            for arguments in [[0; 6], [u64::MAX; 6]] {
                let errno = refused(i32::try_from(number % 97 + 1).expect("small"));
                let is_allowed = number.is_multiple_of(5) && arguments == [0; 6];
                let want = if is_allowed { ALLOWED } else { errno };
                assert_eq!(outcome(&machine, number.into(), arguments), want, "{number} of {len}");
            }
        }
    }
}
