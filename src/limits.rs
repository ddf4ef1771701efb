//! Every bound, with its unit in its name. No other file holds a bare limit; REFERENCE.md lists them.

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
/// Most bytes of a frame's payload on a reply pipe (version 2).
pub const FRAME_BYTES_MAX: usize = 1024 * 1024;
/// Most bytes of the reason that a caller is given for a call without an exit status.
pub const REASON_BYTES_MAX: usize = 1024;
/// Most bytes of the message that holds this reason.
pub const EXPLANATION_BYTES_MAX: usize = 20 + REASON_BYTES_MAX;
/// How long a client waits for that message once the reply is there; the broker sends both without a pause.
pub const EXPLANATION_WAIT: Duration = Duration::from_millis(200);
/// How long a client waits for the reply before it looks whether its request was received, and tells if not.
pub const UNHEARD_WAIT: Duration = Duration::from_secs(5);
/// How long `sluicify` stays for the end of a call that it hung up: longer than [`TERM_GRACE`].
pub const LEAVE_WAIT: Duration = Duration::from_secs(3);
/// The buffer in which a client reads frames.
pub const REPLY_READ_BYTES: usize = 1024;
/// Most bytes of a socket's path: as many as `sockaddr_un` holds, without the NUL.
pub const SOCKET_PATH_BYTES_MAX: usize = 107;
/// Most characters of a command line that a message of the client repeats.
pub const SHOWN_COMMAND_CHARS_MAX: usize = 200;
/// The number of the first descriptor that a command is given by `in DIR as fd`, or else by a credential.
pub const FIRST_HANDED_FD: i32 = 3;
/// The number of the first descriptor that a connection is left open as, for a program in a sandbox.
pub const FIRST_DOOR_FD: i32 = 9;
/// Descriptors that a request carries.
pub const REQUEST_FDS: usize = 3;
/// Descriptors of one message that are received at all. The kernel drops further ones, so that no message,
/// which may bring 253, fills the broker's table of descriptors.
pub const MESSAGE_FDS_MAX: usize = 8;
/// Places of a profile that lie in directories which become empty for a command, `/tmp` first of all.
pub const VIEW_KEPT_MAX: usize = 64;
/// Calls with one Landlock ruleset, to which each call with a private `/tmp` adds its own.
pub const RULESET_CALLS_MAX: u32 = 64;
/// Confinements that are kept ready.
pub const CONFINEMENTS_KEPT_MAX: usize = 1024;
/// Further requests on one connection that are read, and refused, before the connection is closed.
pub const SECOND_REQUESTS_MAX: usize = 16;
/// How long a connection may be silent before it is answered `PROTO`.
pub const SILENCE_MAX: Duration = Duration::from_secs(5);
/// How long a connection may be silent where no more connections fit and further ones wait.
pub const SILENCE_CROWDED: Duration = Duration::from_millis(100);

// Rules.

/// Most bytes of one slot value.
pub const VALUE_BYTES_MAX: usize = 4096;
/// Most bytes of the path that an `in DIR` value leads to: as many as the kernel takes, without the NUL.
pub const PATH_BYTES_MAX: usize = 4095;
/// Most names that are looked up on the way of one such path, names in symbolic links included.
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
/// Most profiles that the files of one policy have.
pub const PROFILES_MAX: usize = 256;
/// Most bytes of a profile's name.
pub const PROFILE_NAME_BYTES_MAX: usize = 64;
/// Most places that confine one rule, those of its profile counted.
pub const PLACES_MAX: usize = 256;
/// Most files that one policy includes, and how deep they nest.
pub const INCLUDES_MAX: usize = 64;
/// Rules with equal numbers of words and equal literals with which `check` compares a later rule, besides the
/// rules that are written exactly like it.
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
/// Most bytes of all compiled slot regexes of a policy together, each counted once.
pub const REGEX_TOTAL_BYTES_MAX: usize = 256 << 20;
/// Most steps of one decision: a step moves one place in a regex by one byte of a value. A request that would
/// take more is refused (`too_costly`).
pub const DECISION_STEPS_MAX: u64 = 4_000_000;
/// Steps after which a decision is a long one: only one long decision of a socket goes on at a time.
pub const DECISION_STEPS_LONG: u64 = 100_000;
/// Steps that the search for one path on disk counts as.
pub const LOCATE_STEPS: u64 = 4_000;
/// Steps that each byte of such a path adds.
pub const LOCATE_STEPS_PER_BYTE: u64 = 100;
/// Most credentials of one rule.
pub const RULE_CREDENTIALS_MAX: usize = 16;
/// Most bytes of a credential's name.
pub const CREDENTIAL_NAME_BYTES_MAX: usize = 255;
/// Most bytes of all credentials of a rule.
pub const RULE_CREDENTIALS_BYTES_MAX: usize = 1 << 20;
/// Most bytes of a credential that a variable holds; the kernel takes 128 KiB, the name included.
pub const CREDENTIAL_VALUE_BYTES_MAX: usize = 64 * 1024;
/// Different denied accesses that the record of a call's end names.
pub const DENIALS_SHOWN_MAX: usize = 16;
/// Most bytes of the text of one of them, and most that all take in the record: less than its room on disk.
pub const DENIAL_BYTES_MAX: usize = 256;
/// See [`DENIAL_BYTES_MAX`].
pub const DENIALS_BYTES_MAX: usize = 1024;
/// Most bytes of a record of the kernel's audit log; longer ones are cut.
pub const AUDIT_RECORD_BYTES_MAX: usize = 9000;
/// Calls whose denials are kept until their records ask for them.
pub const DENIED_DOMAINS_MAX: usize = 1024;
/// How long a call that failed waits for the kernel's audit records of it.
pub const DENIALS_WAIT: Duration = Duration::from_millis(20);
/// Milliseconds after a call's end in which the journal may take the kernel's records of it.
pub const AUDIT_ENTRY_DELAY: u64 = 2000;
/// Deepest nesting of a slot regex.
pub const REGEX_NEST_MAX: u32 = 64;
/// The longest timeout that a rule may have: ten years.
pub const TIMEOUT_MAX: Duration = Duration::from_secs(10 * 366 * 24 * 3600);

// Calls.

/// Calls of one socket that run at once, unless `max_calls` says otherwise.
pub const SOCKET_CALLS_DEFAULT: u32 = 64;
/// The most that `max_calls` may say.
pub const CALLS_MAX: u32 = 4096;
/// Threads of one socket beside those of its running calls: they read, decide and refuse.
pub const SOCKET_THREADS_SPARE: u32 = 16;
/// How often the rule for one waiting request may change before the request is refused (`unsettled`).
pub const DECISIONS_MAX: u32 = 16;
/// Requests of one socket that were read and allowed, and wait for their turn to run.
pub const SOCKET_WAITING_MAX: usize = 256;
/// Bytes that the words of these waiting requests take. Up to [`SOCKET_THREADS_SPARE`] requests that are
/// being decided may come on top.
pub const SOCKET_WAITING_BYTES_MAX: usize = 4 << 20;
/// Connections that all sockets together hold before their request is read, or between two requests; further
/// ones stay in the kernel's backlog.
pub const PENDING_CONNECTIONS_MAX: usize = 4096;
/// Connections of one socket between two requests, which may stay for ever; with as many, or as take half of
/// the room for connections, the socket closes one for each that comes.
pub const SOCKET_IDLE_MAX: usize = 2048;
/// Connections of one socket that are still to be closed, because there are descriptors in them; with as
/// many, the socket accepts no further connection.
pub const SOCKET_CLOSING_MAX: usize = 64;
/// Processes of one socket that closed its connections and have not ended yet; with as many, no further
/// process is begun, and the socket's connections stay open.
pub const SOCKET_CLOSERS_MAX: usize = 4;
/// Connections that such a process is given at a time.
pub const CLOSER_BATCH: usize = 16;
/// How long such a process may take to close one connection, unless it waits for a processor.
pub const CLOSER_PATIENCE: Duration = Duration::from_millis(25);
/// How long such a process is kept without work.
pub const CLOSER_IDLE: Duration = Duration::from_secs(5);
/// How long after no such process could be had the next try is made.
pub const CLOSING_ROUND: Duration = Duration::from_millis(20);
/// How long a broker that ends waits for connections to be closed.
pub const CLOSING_END_MAX: Duration = Duration::from_secs(1);
/// The stack of a call's thread.
pub const CALL_STACK_BYTES: usize = 256 * 1024;
/// The stack of a thread that makes the C library free the stacks of ended threads: it is larger than all
/// the stacks that the library keeps (40 MiB, `glibc.pthread.stack_cache_size`).
pub const STACKS_KEPT_BYTES: usize = 48 << 20;
/// Heaps that the broker's threads share.
pub const HEAPS_MAX: i32 = 2;
/// How long a thread that has answered a call waits for another one before it ends.
pub const WORKER_PATIENCE: Duration = Duration::from_secs(5);
/// How long such a thread waits before it does what the last call put off until after its answer.
pub const WORKER_PAUSE: Duration = Duration::from_millis(1);
/// How long a process that was asked to end (SIGTERM) may take before it is killed.
pub const TERM_GRACE: Duration = Duration::from_secs(2);
/// How long killed processes may take to be gone before the broker reports them and goes on.
pub const KILL_GRACE: Duration = Duration::from_secs(5);
/// How long a broker that stops waits for its calls to end; calls that have not ended then are left.
pub const STOP_CALLS_MAX: Duration = Duration::from_secs(10);
/// How long after that the broker waits for processes that calls left running, at least.
pub const STOP_KEPT_MIN: Duration = Duration::from_secs(1);
/// How long a broker that stops still accepts connections that wait in its own socket's backlog.
pub const STOP_CALLERS_MAX: Duration = Duration::from_secs(1);
/// How long a nursery that was killed may take to be gone before it is left.
pub const NURSERY_END_MAX: Duration = Duration::from_secs(1);
/// How long a broker goes on after the order to stop, whatever it is still doing: then it says so, and ends
/// [`NOTICES_LAST_WAIT`] later. The units' `TimeoutStopSec=` is longer.
pub const STOP_MAX: Duration = Duration::from_secs(13);
/// How long after a failed wait the deadline's thread waits again for the order to stop.
pub const DEADLINE_RETRY: Duration = Duration::from_secs(1);
/// Launchers that are parked ahead of calls.
pub const LAUNCHERS_PARKED: usize = 8;
/// Most launchers that are parked after a burst of calls.
pub const LAUNCHERS_PARKED_MAX: usize = 16;
/// How long after the last call that found no launcher only the usual number is parked again.
pub const LAUNCHERS_QUIET: Duration = Duration::from_secs(5);
/// A call that leaves fewer parked launchers than this asks for more ahead of its own command; else more are
/// asked for when half are missing and a call has been answered.
pub const LAUNCHERS_LEFT_MIN: usize = 2;
/// Most launchers that are asked for in one message.
pub const LAUNCHERS_ASKED_MAX: usize = 64;
/// How often the parked launchers are looked at, in passing: a launcher that was killed is then reaped.
pub const PARKED_ROUND: Duration = Duration::from_secs(1);
/// Most descriptors that one running call holds; of version 2, its adapter has two more, from the share of
/// the connections that wait.
pub const CALL_FDS_MAX: usize = 13;
/// Descriptors that a call holds besides, where rules capture or hide terminals: captures, their
/// directories, the relay's channel and handle.
pub const RELAY_FDS_MAX: usize = 11;
/// Descriptors that one rules file holds: its manifest, the mark and the journal's socket. Those that the
/// next manifest takes while it is opened count as the broker's own.
pub const RULESET_FDS_MAX: usize = 3;
/// Descriptors of the broker besides those of sockets and calls, two for each parked launcher among them.
pub const BROKER_FDS_SPARE: usize = 56 + 2 * LAUNCHERS_PARKED_MAX;
/// The listen backlog that the broker asks for; the kernel's `somaxconn` bounds it.
pub const BACKLOG: i32 = 4096;
/// How long no connection is accepted where there is no room, or the kernel has no descriptor or memory.
pub const ACCEPT_BACKOFF: Duration = Duration::from_millis(50);
/// How long after the kernel last had no descriptor or memory the shortage counts as over.
pub const EXHAUSTED_QUIET: Duration = Duration::from_secs(1);

/// How much longer than [`TERM_GRACE`] a manager that stops a scope waits before it kills: the broker kills
/// first, and reads the call's accounts before the scope is gone.
pub const SCOPE_STOP_SPARE: Duration = Duration::from_millis(250);
/// How often an anchor that was sent SIGTERM looks whether it is alone in its scope.
pub const ANCHOR_ROUND: Duration = Duration::from_millis(20);

/// How often the broker looks for its own socket's file where the watch on the file fails.
pub const SOCKET_WATCH_ROUND: Duration = Duration::from_secs(1);
/// How long a call waits for a scope, and the broker for a manager's answer.
pub const SCOPE_WAIT: Duration = Duration::from_secs(5);
/// How long a starting broker waits for the manager to say whether the broker's cgroup is delegated, if its
/// rules can do without; otherwise it waits for [`SCOPE_WAIT`].
pub const DELEGATION_WAIT: Duration = Duration::from_secs(1);
/// How long a call that could have a delegated cgroup instead waits for a bus that was not reached yet.
pub const SCOPE_PATIENCE: Duration = Duration::from_secs(2);
/// How long the cgroup of a call that left processes running is left alone before it is looked at again.
pub const GROUP_ROUND: Duration = Duration::from_secs(1);
/// Slots of one socket, each with a launcher, that are kept beside those that calls had at one time lately.
pub const SLOTS_SPARE: usize = 3;
/// Slots that are cleaned together, as long as another is free.
pub const SLOTS_CLEANED: usize = 2;
/// Scopes of one socket that are being made at one time, unless more calls wait.
pub const SCOPES_MAKING: usize = 4;
/// How long after as many calls as lately ran at one time only the slots in use and the spare ones are kept.
pub const SCOPES_QUIET: Duration = Duration::from_secs(5);
/// How long after its last call a socket has no slot any more.
pub const SCOPES_SLEEP: Duration = Duration::from_secs(60);
/// How long no scope is asked for after the manager said that it stops what the scope would belong to.
pub const STOPPED_PAUSE: Duration = Duration::from_millis(50);
/// How long after a manager was lost it is looked for again, at first: the time doubles with each try.
pub const BUS_RETRY_MIN: Duration = Duration::from_millis(200);
/// The longest such time.
pub const BUS_RETRY_MAX: Duration = Duration::from_secs(10);
/// The buffer for messages from a message bus.
pub const BUS_BUFFER_BYTES: usize = 4096;
/// Descriptors that one slot with a parked launcher holds: fewer than a call, of which there is none instead.
pub const PARKED_FDS_MAX: usize = 10;
/// How long a call runs before the description of its scope names it.
pub const DESCRIPTION_DELAY: Duration = Duration::from_millis(50);
/// Most characters of a scope's description.
pub const SCOPE_DESCRIPTION_CHARS_MAX: usize = 200;
/// Most bytes of a socket's name, escaped, inside a unit's name.
pub const SCOPE_TAG_BYTES_MAX: usize = 160;
/// Most bytes that are read of one file of a cgroup.
pub const CGROUP_FILE_BYTES_MAX: u64 = 1 << 20;
/// Most cgroups below the cgroup of a call that are looked for when the call ends. Processes in further ones
/// are killed all the same.
pub const CGROUPS_BELOW_MAX: usize = 1024;
/// Most bytes of a unit's name, as systemd has it.
pub const UNIT_NAME_BYTES_MAX: usize = 255;

// Audit.

/// Most bytes of an argument list in one record; a longer one is cut, with its length and hash.
pub const RECORD_ARGV_BYTES_MAX: usize = 8 * 1024;
/// Most bytes of one record.
pub const RECORD_BYTES_MAX: usize = 64 * 1024;
/// Most bytes of a line of a manifest that can be a record; no broker writes a longer one.
pub const RECORD_LINE_BYTES_MAX: usize = 4 * RECORD_BYTES_MAX;
/// Runs of lines that are told apart in one file; in a run, each line follows the one before it. Of more
/// runs, some in the middle are given up.
pub const RUNS_MAX: usize = 64;
/// Places of a file, each of one line or of several, in which no record stands; a broker does not go on
/// writing to a file with more of them.
pub const FOREIGN_PLACES_MAX: usize = 64 * 1024;
/// The highest number that a broker goes on from. Above it there are 2^32 more below 2^53, up to which every
/// reader of JSON is exact.
pub const CALL_NUMBER_MAX: u64 = (1 << 53) - (1 << 32);
/// Equal refusals within this time become one record with a count.
pub const DEDUP_WINDOW: Duration = Duration::from_secs(1);
/// Equal refusals that have a record each before the counting begins.
pub const DEDUP_AFTER: u64 = 2;
/// Kinds of refusals that are counted at one time.
pub const DEDUP_KINDS_MAX: usize = 64;
/// Bytes of refusals' records that a socket may write from its own budget.
pub const REFUSAL_OWN_BYTES: u64 = 64 * 1024;
/// Bytes of a socket's own budget that come back each second.
pub const REFUSAL_OWN_BYTES_PER_SECOND: u64 = 4 * 1024;
/// Bytes that a socket may write besides, as long as the budget of all sockets together has them.
pub const REFUSAL_SOCKET_BYTES: u64 = 192 * 1024;
/// Bytes of this second budget of a socket that come back each second.
pub const REFUSAL_SOCKET_BYTES_PER_SECOND: u64 = 24 * 1024;
/// Bytes that all sockets of a broker may write together, besides the own budget of each.
pub const REFUSAL_BROKER_BYTES: u64 = 512 * 1024;
/// Bytes of the budget of all sockets that come back each second.
pub const REFUSAL_BROKER_BYTES_PER_SECOND: u64 = 64 * 1024;
/// Bytes that the record of a refusal counts as at the least, however short it is.
pub const REFUSAL_COST_BYTES_MIN: u64 = 2 * 1024;
/// Most processes, and most users, that a record of many refusals names.
pub const REFUSAL_CALLERS_MAX: usize = 8;
/// Most bytes of a refusal's explanation in its record.
pub const RECORD_DETAIL_BYTES_MAX: usize = 1024;
/// Bytes of the mark beside a manifest.
pub const MARK_BYTES: usize = 96;
/// Bytes on disk that are reserved for the end of each running call.
pub const END_ROOM_BYTES: u64 = 2 * 1024;
/// Bytes on disk that are reserved at a time, where the disk has as many.
pub const ROOM_STEP_BYTES: u64 = 64 * 1024;
/// Ends of calls that are kept in memory while they cannot be written; the calls of further ends are
/// recorded as lost by the next broker.
pub const BACKLOG_ENDS_MAX: usize = 8192;
/// Bytes at the end of a manifest in which its `close`, and the end of the line before that, are looked for.
pub const CLOSE_BYTES_MAX: usize = 1024;
/// The buffer that a manifest is read with.
pub const SCAN_BUFFER_BYTES: usize = 256 * 1024;
/// Most bytes that a packed manifest may unpack to.
pub const UNPACKED_BYTES_MAX: u64 = 64 << 30;
/// Most bytes of the window of a zstd file, which its reader keeps in memory: the windows of
/// `zstd --ultra -22` and `--long`.
pub const ZSTD_WINDOW_BYTES_MAX: u64 = 128 << 20;
/// Most symbolic links followed on the way to one file.
pub const LINKS_MAX: usize = 40;
/// How long a call waits for a nursery to make a process for it, before the call is refused.
pub const NURSERY_WAIT: Duration = Duration::from_secs(10);
/// How long one round of killing waits for processes to end before it looks again.
pub const KILL_ROUND: Duration = Duration::from_millis(20);
/// How long a scope may take to freeze before it is looked at again.
pub const FREEZE_ROUND: Duration = Duration::from_millis(1);
/// How long a scope may take to become empty before it is looked at, or killed, again.
pub const SCOPE_ROUND: Duration = Duration::from_millis(100);
/// How long after the start of one nursery the next one is started, at the earliest.
pub const NURSERY_BACKOFF: Duration = Duration::from_millis(200);
/// The longest such time: it doubles with each nursery in a row that made no launcher.
pub const NURSERY_BACKOFF_MAX: Duration = Duration::from_secs(5);
/// How long sending descriptors to a launcher, or a request to the nursery, is tried again while the user
/// has too many descriptors on their way, or the queue is full.
pub const SEND_WAIT: Duration = Duration::from_secs(3);
/// How long a launcher or relay may take to receive the descriptors of its request.
pub const TAKING_MAX: Duration = Duration::from_secs(5);
/// How often an adapter tries to send a request's descriptors on while the user has too many in flight, with
/// a rest of [`SEND_RETRY`] between two tries.
pub const ADAPTER_SEND_TRIES: u32 = 1500;
/// How long a request of version 2 waits at first for an adapter to take it, and how long it then rests in
/// its connection before the next try; the time doubles with each.
pub const REQUEST_REST_MIN: Duration = Duration::from_millis(20);
/// The longest such time.
pub const REQUEST_REST_MAX: Duration = Duration::from_secs(1);
/// Such tries before the request is refused; it is taken out as soon as there is an adapter.
pub const REQUEST_TRIES_MAX: u32 = 16;
/// How long an adapter that was killed while it took a request may take to be gone; then its line is closed.
pub const ADAPTER_KILL_GRACE: Duration = Duration::from_secs(1);
/// How long an adapter may take after a call to close the caller's pipes, before it is killed.
pub const ADAPTER_PATIENCE: Duration = Duration::from_secs(5);
/// How long after a call an adapter counts as late: usually it needs microseconds.
pub const ADAPTER_LATE: Duration = Duration::from_millis(100);
/// How long a broker that ends waits for adapters to pass on the last frames of their requests.
pub const ADAPTERS_END_MAX: Duration = Duration::from_millis(500);
/// Adapters without a request that are kept for the next one.
pub const ADAPTERS_IDLE_MAX: usize = 4;
/// Adapters of one socket that are late, or were killed and have not ended. With as many, the one that has
/// been late for longest is killed for the next request of version 2; where as many were killed and do not
/// end, that request waits in its connection.
pub const SOCKET_ADAPTERS_STUCK_MAX: usize = 64;
/// Most bytes of frames that an adapter is sent in one message.
pub const FRAME_PIECE_BYTES: usize = 4096;
/// How long a thread waits until an adapter takes the next piece of a listing.
pub const FRAME_SEND_MAX: Duration = Duration::from_secs(1);
/// How long after one forwarded signal the next one is forwarded, at the earliest.
pub const SIGNAL_INTERVAL: Duration = Duration::from_millis(1);
/// Orders that are still forwarded where they lie in *control* after its end.
pub const LAST_ORDERS_MAX: usize = 16;
/// How long a command that catches SIGTSTP has to put its terminal right before it is stopped.
pub const STOP_AFTER: Duration = Duration::from_millis(100);
/// How long a call waits for its place before its caller is told.
pub const QUEUED_AFTER: Duration = Duration::from_secs(1);
/// Lanes of a FIFO door: callers that can hand in a request at one time.
pub const DOOR_LANES: usize = 8;
/// How long a request may take to come through a FIFO, after its first byte.
pub const LANE_REQUEST_MAX: Duration = Duration::from_secs(5);
/// Bytes that a FIFO door reads at a time.
pub const LANE_READ_BYTES: usize = 16 * 1024;
/// How long after a FIFO door ended it is opened again, at the earliest.
pub const DOOR_RETRY: Duration = Duration::from_secs(1);
/// How long after it could not be opened a FIFO door is opened again.
pub const DOOR_FAILED_RETRY: Duration = Duration::from_secs(10);
/// How long a FIFO door rests before it tries again to pass on a request for which there was no room.
pub const DOOR_SEND_RETRY: Duration = Duration::from_millis(20);
/// How long a FIFO door may take to remove its lanes before it is killed.
pub const DOOR_END_MAX: Duration = Duration::from_millis(500);
/// How long a caller waits for a free lane of a FIFO door.
pub const LANE_WAIT: Duration = Duration::from_secs(10);
/// How long a caller of a FIFO door rests between two looks for a free lane.
pub const LANE_RETRY: Duration = Duration::from_millis(2);
/// The buffer in which a caller of a FIFO door moves a stream.
pub const PUMP_BYTES: usize = 64 * 1024;
/// How long the sender rests between two tries.
pub const SEND_RETRY: Duration = Duration::from_millis(2);

// Captures.

/// Most bytes of one capture, unless `capture_max` says otherwise.
pub const CAPTURE_BYTES_DEFAULT: u64 = 64 << 20;
/// Bytes of a program in which `check` looks for its interpreter, as the kernel does (`BINPRM_BUF_SIZE`).
pub const INTERPRETER_BYTES_MAX: u64 = 256;
/// Bytes that are allocated for a new capture, to see that its place works.
pub const CAPTURE_PROBE_BYTES: u16 = 4096;
/// The size of the pipe in place of a captured descriptor, where the user may have one of it.
pub const RELAY_PIPE_BYTES: i32 = 256 * 1024;
/// Most bytes that a capture is ahead of the reader of the stream: then the writer waits.
pub const RELAY_AHEAD_MAX: u64 = 1 << 20;
/// The buffer of one stream for bytes that are captured or cannot be spliced.
pub const RELAY_BUFFER_BYTES: usize = 256 * 1024;
/// How long a call that is being ended waits for its caller to take the next byte.
pub const RELAY_PATIENCE: Duration = Duration::from_millis(200);
/// How long the processes in a scope with a relay are killed one by one, before the whole scope is killed at
/// once, the relay with it.
pub const RELAY_SPARED_MAX: Duration = Duration::from_secs(2);
/// How long a relay that was killed may take to be gone before it is no longer waited for.
pub const RELAY_KILL_GRACE: Duration = Duration::from_millis(500);
/// How long after its end, or its timeout, the last bytes of a call may be on their way.
pub const DRAIN_MAX: Duration = Duration::from_secs(2);

// systemd.

/// Connections that a broker without rules in force holds unread; more stay in the backlog.
pub const UNSERVED_CONNECTIONS_MAX: usize = 64;
/// How often such a broker looks whether its rules files have changed.
pub const UNSERVED_ROUND: Duration = Duration::from_secs(2);
/// How long after such a broker began to read its rules files it reads them again, at the earliest, unless
/// it is told to reload; ten times as long as the reading took, where that is more.
pub const UNSERVED_TRY_MIN: Duration = Duration::from_millis(200);
/// How long a broker that cannot start waits for room in the manager's queue of notify messages, to say why.
pub const NOTIFY_SEND_MAX: Duration = Duration::from_secs(1);
/// How long after the message of a start, a reload or a stop found no room in that queue it is sent again.
pub const NOTIFY_RETRY: Duration = Duration::from_millis(50);
/// Messages of starts, reloads and stops that wait for room in that queue; of more, the oldest are dropped.
pub const NOTIFY_BACKLOG_MAX: usize = 16;
/// Bytes of notices that wait for stderr; those that find no room are counted, and told by number.
pub const NOTICES_BYTES_MAX: usize = 256 << 10;
/// How long a broker that ends waits for stderr to take the notices that are left.
pub const NOTICES_LAST_WAIT: Duration = Duration::from_secs(1);
/// How long after one status line the next one is sent, at the earliest.
pub const STATUS_INTERVAL: Duration = Duration::from_millis(200);
/// Most characters of a status line.
pub const STATUS_CHARS_MAX: usize = 400;
/// Most characters of a refused command line in a status line.
pub const SUMMARY_CHARS_MAX: usize = 80;
/// The shortest time between two watchdog messages, however short the watchdog's time is.
pub const WATCHDOG_INTERVAL_MIN: Duration = Duration::from_millis(10);
/// How long sending an entry to the journal waits for room in its queue.
pub const JOURNAL_SEND_MAX: Duration = Duration::from_millis(100);
/// How long after an entry found no room the broker does not wait for room, and the journal counts as lost.
pub const JOURNAL_REST: Duration = Duration::from_secs(3);
/// Most characters of the sentence for a person in an entry of the journal.
pub const JOURNAL_MESSAGE_CHARS_MAX: usize = 400;
/// Most bytes of one entry, as `journalctl` prints it with the fields that are asked for.
pub const JOURNAL_LINE_BYTES_MAX: u64 = 64 * 1024;
/// How much later than its record an entry may stand in the journal, in milliseconds.
pub const JOURNAL_LATE_MAX_MS: u64 = 100;
/// Most bytes of the error output of `journalctl` that a message repeats.
pub const JOURNAL_SAID_BYTES_MAX: u64 = 1024;

// The output of commands.

/// The blocks in which `sluice log` reads a manifest; a longer line is left out.
pub const LOG_BLOCK_BYTES: usize = 4 << 20;
/// Calls that `sluice log` shows unless it is told how many.
pub const LOG_CALLS_DEFAULT: usize = 20;
/// Columns of a terminal from which on `sluice log` shows each call's date and caller, too.
pub const LOG_COLUMNS_WIDE: usize = 110;
/// How long `sluice log --follow` waits before it looks again.
pub const LOG_FOLLOW_INTERVAL: Duration = Duration::from_millis(200);
/// The blocks in which a capture is shown on a terminal.
pub const CAPTURE_BLOCK_BYTES: usize = 64 * 1024;
/// Rules that `sluice log` names where it has nothing to show.
pub const SHOWN_RULES_MAX: usize = 16;
/// Calls that a remark of `sluice verify` names.
pub const SHOWN_CALLS_MAX: usize = 8;
