//! `sluice init NAME --for AGENT`: makes the ways into an agent's sandbox that its user would otherwise make
//! by hand, and with `--undo` takes them away again. It changes what it made, and nothing else.

mod files;
mod steps;

use std::env;
use std::fmt;
use std::io;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use clap::ValueEnum;
use nix::unistd::getuid;

use super::exit::{answer_whole, fail};
use super::mcp::PROGRAM;
use steps::{InitStep, StepOutcome};

/// A program whose sandbox is to reach a gate.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(super) enum AgentKind {
    /// Claude Code.
    Claude,
    /// The codex command line.
    Codex,
    /// The sandbox runtime (`@anthropic-ai/sandbox-runtime`).
    Srt,
}

impl AgentKind {
    const ALL: [Self; 3] = [Self::Claude, Self::Codex, Self::Srt];

    /// The name of its program.
    fn program(self) -> &'static str {
        match self {
            Self::Claude => "claude",
            Self::Codex => "codex",
            Self::Srt => "srt",
        }
    }
}

/// The places that the steps need.
#[derive(Debug)]
struct InitPlaces {
    home: PathBuf,
    /// `~/.local/share/sluice/NAME`.
    own: PathBuf,
    socket: PathBuf,
    sluice: PathBuf,
    sluicify: PathBuf,
}

/// The reason why nothing was done.
#[derive(Debug)]
enum InitError {
    Name(String),
    NoHome,
    NoClient(PathBuf),
    Io(io::Error),
}

impl fmt::Display for InitError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Name(name) => {
                write!(f, "{name:?} is no name here: it has letters, digits, - and _ alone, and no - first")
            }
            Self::NoHome => write!(f, "HOME is not set"),
            Self::NoClient(place) => {
                write!(f, "sluicify is neither beside {} nor on PATH: install it first", place.display())
            }
            Self::Io(source) => source.fmt(f),
        }
    }
}

/// Makes what `agent` needs to reach the gate `name`, or takes it away.
pub(super) fn run(name: &str, agent: AgentKind, socket: Option<PathBuf>, is_undo: bool) -> ExitCode {
    let places = match InitPlaces::find(name, socket, is_undo) {
        Ok(places) => places,
        Err(why) => return fail(&format!("sluice: {why}")),
    };
    let steps = steps(name, agent, &places);
    let is_shared = is_undo && places.has_another(agent);
    let work = |step: &InitStep| {
        if is_shared && matches!(step, InitStep::Copy { .. }) {
            return Ok(StepOutcome::Kept);
        }
        if is_undo { step.undo() } else { step.apply() }
    };
    let (mut outcomes, mut failure) = (Vec::new(), None);
    for step in &steps {
        match work(step) {
            Ok(outcome) => outcomes.push((step, outcome)),
            Err(source) => {
                failure = Some(format!("sluice: {}: {source}", step.path().display()));
                break;
            }
        }
    }
    let answered = answer_whole(|out| {
        for (step, outcome) in &outcomes {
            writeln!(out, "{outcome:<9} {}", step.shown())?;
        }
        if !is_undo && failure.is_none() {
            places.missing(agent).iter().try_for_each(|missing| writeln!(out, "missing   {missing}"))?;
            let start = places.own.join(agent.program());
            writeln!(out, "start it by  {}", crate::text::quoted(&start.to_string_lossy()))?;
            writeln!(out, "undo by      sluice init {name} --for {} --undo", agent.program())?;
        }
        let is_left = outcomes.iter().any(|(_, outcome)| *outcome == StepOutcome::Left);
        Ok(if is_left { ExitCode::from(super::exit::NO) } else { ExitCode::SUCCESS })
    });
    failure.map_or(answered, |failure| fail(&failure))
}

impl InitPlaces {
    /// The places of the gate `name`. The client has to be there to be copied, and not for `is_undo`.
    fn find(name: &str, socket: Option<PathBuf>, is_undo: bool) -> Result<Self, InitError> {
        // What an agent takes as the name of an MCP server: no dot.
        let is_word = |name: &str| {
            let is_plain = |byte: u8| byte.is_ascii_alphanumeric() || b"_-".contains(&byte);
            !name.is_empty() && name.bytes().all(is_plain) && !name.starts_with('-')
        };
        if !is_word(name) {
            return Err(InitError::Name(name.to_owned()));
        }
        let home = env::var_os("HOME").map(PathBuf::from).filter(|home| home.is_absolute());
        let home = home.ok_or(InitError::NoHome)?;
        let runtime = env::var_os("XDG_RUNTIME_DIR").map(PathBuf::from).filter(|path| path.is_absolute());
        let runtime = runtime.unwrap_or_else(|| format!("/run/user/{}", getuid()).into());
        let socket = socket.unwrap_or_else(|| runtime.join("sluice").join(name).join("sock"));
        let sluice = env::current_exe().map_err(InitError::Io)?;
        let sluicify = installed(&sluice, "sluicify").or_else(|| is_undo.then(|| "sluicify".into()));
        let sluicify = sluicify.ok_or_else(|| InitError::NoClient(sluice.clone()))?;
        let socket = std::path::absolute(socket).map_err(InitError::Io)?;
        Ok(Self { own: home.join(".local/share/sluice").join(name), home, socket, sluice, sluicify })
    }

    /// Whether another agent of the gate is started with the same stand-in for bwrap.
    fn has_another(&self, agent: AgentKind) -> bool {
        AgentKind::ALL.iter().any(|other| *other != agent && self.own.join(other.program()).exists())
    }

    /// What has to be there before the agent can reach the gate, and is not there yet.
    fn missing(&self, agent: AgentKind) -> Vec<String> {
        let gate = (!self.socket.exists())
            .then(|| format!("{}: no gate is there; README.md says how one is made", self.socket.display()));
        let has_entry = agent != AgentKind::Srt;
        let server = (has_entry && installed(&self.sluice, PROGRAM).is_none())
            .then(|| format!("{PROGRAM}, which the entry starts: cargo install --path packaging/mcp"));
        gate.into_iter().chain(server).collect()
    }
}

/// A program of this project: beside this one, or on PATH.
fn installed(sluice: &Path, program: &str) -> Option<PathBuf> {
    let path = env::var_os("PATH").unwrap_or_default();
    let beside = sluice.parent().map(Path::to_owned);
    let mut candidates = beside.into_iter().chain(env::split_paths(&path));
    candidates.find_map(|dir| Some(dir.join(program)).filter(|found| found.is_file()))
}

/// What there is to make for an agent.
fn steps(name: &str, agent: AgentKind, places: &InitPlaces) -> Vec<InitStep> {
    let bin = places.own.join("bin");
    let mut steps = vec![
        InitStep::Copy { path: bin.join("bwrap"), of: places.sluicify.clone() },
        InitStep::Script {
            path: places.own.join(agent.program()),
            text: start_script(name, agent, &bin, &places.socket),
        },
    ];
    let entry = format!("sluice-{name}");
    let variable = |variable: &str, usual: &str| {
        env::var_os(variable).map_or_else(|| places.home.join(usual), PathBuf::from)
    };
    match agent {
        AgentKind::Claude => {
            let file = env::var_os("CLAUDE_CONFIG_DIR")
                .map_or_else(|| places.home.clone(), PathBuf::from)
                .join(".claude.json");
            steps.push(InitStep::JsonEntry {
                path: file,
                object: "mcpServers",
                key: entry,
                value: mcp(places),
            });
        }
        AgentKind::Codex => {
            let file = variable("CODEX_HOME", ".codex").join("config.toml");
            steps.push(InitStep::Block {
                path: file,
                name: entry.clone(),
                text: codex_entry(&entry, places),
            });
        }
        AgentKind::Srt => {}
    }
    steps
}

/// The script that starts an agent with the stand-in for bwrap first on its PATH.
fn start_script(name: &str, agent: AgentKind, bin: &Path, socket: &Path) -> String {
    let program = agent.program();
    let word = |path: &Path| crate::text::quoted(&path.to_string_lossy()).into_owned();
    format!(
        "#!/bin/sh\n\
         # Starts {program} so that the commands in its sandbox reach the gate {name}: the program called bwrap in\n\
         # this directory opens a connection to the gate, and becomes the real bwrap.\n\
         # Made by: sluice init {name} --for {program}\n\
         PATH={}:$PATH\n\
         SLUICE_SOCKET={}\n\
         export PATH SLUICE_SOCKET\n\
         exec {program} \"$@\"\n",
        word(bin),
        word(socket)
    )
}

/// The entry of an MCP server in a JSON file.
fn mcp(places: &InitPlaces) -> serde_json::Value {
    serde_json::json!({
        "type": "stdio",
        "command": places.sluice.to_string_lossy(),
        "args": ["mcp", "--socket", places.socket.to_string_lossy()],
    })
}

/// The entry of an MCP server in codex's configuration. What a rule allows needs no question: the rule is the
/// permission.
fn codex_entry(entry: &str, places: &InitPlaces) -> String {
    let text = |path: &Path| serde_json::Value::from(path.to_string_lossy()).to_string();
    format!(
        "[mcp_servers.{entry}]\n\
         command = {}\n\
         args = [\"mcp\", \"--socket\", {}]\n\
         default_tools_approval_mode = \"approve\"\n",
        text(&places.sluice),
        text(&places.socket)
    )
}
