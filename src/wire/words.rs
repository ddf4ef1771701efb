//! The words of a command line, which both versions encode alike.

use crate::ids::ClaimedWord;
use crate::limits::{ARG_BYTES_MAX, ARGC_MAX};

use super::reader::{Malformed, MessageReader};

/// Reads the count of words, and the words.
pub(super) fn words(reader: &mut MessageReader<'_>) -> Result<Vec<ClaimedWord>, Malformed> {
    let count = reader.u32()?;
    if usize::try_from(count).map_or(true, |count| count > ARGC_MAX) {
        return Err(Malformed::TooManyWords(count));
    }
    (0..count).map(|_| word(reader)).collect()
}

fn word(reader: &mut MessageReader<'_>) -> Result<ClaimedWord, Malformed> {
    let length = reader.u32()?;
    let bytes = usize::try_from(length).ok().filter(|&bytes| bytes <= ARG_BYTES_MAX);
    let bytes = reader.bytes(bytes.ok_or(Malformed::LongWord(length))?)?;
    let text = std::str::from_utf8(bytes).map_err(|_| Malformed::NotUtf8)?;
    ClaimedWord::new(text).ok_or(Malformed::Nul)
}

/// The bytes that words take on the wire: their count, and each word with its length.
pub(super) fn words_length(words: &[ClaimedWord]) -> usize {
    4 + words.iter().map(|word| 4 + word.as_str().len()).sum::<usize>()
}

/// Writes the count of words, and the words. `None` where there are more words than a request may have.
pub(super) fn put_words(message: &mut Vec<u8>, words: &[ClaimedWord]) -> Option<()> {
    let count = u32::try_from(words.len()).ok().filter(|_| words.len() <= ARGC_MAX)?;
    message.extend_from_slice(&count.to_le_bytes());
    for word in words {
        message.extend_from_slice(&u32::try_from(word.as_str().len()).ok()?.to_le_bytes());
        message.extend_from_slice(word.as_str().as_bytes());
    }
    Some(())
}
