//! What confinement costs: calls of a command under each built-in profile in turn with the same command
//! unconfined, by one broker; then longer work, many opens and a build, confined and not in turn.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::time::Instant;

use clap::Args as Arguments;
use nix::unistd::geteuid;

use crate::broker::Broker;
use crate::budget::Budget;
use crate::caller::Caller;
use crate::sample::{Figure, Rounds, Spread};
use crate::subject::Subject;
use crate::table::{Line, Part};

const COMMAND: &str = "/bin/true";
const PLAIN: &str = "unconfined";
/// The profiles without a mount namespace, and those with one, each with its budget.
const PROFILES: [(&str, f64); 4] = [("system", 1.1), ("workspace", 1.5), ("git", 1.5), ("build", 1.5)];
const WORK_BUDGET: f64 = 1.05;

/// Measures calls under each built-in profile against unconfined ones.
#[derive(Debug, Arguments)]
pub struct Args {
    /// The broker
    #[arg(long, value_name = "PATH", default_value = "sluice")]
    broker: PathBuf,
    /// Rounds
    #[arg(long, default_value_t = 7)]
    rounds: usize,
    /// Calls of each way in a round
    #[arg(long, default_value_t = 300)]
    turns: usize,
    /// Opens of one process
    #[arg(long, default_value_t = 20_000)]
    opens: u32,
    /// Runs of each long work in turn
    #[arg(long, default_value_t = 9)]
    works: usize,
    /// Open a file so many times, and nothing else
    #[arg(long, hide = true, value_name = "FILE")]
    pub open: Option<PathBuf>,
}

/// The command whose opens are measured.
pub fn open_many(args: &Args, file: &Path) -> io::Result<()> {
    (0..args.opens).try_for_each(|_| fs::File::open(file).map(drop))
}

/// Measures everything.
pub fn run(args: &Args) -> io::Result<Part> {
    let tree = small_tree()?;
    let part = measure(args, &tree);
    fs::remove_dir_all(&tree)?;
    part
}

/// A small tree, on a disk and outside of `/tmp`, as a user's is.
fn small_tree() -> io::Result<PathBuf> {
    let tree = Path::new("/var/tmp").join(format!("sluice-bench-{}-confined", std::process::id()));
    fs::create_dir_all(tree.join("src"))?;
    fs::write(
        tree.join("Cargo.toml"),
        "[package]\nname = \"small\"\nversion = \"0.1.0\"\nedition = \"2024\"\n",
    )?;
    let functions = (0..200).map(|n| format!("fn f{n}(x: u64) -> u64 {{ x.wrapping_mul({n}) ^ x }}\n"));
    let sum = (0..200).map(|n| format!("f{n}(x)")).collect::<Vec<_>>().join(" ^ ");
    let main = format!("fn main() {{ let x = std::process::id().into(); println!(\"{{}}\", {sum}); }}\n");
    fs::write(tree.join("src/main.rs"), functions.collect::<String>() + &main)?;
    Ok(tree)
}

fn measure(args: &Args, tree: &Path) -> io::Result<Part> {
    let as_root: &[&str] = if geteuid().is_root() { &["--allow-root"] } else { &[] };
    let defaults =
        "  scope = off\n  journal = off\n  env = HOME,RUSTUP_HOME,CARGO_HOME\n  exec_path = inherit\n";
    let broker = Broker::with_rules("confined", &args.broker, as_root, defaults, &rules(args, tree)?)?;
    let called =
        |name, words: &[&str]| io::Result::Ok(Subject::brokered(name, Caller::new(&broker.socket(), words)?));
    let mut part = Part::default();
    for (profile, most) in PROFILES {
        let pair = [called(PLAIN, &[COMMAND])?, called(profile, &[COMMAND, profile])?];
        let rounds = Rounds::in_blocks(&[pair], args.rounds, args.turns);
        let line = rounds.line(&format!("confine = {profile}"), profile, PLAIN, Figure::P50);
        part.lines.push(line.within(Budget::at_most(most)));
    }
    let opens: [Subject; 2] = [called(PLAIN, &["open"])?, called("workspace", &["open", "workspace"])?];
    part.lines.push(works(
        &format!("{} opens, confine = workspace", args.opens),
        &opens,
        args.works,
        || Ok(()),
    )?);
    let builds: [Subject; 2] =
        [called(PLAIN, &["cargo", "build"])?, called("build", &["cargo", "-q", "build"])?];
    let clean = || match fs::remove_dir_all(tree.join("target")) {
        Err(source) if source.kind() != io::ErrorKind::NotFound => Err(source),
        _ => Ok(()),
    };
    part.lines.push(works("cargo build, confine = build", &builds, args.works, clean)?);
    Ok(part)
}

/// The rules of what is measured: each program once unconfined, and once with a word more and confined.
fn rules(args: &Args, tree: &Path) -> io::Result<String> {
    let cwd = tree.display();
    let calls =
        PROFILES.map(|(profile, _)| format!("{COMMAND} {profile}\n  confine = {profile}\n  cwd = {cwd}\n\n"));
    let own = std::env::current_exe()?;
    let bin = tree.join("open");
    fs::write(
        &bin,
        format!(
            "#!/bin/sh\nexec {} confined --opens {} --open {cwd}/Cargo.toml\n",
            own.display(),
            args.opens
        ),
    )?;
    fs::set_permissions(&bin, std::os::unix::fs::PermissionsExt::from_mode(0o755))?;
    let above = own.parent().unwrap_or(Path::new("/")).display();
    Ok(format!(
        "{COMMAND}\n\n{}open\n  exec_path = {cwd}\n  cwd = {cwd}\n\nopen workspace\n  exec_path = {cwd}\n  \
         confine = workspace\n  exec = {above}\n  cwd = {cwd}\n\ncargo build\n  cwd = {cwd}\n\ncargo -q build\n  \
         cwd = {cwd}\n  confine = build\n",
        calls.concat()
    ))
}

/// A line of work that takes long: each way once a round, in turn.
fn works(
    what: &str,
    [plain, confined]: &[Subject; 2],
    rounds: usize,
    before: impl Fn() -> io::Result<()>,
) -> io::Result<Line> {
    let time = |subject: &Subject| {
        before()?;
        let begun = Instant::now();
        subject.once().map_err(|source| io::Error::other(format!("{what}, {}: {source}", subject.name)))?;
        io::Result::Ok(begun.elapsed().as_secs_f64() * 1000.0)
    };
    // The first of each warms caches that the others find warm.
    time(plain)?;
    time(confined)?;
    let pairs: Vec<_> =
        (0..rounds).map(|_| Ok((time(plain)?, time(confined)?))).collect::<io::Result<_>>()?;
    let ratio = Spread::of(pairs.iter().map(|(plain, confined)| confined / plain));
    let plain = Spread::of(pairs.iter().map(|(plain, _)| *plain));
    let line = Line::new(what, "ms", Spread::of(pairs.iter().map(|(_, confined)| *confined)));
    Ok(line.over(PLAIN, plain, ratio).within(Budget::at_most(WORK_BUDGET)))
}
