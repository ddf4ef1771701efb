//! Every bound, with its unit in its name. Nothing else in the crate holds a bare limit; REFERENCE.md lists
//! them.

use std::time::Duration;

// The wire.

/// Most bytes of one message, either way.
pub const MESSAGE_BYTES_MAX: usize = 1 << 20;
/// Most words of one request.
pub const ARGC_MAX: usize = 256;
/// Most bytes of one word of a request.
pub const ARG_BYTES_MAX: usize = 16 * 1024;
/// Most bytes of a listing's text.
pub const LISTING_BYTES_MAX: usize = 64 * 1024;
/// Bytes of the reply to a call.
pub const REPLY_BYTES: usize = 12;
/// Most bytes of the reply to a request for the listing.
pub const LISTING_REPLY_BYTES_MAX: usize = REPLY_BYTES + 4 + LISTING_BYTES_MAX;
/// Most bytes of the reason that a caller is told of a call without an exit status.
pub const REASON_BYTES_MAX: usize = 1024;
/// Most bytes of the message that holds it.
pub const EXPLANATION_BYTES_MAX: usize = 20 + REASON_BYTES_MAX;
/// How long a client waits for it once the reply is there; the broker sends both without a pause.
pub const EXPLANATION_WAIT: Duration = Duration::from_millis(200);
/// How long a client waits in silence for somebody to take its request, before it says that nobody has.
pub const UNHEARD_WAIT: Duration = Duration::from_secs(5);
/// Most bytes of a socket's path: what `sockaddr_un` holds, without its NUL.
pub const SOCKET_PATH_BYTES_MAX: usize = 107;
/// Most characters of a command line that a message of the client repeats.
pub const SHOWN_COMMAND_CHARS_MAX: usize = 200;
/// The number of the first descriptor that a command has of `in DIR as fd`.
pub const FIRST_HANDED_FD: i32 = 3;
/// Descriptors that a request carries.
pub const REQUEST_FDS: usize = 3;
/// Descriptors of one message that are taken in at all. The kernel drops the others, so that no message,
/// which may bring 253, fills the broker's table.
pub const MESSAGE_FDS_MAX: usize = 8;
/// Further requests on one connection that are taken off it, and refused, before it is closed.
pub const SECOND_REQUESTS_MAX: usize = 16;
/// How long a connection may say nothing before it is answered `PROTO`.
pub const SILENCE_MAX: Duration = Duration::from_secs(5);
/// How long a connection may be silent where no more connections fit and others wait to be accepted.
pub const SILENCE_CROWDED: Duration = Duration::from_millis(100);

// Rules.

/// Most bytes of one slot value.
pub const VALUE_BYTES_MAX: usize = 4096;
/// Most bytes of the path that an `in DIR` value leads to: what the kernel takes, without its NUL.
pub const PATH_BYTES_MAX: usize = 4095;
/// Most names that are looked at on the way of one such value, those of links counted.
pub const PATH_NAMES_MAX: usize = 1024;
/// Most values that `#name...` takes.
pub const REST_VALUES_MAX: usize = 64;
/// Most bytes of the rules files of one policy together.
pub const RULES_BYTES_MAX: usize = 16 << 20;
/// Most lines of one rules file.
pub const RULES_LINES_MAX: usize = 80_000;
/// Most bytes of one line of a rules file.
pub const RULES_LINE_BYTES_MAX: usize = 64 * 1024;
/// Most rules of one policy, includes counted.
pub const RULES_MAX: usize = 50_000;
/// Most files that one policy includes, and how deep they nest.
pub const INCLUDES_MAX: usize = 64;
/// Rules alike in number of words and literals with which `check` compares a later one, beside those written
/// the same.
pub const SHADOWS_MAX: usize = 16;
/// Most errors that one pass reports.
pub const DIAGNOSTICS_MAX: usize = 100;
/// Most characters of a line that an error shows.
pub const DIAGNOSTIC_CHARS_MAX: usize = 160;
/// Most characters of a caller's word that an explanation shows.
pub const SHOWN_WORD_CHARS_MAX: usize = 60;
/// Most bytes of one slot regex as it is written.
pub const REGEX_SOURCE_BYTES_MAX: usize = 8 * 1024;
/// Most bytes of one compiled slot regex.
pub const REGEX_BYTES_MAX: usize = 1 << 20;
/// Most bytes of all compiled slot regexes of a policy together; each is counted once, however often it is
/// written.
pub const REGEX_TOTAL_BYTES_MAX: usize = 256 << 20;
/// Most steps of one decision: a step moves one place in a regex by one byte of a value. A request that would
/// take more is refused (`too_costly`).
pub const DECISION_STEPS_MAX: u64 = 4_000_000;
/// Steps after which a decision is a long one: of those of one socket, one at a time goes on.
pub const DECISION_STEPS_LONG: u64 = 100_000;
/// Steps that looking for one path on disk counts as.
pub const LOCATE_STEPS: u64 = 4_000;
/// Steps that each byte of such a path adds.
pub const LOCATE_STEPS_PER_BYTE: u64 = 100;
/// Deepest nesting of a slot regex.
pub const REGEX_NEST_MAX: u32 = 64;
/// The longest timeout that may be written: ten years.
pub const TIMEOUT_MAX: Duration = Duration::from_secs(10 * 366 * 24 * 3600);

// Calls.

/// Calls of one socket that run at once, unless `max_calls` says otherwise.
pub const SOCKET_CALLS_DEFAULT: u32 = 64;
/// The most that `max_calls` may say.
pub const CALLS_MAX: u32 = 4096;
/// Threads of one socket beside those of its running calls: they read, decide and refuse.
pub const SOCKET_THREADS_SPARE: u32 = 16;
/// How often one request that waits may be found to be another rule's than before.
pub const DECISIONS_MAX: u32 = 16;
/// Requests of one socket, read and allowed, that wait for a place.
pub const SOCKET_WAITING_MAX: usize = 256;
/// Bytes that their words take. Requests that are being decided already may come on top,
/// [`SOCKET_THREADS_SPARE`] of them.
pub const SOCKET_WAITING_BYTES_MAX: usize = 4 << 20;
/// Connections that all sockets together hold before their request is read; more stay in the kernel's
/// backlog.
pub const PENDING_CONNECTIONS_MAX: usize = 4096;
/// Connections of one socket that are not closed yet, because of the descriptors in them; with more it takes
/// in nobody.
pub const SOCKET_CLOSING_MAX: usize = 64;
/// Processes of one socket that close its connections and cannot be ended; with more, its connections stay
/// open.
pub const SOCKET_CLOSERS_MAX: usize = 4;
/// Connections that one such process has at a time.
pub const CLOSER_BATCH: usize = 16;
/// How long it may take for one before it is killed and replaced, unless it waits for a processor.
pub const CLOSER_PATIENCE: Duration = Duration::from_millis(25);
/// How long it is kept for the next one.
pub const CLOSER_IDLE: Duration = Duration::from_secs(5);
/// How long after a process could not be had it is asked for again.
pub const CLOSING_ROUND: Duration = Duration::from_millis(20);
/// How long a broker that leaves waits for connections to be closed.
pub const CLOSING_END_MAX: Duration = Duration::from_secs(1);
/// The stack of a call's thread.
pub const CALL_STACK_BYTES: usize = 256 * 1024;
/// More than the C library keeps of the stacks of threads that have ended (40 MiB,
/// `glibc.pthread.stack_cache_size`): a stack of this size has it let go of them.
pub const STACKS_KEPT_BYTES: usize = 48 << 20;
/// Heaps that the broker's threads share.
pub const HEAPS_MAX: i32 = 2;
/// How long a thread that has answered waits for another call.
pub const WORKER_PATIENCE: Duration = Duration::from_secs(5);
/// How long it waits for the next one before it does what the last one left undone, behind the caller who has
/// its answer.
pub const WORKER_PAUSE: Duration = Duration::from_millis(1);
/// How long what was asked to end (SIGTERM) may take before it is killed.
pub const TERM_GRACE: Duration = Duration::from_secs(2);
/// How long the killed may take to be gone before the broker says so and goes on.
pub const KILL_GRACE: Duration = Duration::from_secs(5);
/// How long a broker that stops waits for the ends of its calls; what has not ended then is left.
pub const STOP_CALLS_MAX: Duration = Duration::from_secs(10);
/// How long after that it waits for what calls left running, at least.
pub const STOP_KEPT_MIN: Duration = Duration::from_secs(1);
/// How long a broker that stops takes in callers at its own socket that had no room for them when they came.
pub const STOP_CALLERS_MAX: Duration = Duration::from_secs(1);
/// How long a nursery that was killed may take to be gone before it is left.
pub const NURSERY_END_MAX: Duration = Duration::from_secs(1);
/// How long after the order to stop a broker ends whatever it is still doing; it says so, and ends
/// [`NOTICES_LAST_WAIT`] later. The units' `TimeoutStopSec=` is longer.
pub const STOP_MAX: Duration = Duration::from_secs(13);
/// Launchers that wait for a call.
pub const LAUNCHERS_PARKED: usize = 8;
/// The most that wait after a burst of calls.
pub const LAUNCHERS_PARKED_MAX: usize = 16;
/// How long after the last call that found none no more than the usual number wait.
pub const LAUNCHERS_QUIET: Duration = Duration::from_secs(5);
/// A call that leaves fewer than this asks for others ahead of its own command; else they are asked for when
/// half are missing and a call has been answered.
pub const LAUNCHERS_LEFT_MIN: usize = 2;
/// The most that are asked for in one message.
pub const LAUNCHERS_ASKED_MAX: usize = 64;
/// How often those are looked at, in passing: one that was killed is reaped then.
pub const PARKED_ROUND: Duration = Duration::from_secs(1);
/// Descriptors that one running call holds at most.
pub const CALL_FDS_MAX: usize = 13;
/// Descriptors that it holds beside, where rules capture or hide terminals: captures, their directories, the
/// relay's channel and handle.
pub const RELAY_FDS_MAX: usize = 11;
/// Descriptors that one rules file holds: its manifest, the mark and the journal's socket. What the next
/// manifest takes while it is opened is of the broker's own.
pub const RULESET_FDS_MAX: usize = 3;
/// Descriptors of the broker beside sockets and calls; two for each launcher that waits.
pub const BROKER_FDS_SPARE: usize = 56 + 2 * LAUNCHERS_PARKED_MAX;
/// The listen backlog that is asked for; the kernel's `somaxconn` bounds it.
pub const BACKLOG: i32 = 4096;
/// Connections that are taken in at one socket before the others have their turn.
pub const ACCEPTS_MAX: usize = 64;
/// How long a thread that let somebody in waits for the first word, before the accept loop does.
pub const FIRST_WORD_WAIT: Duration = Duration::from_millis(1);
/// Connections that threads let in and that the accept loop has not seen yet; then that lets them in itself.
pub const ARRIVALS_MAX: usize = 16;
/// How long nobody is accepted at a socket that has no room, or at all when the kernel has no descriptor or
/// memory.
pub const ACCEPT_BACKOFF: Duration = Duration::from_millis(50);
/// How long after the kernel last had none that is said to be over.
pub const EXHAUSTED_QUIET: Duration = Duration::from_secs(1);

/// How often the broker looks for its own socket's file where the watch on that fails.
pub const SENTRY_ROUND: Duration = Duration::from_secs(1);
/// How long a call waits for a scope, and the broker for a manager's answer.
pub const SCOPE_WAIT: Duration = Duration::from_secs(5);
/// How long a starting broker waits for the manager's word on whether its group is delegated, if its rules
/// can do without; others wait for [`SCOPE_WAIT`].
pub const DELEGATION_WAIT: Duration = Duration::from_secs(1);
/// How long a call that could have a delegated group instead waits for a bus that was not reached yet.
pub const SCOPE_PATIENCE: Duration = Duration::from_secs(2);
/// How long the group of a call that left something running is left alone before it is looked at again.
pub const GROUP_ROUND: Duration = Duration::from_secs(1);
/// Launchers of one socket, each in its scope, that are kept for the next calls once the socket is used.
pub const SCOPES_PARKED: usize = 2;
/// The most that are kept after a burst of calls.
pub const SCOPES_PARKED_MAX: usize = 16;
/// Scopes of one socket that are being made at one time, unless more calls wait.
pub const SCOPES_MAKING: usize = 4;
/// How long after the last call that had to wait for a scope no more than the usual number are kept.
pub const SCOPES_QUIET: Duration = Duration::from_secs(5);
/// How long after its last call a socket keeps none.
pub const SCOPES_SLEEP: Duration = Duration::from_secs(60);
/// How long after a manager was lost it is looked for again at the earliest, and after many tries.
pub const BUS_RETRY_MIN: Duration = Duration::from_millis(200);
/// See [`BUS_RETRY_MIN`].
pub const BUS_RETRY_MAX: Duration = Duration::from_secs(10);
/// The buffer for what a message bus says.
pub const BUS_BUFFER_BYTES: usize = 4096;
/// Descriptors that one parked launcher holds.
pub const PARKED_FDS_MAX: usize = 3;
/// How long a call runs before its scope's description tells of it.
pub const DESCRIPTION_DELAY: Duration = Duration::from_millis(5);
/// Most characters of a scope's description.
pub const SCOPE_DESCRIPTION_CHARS_MAX: usize = 200;
/// Most bytes of a socket's name, escaped, inside a unit's name.
pub const SCOPE_TAG_BYTES_MAX: usize = 160;
/// Most bytes that are read of one file of a cgroup.
pub const CGROUP_FILE_BYTES_MAX: u64 = 1 << 20;
/// Most cgroups below that of a call which are looked for when it ends. What is in the others is killed all
/// the same.
pub const CGROUPS_BELOW_MAX: usize = 1024;
/// Most bytes of a unit's name, as systemd has it.
pub const UNIT_NAME_BYTES_MAX: usize = 255;

// Audit.

/// Most bytes of an argument list in one record; a longer one is cut, with its length and hash.
pub const RECORD_ARGV_BYTES_MAX: usize = 8 * 1024;
/// Most bytes of one record.
pub const RECORD_BYTES_MAX: usize = 64 * 1024;
/// Most bytes of a line of a manifest that is read back as one; a longer one is none of a broker's.
pub const RECORD_LINE_BYTES_MAX: usize = 4 * RECORD_BYTES_MAX;
/// Runs of lines, each of which follows the one before it, that are told apart in one file; of more, those in
/// the middle are given up.
pub const RUNS_MAX: usize = 64;
/// Places of a file, each of one line or of several, in which no record stands; a broker does not go on after
/// more.
pub const FOREIGN_PLACES_MAX: usize = 64 * 1024;
/// The highest number that a broker goes on from. Above it there are 2^32 more below 2^53, up to which every
/// reader of JSON is exact.
pub const CALL_NUMBER_MAX: u64 = (1 << 53) - (1 << 32);
/// Equal refusals within this time become one record with a count.
pub const DEDUP_WINDOW: Duration = Duration::from_secs(1);
/// So many equal refusals have a record each before the counting begins.
pub const DEDUP_AFTER: u64 = 2;
/// Different refusals that are being counted at one time.
pub const DEDUP_KINDS_MAX: usize = 64;
/// Bytes of records of refusals that a socket has for itself, and how many of them come back each second.
pub const REFUSAL_OWN_BYTES: u64 = 64 * 1024;
/// See [`REFUSAL_OWN_BYTES`].
pub const REFUSAL_OWN_BYTES_PER_SECOND: u64 = 4 * 1024;
/// Bytes that a socket has beside, as long as all sockets together have them, and that come back each second.
pub const REFUSAL_SOCKET_BYTES: u64 = 192 * 1024;
/// See [`REFUSAL_SOCKET_BYTES`].
pub const REFUSAL_SOCKET_BYTES_PER_SECOND: u64 = 24 * 1024;
/// Bytes that all sockets of a broker together have, beside each one's own, and that come back each second.
pub const REFUSAL_BROKER_BYTES: u64 = 512 * 1024;
/// See [`REFUSAL_BROKER_BYTES`].
pub const REFUSAL_BROKER_BYTES_PER_SECOND: u64 = 64 * 1024;
/// Bytes that the record of a refusal costs at the least, however short it is.
pub const REFUSAL_COST_BYTES_MIN: u64 = 2 * 1024;
/// Processes, and users, that a record of many refusals names.
pub const REFUSAL_CALLERS_MAX: usize = 8;
/// Most bytes of a refusal's explanation in its record.
pub const RECORD_DETAIL_BYTES_MAX: usize = 1024;
/// Bytes of the mark beside a manifest.
pub const MARK_BYTES: usize = 96;
/// Bytes on disk that are kept for the end of each running call.
pub const END_ROOM_BYTES: u64 = 2 * 1024;
/// Bytes on disk that are taken ahead at a time, where there are as many.
pub const ROOM_STEP_BYTES: u64 = 64 * 1024;
/// Ends of calls that are kept while they cannot be written; of more, the next broker says that they are
/// lost.
pub const BACKLOG_ENDS_MAX: usize = 8192;
/// Bytes at the end of a manifest in which its `close`, and the end of the line before, are looked for.
pub const CLOSE_BYTES_MAX: usize = 1024;
/// The buffer that a manifest is read back with.
pub const SCAN_BUFFER_BYTES: usize = 256 * 1024;
/// Most bytes that a packed manifest may unpack to.
pub const UNPACKED_BYTES_MAX: u64 = 64 << 30;
/// Most bytes that a zstd file may have its reader look back: what `zstd --ultra -22` and `--long` ask for.
pub const ZSTD_WINDOW_BYTES_MAX: u64 = 128 << 20;
/// Most symbolic links followed on the way to one file.
pub const LINKS_MAX: usize = 40;
/// How long a call waits for a nursery that makes it a process, before it is refused.
pub const NURSERY_WAIT: Duration = Duration::from_secs(10);
/// How long one round of killing waits for an end before it looks again.
pub const KILL_ROUND: Duration = Duration::from_millis(20);
/// How long a scope is waited for to be frozen before it is looked at again.
pub const FREEZE_ROUND: Duration = Duration::from_millis(1);
/// How long a scope is waited for to be empty before it is looked at, or killed, again.
pub const SCOPE_ROUND: Duration = Duration::from_millis(100);
/// How long after the start of one nursery the next is started at the earliest.
pub const NURSERY_BACKOFF: Duration = Duration::from_millis(200);
/// The same at most: the time doubles with each nursery in a row that made no launcher.
pub const NURSERY_BACKOFF_MAX: Duration = Duration::from_secs(5);
/// How long handing descriptors to a launcher, or a request to the nursery, is tried again while the user has
/// too many on their way, or the queue is full.
pub const SEND_WAIT: Duration = Duration::from_secs(3);
/// How long a launcher or relay may take to have the descriptors of its request.
pub const TAKING_MAX: Duration = Duration::from_secs(5);
/// How long it rests between two tries.
pub const SEND_RETRY: Duration = Duration::from_millis(2);

// Captures.

/// Most bytes of one capture, unless `capture_max` says otherwise.
pub const CAPTURE_BYTES_DEFAULT: u64 = 64 << 20;
/// Bytes of a program in which `check` looks for its interpreter, as the kernel does (`BINPRM_BUF_SIZE`).
pub const INTERPRETER_BYTES_MAX: u64 = 256;
/// Bytes that are taken for a new capture, to see that its place works.
pub const CAPTURE_PROBE_BYTES: u16 = 4096;
/// The pipe that a command has in a captured descriptor's place, where the user may have one of this size.
pub const RELAY_PIPE_BYTES: i32 = 256 * 1024;
/// Most bytes that a capture is ahead of the one who reads: then the writer waits.
pub const RELAY_AHEAD_MAX: u64 = 1 << 20;
/// The buffer of one stream, for what is captured and what cannot be spliced.
pub const RELAY_BUFFER_BYTES: usize = 256 * 1024;
/// How long a call that is being ended waits for its caller to take the next byte.
pub const RELAY_PATIENCE: Duration = Duration::from_millis(200);
/// How long what is in a scope with a relay is killed one by one before it is killed at once, and the relay
/// with it.
pub const RELAY_SPARED_MAX: Duration = Duration::from_secs(2);
/// How long a relay that was killed may take to be gone before it is left to itself.
pub const RELAY_KILL_GRACE: Duration = Duration::from_millis(500);
/// How long after its end, or its timeout, a call's last bytes may be on their way.
pub const DRAIN_MAX: Duration = Duration::from_secs(2);

// systemd.

/// Connections that a broker without rules in force holds until their request is read; more stay in the
/// backlog.
pub const UNSERVED_CONNECTIONS_MAX: usize = 64;
/// How often such a broker looks whether its rules files were changed.
pub const UNSERVED_ROUND: Duration = Duration::from_secs(2);
/// How long after it read them it reads them again at the earliest, unless it is told to reload; ten times as
/// long as that took, where that is more.
pub const UNSERVED_TRY_MIN: Duration = Duration::from_millis(200);
/// How long a broker that cannot start waits for room in the manager's queue, to say why.
pub const NOTIFY_SEND_MAX: Duration = Duration::from_secs(1);
/// How long after a start, a reload or a stop found no room in that queue it is told again.
pub const NOTIFY_RETRY: Duration = Duration::from_millis(50);
/// Starts, reloads and stops that wait for room in it; of more, the oldest are not told.
pub const NOTIFY_BACKLOG_MAX: usize = 16;
/// Bytes of notices that wait for stderr; those that find no room are counted, and the count is written
/// later.
pub const NOTICES_BYTES_MAX: usize = 256 << 10;
/// How long a broker that ends waits for stderr to take what is left of them.
pub const NOTICES_LAST_WAIT: Duration = Duration::from_secs(1);
/// How long after one status line the next is said at the earliest.
pub const STATUS_INTERVAL: Duration = Duration::from_millis(200);
/// Most characters of a status line.
pub const STATUS_CHARS_MAX: usize = 400;
/// Most characters of a refused command line in it.
pub const SUMMARY_CHARS_MAX: usize = 80;
/// Signs of life come this far apart at least, however short the watchdog's time is.
pub const WATCHDOG_INTERVAL_MIN: Duration = Duration::from_millis(10);
/// How long handing an entry to the journal waits for room in its queue.
pub const JOURNAL_SEND_MAX: Duration = Duration::from_millis(100);
/// How long after an entry found no room none is waited for, and the journal counts as lost.
pub const JOURNAL_REST: Duration = Duration::from_secs(3);
/// Most characters of the sentence for a person in an entry of the journal.
pub const JOURNAL_MESSAGE_CHARS_MAX: usize = 400;
/// Most bytes of one entry that `journalctl` prints of the fields that are asked for.
pub const JOURNAL_LINE_BYTES_MAX: u64 = 64 * 1024;
/// How much later than its record an entry may stand in the journal, in milliseconds.
pub const JOURNAL_LATE_MAX_MS: u64 = 100;
/// Most bytes that are repeated of what `journalctl` complains.
pub const JOURNAL_SAID_BYTES_MAX: u64 = 1024;

// What commands show.

/// The blocks in which `sluice log` reads a manifest; a longer line is left out.
pub const LOG_BLOCK_BYTES: usize = 4 << 20;
/// Calls that `sluice log` shows unless it is told how many.
pub const LOG_CALLS_DEFAULT: usize = 20;
/// Columns of a terminal from which on `sluice log` shows the date and the caller of each call beside the
/// command.
pub const LOG_COLUMNS_WIDE: usize = 110;
/// How long `sluice log --follow` waits before it looks again.
pub const LOG_FOLLOW_INTERVAL: Duration = Duration::from_millis(200);
/// The blocks in which a capture is shown on a terminal.
pub const CAPTURE_BLOCK_BYTES: usize = 64 * 1024;
/// Rules that `sluice log` names where it has nothing to show.
pub const SHOWN_RULES_MAX: usize = 16;
/// Calls that a remark of `sluice verify` names.
pub const SHOWN_CALLS_MAX: usize = 8;
