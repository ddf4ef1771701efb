//! Encodes the words of a command line as the bytes of a request. Words that the broker would refuse as
//! malformed are found here, before anything is sent, because here a message can tell which word it is.

use std::ffi::OsString;

use crate::ids::ClaimedWord;
use crate::limits::{ARG_BYTES_MAX, ARGC_MAX, MESSAGE_BYTES_MAX};
use crate::wire::Request;

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
    /// All together more than [`MESSAGE_BYTES_MAX`].
    Large,
}

/// The bytes of the request to run `words`, program first.
pub(super) fn encode(words: &[OsString]) -> Result<Vec<u8>, BadWords> {
    if words.len() > ARGC_MAX {
        return Err(BadWords::TooMany { words: words.len() });
    }
    let places = words.iter().zip(1..);
    let claimed = places.map(|(word, place)| claim(word, place)).collect::<Result<Vec<_>, _>>()?;
    // The count and the lengths are checked by now: only the total can still be too large.
    Request::Call(claimed).encode().ok_or(BadWords::Large)
}

fn claim(word: &OsString, place: usize) -> Result<ClaimedWord, BadWords> {
    let text = word.to_str().ok_or(BadWords::NotUtf8 { place })?;
    if text.len() > ARG_BYTES_MAX {
        return Err(BadWords::Long { place, bytes: text.len() });
    }
    Ok(ClaimedWord::new(text).expect("an argument of a process holds no NUL"))
}

const _: () = assert!(ARG_BYTES_MAX < MESSAGE_BYTES_MAX, "one word of the largest size is a request");

#[cfg(test)]
mod tests {
    use std::os::unix::ffi::OsStringExt;

    use super::*;

    fn check(words: Vec<OsString>, want: Result<&[u8], BadWords>) {
        assert_eq!(encode(&words).as_deref().map_err(|bad| *bad), want);
    }

    #[test]
    fn words_become_one_request() {
        let want = b"XCLS\x01\0\0\0\x02\0\0\0\x04\0\0\0echo\0\0\0\0";
        check(vec!["echo".into(), "".into()], Ok(want));
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
        check(vec!["x".repeat(ARG_BYTES_MAX).into(); 64], Err(BadWords::Large));
    }
}
