//! `sluice-mcp`: serves the rules of a broker as tools of the Model Context Protocol, on stdin and stdout. It
//! asks the broker as every caller does, and has no rights of its own. `server.rs` is the file to read next.

mod failure;
mod limits;
mod listing;
mod names;
mod output;
mod pattern;
mod place;
mod progress;
mod report;
mod request;
mod server;
mod stdin;
mod streams;
mod tools;

use std::ffi::OsString;
use std::io::{self, Write};
use std::process::ExitCode;

use nix::sys::resource::{Resource, getrlimit, setrlimit};
use rmcp::ServiceExt;
use rmcp::service::ServerInitializeError;
use rmcp::transport::stdio_pipes;
use tokio::runtime::Builder;
use tokio_util::sync::CancellationToken;

use place::BrokerPlace;
use server::GateServer;
use stdin::WatchedReader;

/// The text that `--help` prints.
const HELP: &str = "\
Serves the rules of a sluice broker as tools of the Model Context Protocol, on stdin and stdout.

usage: sluice-mcp --socket PATH|-
       sluice-mcp --version | --help

PATH is the broker's socket; - stands for the one that $SLUICE_FD or $SLUICE_SOCKET names.
";

/// Exit code for wrong usage, and for an environment that names no broker.
const USAGE_ERROR: u8 = 2;

/// Threads that drive the calls.
const THREADS: usize = 2;

/// Threads that may wait: for a broker to take a request, and for a stdin and a stdout that are no pipes.
const WAITING_THREADS_MAX: usize = limits::OPENINGS_MAX + 4;

/// What the arguments ask for.
#[derive(Debug, PartialEq, Eq)]
enum ServerCommand {
    Serve(OsString),
    Print(&'static str),
}

fn main() -> ExitCode {
    let arguments: Vec<_> = std::env::args_os().skip(1).collect();
    let served = parse(&arguments).and_then(|command| match command {
        ServerCommand::Print(text) => print(text).map_err(|error| format!("stdout: {error}")),
        ServerCommand::Serve(socket) => BrokerPlace::named(&socket).and_then(serve),
    });
    match served {
        Ok(()) => ExitCode::SUCCESS,
        Err(problem) => {
            // Without a stderr only the code is left.
            io::stderr().write_all(format!("sluice-mcp: {problem}\n").as_bytes()).ok();
            ExitCode::from(USAGE_ERROR)
        }
    }
}

fn parse(arguments: &[OsString]) -> Result<ServerCommand, String> {
    let words: Vec<_> = arguments.iter().map(|word| word.to_str()).collect();
    match words[..] {
        [Some("--version" | "-V")] => {
            Ok(ServerCommand::Print(concat!("sluice-mcp ", env!("CARGO_PKG_VERSION"), "\n")))
        }
        [Some("--help" | "-h")] => Ok(ServerCommand::Print(HELP)),
        [Some("--socket"), Some("")] => Err("the socket's path is empty (an unset variable?)".to_owned()),
        [Some("--socket"), _] => arguments.last().cloned().map(ServerCommand::Serve).ok_or_else(String::new),
        _ => Err("usage: sluice-mcp --socket PATH|-".to_owned()),
    }
}

fn print(text: &str) -> io::Result<()> {
    let mut stdout = io::stdout();
    stdout.write_all(text.as_bytes())?;
    stdout.flush()
}

/// Serves one client, until it closes this program's stdin.
fn serve(place: BrokerPlace) -> Result<(), String> {
    // A call has up to eleven descriptors. With the lower limit fewer calls are under way at once.
    if let Ok((_, hard)) = getrlimit(Resource::RLIMIT_NOFILE) {
        setrlimit(Resource::RLIMIT_NOFILE, hard, hard).ok();
    }
    let runtime = Builder::new_multi_thread()
        .worker_threads(THREADS)
        .max_blocking_threads(WAITING_THREADS_MAX)
        .enable_all()
        .build()
        .map_err(|error| format!("the runtime cannot start: {error}"))?;
    let served = runtime.block_on(serve_client(place));
    // A thread that reads stdin, or waits for a broker, is not waited for.
    runtime.shutdown_background();
    served
}

async fn serve_client(place: BrokerPlace) -> Result<(), String> {
    let client_gone = CancellationToken::new();
    let (stdin, stdout) = stdio_pipes();
    let transport = (WatchedReader::new(stdin, client_gone.clone()), stdout);
    match GateServer::new(place, client_gone).serve(transport).await {
        Ok(served) => served.waiting().await.map(drop).map_err(|error| error.to_string()),
        // A client that says nothing at all.
        Err(ServerInitializeError::ConnectionClosed(_)) => Ok(()),
        Err(error) => Err(error.to_string()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(line: &str, want: Result<ServerCommand, &str>) {
        let arguments: Vec<OsString> = line.split(' ').skip(1).map(OsString::from).collect();
        assert_eq!(parse(&arguments), want.map_err(str::to_owned), "{line}");
    }

    #[test]
    fn the_arguments_name_a_socket() {
        check("sluice-mcp --socket /run/s", Ok(ServerCommand::Serve("/run/s".into())));
        check("sluice-mcp --socket -", Ok(ServerCommand::Serve("-".into())));
        check("sluice-mcp --help", Ok(ServerCommand::Print(HELP)));
        check("sluice-mcp --socket ", Err("the socket's path is empty (an unset variable?)"));
        check("sluice-mcp", Err("usage: sluice-mcp --socket PATH|-"));
        check("sluice-mcp /run/s", Err("usage: sluice-mcp --socket PATH|-"));
    }
}
