//! Checks the words of a command line for a request. Words that the broker would refuse as malformed are
//! found here, before anything is sent, because here a message can tell which word it is.

use std::ffi::OsString;

use crate::ids::ClaimedWord;
use crate::limits::{ARG_BYTES_MAX, ARGC_MAX, MESSAGE_BYTES_MAX};

/// The reason why words cannot be a request. Places count from 1, the program included.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BadWords {
    /// More words than [`ARGC_MAX`].
    TooMany {
        /// The number of words.
        words: usize,
    },
    /// A word of more than [`ARG_BYTES_MAX`] bytes.
    Long {
        /// The place of the word.
        place: usize,
        /// The bytes of the word.
        bytes: usize,
    },
    /// A word that is not UTF-8.
    NotUtf8 {
        /// The place of the word.
        place: usize,
    },
    /// A word with a NUL byte in it, which no argument of a process has.
    Nul {
        /// The place of the word.
        place: usize,
    },
    /// All together more than [`MESSAGE_BYTES_MAX`].
    Large,
}

/// The words as a request carries them, program first.
pub(super) fn claim(words: &[OsString]) -> Result<Vec<ClaimedWord>, BadWords> {
    if words.len() > ARGC_MAX {
        return Err(BadWords::TooMany { words: words.len() });
    }
    words.iter().zip(1..).map(|(word, place)| claim_one(word, place)).collect()
}

fn claim_one(word: &OsString, place: usize) -> Result<ClaimedWord, BadWords> {
    let text = word.to_str().ok_or(BadWords::NotUtf8 { place })?;
    if text.len() > ARG_BYTES_MAX {
        return Err(BadWords::Long { place, bytes: text.len() });
    }
    ClaimedWord::new(text).ok_or(BadWords::Nul { place })
}

const _: () = assert!(ARG_BYTES_MAX < MESSAGE_BYTES_MAX, "one word of the largest size is a request");

#[cfg(test)]
mod tests {
    use std::os::unix::ffi::OsStringExt;

    use super::*;

    fn check(words: Vec<OsString>, want: Result<usize, BadWords>) {
        assert_eq!(claim(&words).map(|words| words.len()), want);
    }

    #[test]
    fn the_word_that_is_wrong_is_named() {
        let long = OsString::from("x".repeat(ARG_BYTES_MAX + 1));
        check(vec!["a".into(); 257], Err(BadWords::TooMany { words: 257 }));
        check(vec!["a".into(), long], Err(BadWords::Long { place: 2, bytes: ARG_BYTES_MAX + 1 }));
        check(
            vec!["a".into(), "b".into(), OsString::from_vec(vec![0xff])],
            Err(BadWords::NotUtf8 { place: 3 }),
        );
        check(vec!["a".into(), "b\0c".into()], Err(BadWords::Nul { place: 2 }));
        check(vec!["echo".into(), "".into()], Ok(2));
    }
}
