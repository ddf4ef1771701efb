//! Texts with a number in them, for a process that must not allocate.
#![cfg_attr(not(test), deny(clippy::indexing_slicing))]

/// `before`, the number in decimal and `after`, and NULs to the end; cut at `N` bytes.
pub(super) fn text_with_number<const N: usize>(before: &[u8], number: u32, after: &[u8]) -> [u8; N] {
    let mut digits = [0; 10];
    let mut rest = number;
    for digit in digits.iter_mut().rev() {
        *digit = b'0' + u8::try_from(rest % 10).unwrap_or_default();
        rest /= 10;
    }
    let first = digits.iter().position(|digit| *digit != b'0').unwrap_or(digits.len() - 1);
    let mut text = [0; N];
    let bytes = before.iter().chain(digits.iter().skip(first)).chain(after);
    text.iter_mut().zip(bytes).for_each(|(place, byte)| *place = *byte);
    text
}
