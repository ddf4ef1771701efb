//! The flags of `sluice`, in one table, and how their values are read.

use std::ffi::OsString;
use std::path::PathBuf;

use clap::{Args, Parser, Subcommand};

use crate::audit::{CallCount, RuleQuery};
use crate::ids::RuleLine;
use crate::spawn::NurseryRole;

use super::init::AgentKind;
use super::log::parse_when;
use super::verify::{JournalChoice, parse_journal};

/// The outbound gate for sandboxed processes: runs what a rule allows, with the caller's own stdio, on
/// record.
#[derive(Debug, Parser)]
#[command(name = "sluice", version, after_help = "The language of rules files: sluice help rules")]
pub(super) struct Sluice {
    #[command(subcommand)]
    pub(super) verb: Verb,
}

#[derive(Debug, Subcommand)]
pub(super) enum Verb {
    /// Serve rules on sockets.
    Serve {
        /// The name of the rules, or their file.
        #[arg(long, value_name = "NAME|FILE", required_unless_present = "rules_dir")]
        rules: Option<PathBuf>,
        /// A directory with NAME.rules for each socket that systemd hands over by the name NAME.
        #[arg(long, value_name = "DIR", conflicts_with_all = ["rules", "socket"])]
        rules_dir: Option<PathBuf>,
        /// The socket to make; without it, the sockets that systemd hands over (LISTEN_FDS).
        #[arg(long, value_name = "PATH")]
        socket: Option<PathBuf>,
        /// Open a FIFO door in this directory: callers that cannot use sockets write there.
        #[arg(long, value_name = "DIR", conflicts_with = "rules_dir")]
        fifo_dir: Option<PathBuf>,
        /// Serve as root, where every command is root's; refused otherwise.
        #[arg(long)]
        allow_root: bool,
    },
    /// Say what is wrong with rules, or what they allow.
    Check {
        /// The names of rules, or files; `-` is standard input.
        #[arg(required = true, value_name = "NAME|FILE|-")]
        rules: Vec<OsString>,
        /// Exit 1 for a warning, too.
        #[arg(long)]
        deny_warnings: bool,
        /// Answer as JSON, one value a line.
        #[arg(long)]
        json: bool,
        /// Say what is wrong or odd, and nothing else.
        #[arg(short, long)]
        quiet: bool,
    },
    /// Say which rule a command line meets, or why none. Runs nothing.
    Match {
        /// Answer as JSON.
        #[arg(long)]
        json: bool,
        /// The name of the rules, or their file; `-` is standard input.
        #[arg(value_name = "NAME|FILE|-")]
        rules: OsString,
        /// The command line.
        #[arg(required = true, trailing_var_arg = true, allow_hyphen_values = true)]
        argv: Vec<OsString>,
    },
    /// Say how a command line would run: its rule, its program, and all that it may do. Runs nothing.
    Explain {
        /// Answer as JSON.
        #[arg(long)]
        json: bool,
        /// The name of the rules, or their file; `-` is standard input.
        #[arg(value_name = "NAME|FILE|-")]
        rules: OsString,
        /// The command line.
        #[arg(required = true, trailing_var_arg = true, allow_hyphen_values = true)]
        argv: Vec<OsString>,
    },
    /// Try what profiles promise, on this kernel: what is held, what is not, and what cannot be told.
    Selftest {
        /// The profile; without one, the built-in profiles.
        profile: Option<String>,
        /// The name of the rules that have the profile, or their file.
        #[arg(long, value_name = "NAME|FILE", requires = "profile")]
        rules: Option<OsString>,
        /// The directory for the test's own files; the home, if it is left out.
        #[arg(long, value_name = "DIR")]
        dir: Option<PathBuf>,
        /// Answer as JSON, one value a line.
        #[arg(long)]
        json: bool,
        /// Make an attempt in this process, on these targets; for the test itself.
        #[arg(long, hide = true, alias = "control", num_args = 2, value_names = ["ATTEMPT", "TARGETS"])]
        attempt: Vec<OsString>,
    },
    /// Show the calls on record.
    Log(LogArgs),
    /// Say whether a manifest is what its broker wrote, and the first line that is not.
    Verify {
        /// The name of the rules, for all files of their manifest; or the files of one manifest, rotated ones
        /// too, in any order, packed with gzip or zstd or not.
        #[arg(required = true, value_name = "NAME|FILE")]
        files: Vec<OsString>,
        /// The journal to compare with: any, user, system, none, or a directory.
        #[arg(long, value_name = "WHICH", default_value = "any", value_parser = parse_journal)]
        journal: JournalChoice,
        /// What cannot be shown is a no, as what does not fit is.
        #[arg(long)]
        strict: bool,
        /// Answer as JSON.
        #[arg(long)]
        json: bool,
    },
    /// Make the ways from an agent's sandbox to a gate, or take them away.
    Init {
        /// The name of the gate.
        name: String,
        /// The agent.
        #[arg(long = "for", value_name = "AGENT")]
        agent: AgentKind,
        /// The gate's socket; without it, the one of the user's units.
        #[arg(long, value_name = "PATH")]
        socket: Option<PathBuf>,
        /// Take away what this command made.
        #[arg(long)]
        undo: bool,
    },
    /// Serve a broker's rules as tools of the Model Context Protocol, on stdin and stdout (needs sluice-mcp).
    Mcp {
        /// The broker's socket; `-` is the one that $SLUICE_FD or $SLUICE_SOCKET names.
        #[arg(long, value_name = "PATH|-", allow_hyphen_values = true)]
        socket: OsString,
    },
    /// Print the version.
    Version,
    /// Makes processes for the broker; started by it alone.
    #[command(name = NurseryRole::ARGUMENT, hide = true)]
    Nursery { broker: i32, open_files: u64 },
}

/// The flags of `sluice log`.
#[derive(Debug, Args)]
pub(super) struct LogArgs {
    /// The name of the rules, or the file of a manifest; the rules `default` if there is none.
    #[arg(conflicts_with = "file", value_name = "NAME|FILE")]
    pub(super) name: Option<String>,
    /// The manifest, instead of that of a name; what rotation made of it is read too.
    #[arg(long, value_name = "FILE")]
    pub(super) file: Option<PathBuf>,
    /// The last N calls, or all. The last 20, unless a time or a call is given.
    #[arg(short = 'n', long, value_name = "N", value_parser = parse_count)]
    pub(super) lines: Option<CallCount>,
    /// Go on with what is written from now on.
    #[arg(short, long, conflicts_with_all = ["call", "output", "until"])]
    pub(super) follow: bool,
    /// Calls from this time on: RFC 3339, "YYYY-MM-DD HH:MM", HH:MM, today, yesterday, -1h.
    #[arg(long, value_name = "WHEN", value_parser = parse_when, allow_hyphen_values = true)]
    pub(super) since: Option<u64>,
    /// Calls up to this time.
    #[arg(long, value_name = "WHEN", value_parser = parse_when, allow_hyphen_values = true)]
    pub(super) until: Option<u64>,
    /// All that is on record of one call.
    #[arg(long, value_name = "N", conflicts_with_all = ["rejects", "rule", "lines", "since", "until"])]
    pub(super) call: Option<u64>,
    /// Refusals only.
    #[arg(long)]
    pub(super) rejects: bool,
    /// Calls of a rule: its line when they were made, FILE:LINE for one that was included, or text of the
    /// command line.
    #[arg(long, value_name = "LINE|TEXT", allow_hyphen_values = true, value_parser = |text: &str| Ok::<_, String>(parse_rule(text)))]
    pub(super) rule: Option<RuleQuery>,
    /// The records as they are, one a line.
    #[arg(long)]
    pub(super) json: bool,
    /// What the command of one call printed, where it was captured.
    #[arg(long, value_name = "N", conflicts_with_all = ["call", "rejects", "rule", "lines", "since", "until", "json"])]
    pub(super) output: Option<u64>,
    /// With --output: what it wrote to stderr.
    #[arg(long, requires = "output", conflicts_with = "stdin")]
    pub(super) stderr: bool,
    /// With --output: what it read.
    #[arg(long, requires = "output")]
    pub(super) stdin: bool,
}

/// The value of `--lines`.
fn parse_count(text: &str) -> Result<CallCount, String> {
    match text {
        "all" => Ok(CallCount::All),
        _ => text.parse().map(CallCount::Last).map_err(|_| "it is a number, or `all`".to_owned()),
    }
}

/// The value of `--rule`: a line of the rules file, `FILE:LINE` of an included one, or text of the command.
fn parse_rule(text: &str) -> RuleQuery {
    let line = |text: &str| text.parse().ok().map(RuleLine::new);
    let place = text.rsplit_once(':').and_then(|(file, number)| Some((file, line(number)?)));
    match (line(text), place) {
        (Some(line), _) => RuleQuery::Line(line),
        (None, Some((file, line))) if file.starts_with('/') => RuleQuery::Place(file.to_owned(), line),
        _ => RuleQuery::Text(text.to_owned()),
    }
}
