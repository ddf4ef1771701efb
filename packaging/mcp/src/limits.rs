//! Every bound of this program, with its unit in its name. REFERENCE.md ("MCP") has those that a client
//! meets.

use std::time::Duration;

/// Bytes of each output stream that an answer keeps from its beginning, and the same from its end.
pub(crate) const OUTPUT_HALF_BYTES_MAX: usize = 32 * 1024;

/// Bytes that are still read of a stream once its call is over: all that was written before is in the pipe by
/// then, and no pipe of an ordinary user holds more.
pub(crate) const LEFT_BYTES_MAX: usize = 1024 * 1024;

/// Bytes of one read of a stream.
pub(crate) const READ_BYTES: usize = 64 * 1024;

/// Bytes of a tool's name.
pub(crate) const NAME_BYTES_MAX: usize = 64;

/// Words behind the program that a tool's name has.
pub(crate) const NAME_WORDS_MAX: usize = 3;

/// Characters of a command line that a title repeats.
pub(crate) const TITLE_CHARS_MAX: usize = 200;

/// Bytes of a pattern in a schema. A regex whose pattern is longer is told in words alone.
pub(crate) const PATTERN_BYTES_MAX: usize = 2048;

/// Calls under way at once. Further ones wait here.
pub(crate) const CALLS_AT_ONCE_MAX: usize = 128;

/// Requests that are on their way to a broker at once. Where its queue of connections is full, each holds up
/// a thread.
pub(crate) const OPENINGS_MAX: usize = 32;

/// Pause between two looks at the broker's listing.
pub(crate) const LISTING_PERIOD: Duration = Duration::from_secs(2);

/// The same, where the client has been silent for [`SILENCE_LEAST`].
pub(crate) const LISTING_PERIOD_SILENT: Duration = Duration::from_secs(30);

/// Time without a request after which a client is silent.
pub(crate) const SILENCE_LEAST: Duration = Duration::from_secs(60);

/// Longest wait for the listing.
pub(crate) const LISTING_WAIT: Duration = Duration::from_secs(5);

/// Pause between two notifications of a call's progress.
pub(crate) const PROGRESS_PERIOD: Duration = Duration::from_secs(1);
