//! The rate at which a captured stream passes: against `tee` into a file on the same disk, and against another broker,
//! in one run, with stdout to `/dev/null`, to a pipe that is read, and to a file.

use std::fs::{self, DirBuilder};
use std::io::{self, Read, Write};
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};
use std::process::{self, Child, Command, ExitCode, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use clap::{Parser, Subcommand};
use nix::sys::signal::{Signal, kill};
use nix::unistd::{Pid, geteuid};
use sluice_bench::caller::dial;

/// How long a broker may take to accept a first connection.
const START_MAX: Duration = Duration::from_secs(10);
const LOOK_EVERY: Duration = Duration::from_millis(5);
/// What a program that is in no hurry writes at once.
const BLOCK_BYTES: usize = 128 * 1024;
const MIB: u64 = 1 << 20;

/// Measures captured streams against tee, in one run.
#[derive(Debug, Parser)]
struct Args {
    #[command(subcommand)]
    role: Option<Role>,
    /// The broker of this project, and its client
    #[arg(long, num_args = 2, value_names = ["BROKER", "CLIENT"])]
    ours: Vec<PathBuf>,
    /// The broker to compare with, and its client
    #[arg(long, num_args = 2, value_names = ["BROKER", "CLIENT"])]
    peer: Vec<PathBuf>,
    /// Where captures and files go: a disk, or memory
    #[arg(long, default_value_os_t = std::env::temp_dir())]
    dir: PathBuf,
    /// Bytes of one stream, in MiB
    #[arg(long, default_value_t = 1024)]
    mib: u64,
    /// Interleaved rounds
    #[arg(long, default_value_t = 5)]
    rounds: usize,
}

/// What this program is when it is run by itself.
#[derive(Clone, Copy, Debug, Subcommand)]
enum Role {
    /// Writes so many MiB
    Produce { mib: u64 },
    /// Reads to the end
    Consume,
}

fn main() -> ExitCode {
    let args = Args::parse();
    let done = match args.role {
        Some(Role::Produce { mib }) => produce(mib * MIB),
        Some(Role::Consume) => io::copy(&mut io::stdin().lock(), &mut io::sink()).map(drop),
        None => measure(&args),
    };
    if let Err(error) = done {
        eprintln!("capture: {error}");
        return ExitCode::from(2);
    }
    ExitCode::SUCCESS
}

fn produce(bytes: u64) -> io::Result<()> {
    let mut block = io::repeat(b'x').take(bytes);
    let mut buffer = vec![0; BLOCK_BYTES];
    // Not `io::stdout`, which looks for line ends.
    let mut out = fs::File::options().write(true).open("/dev/stdout")?;
    loop {
        let read = block.read(&mut buffer)?;
        if read == 0 {
            return Ok(());
        }
        out.write_all(&buffer[..read])?;
    }
}

/// A way to have a stream captured: the shell's words for it, and where the capture is.
struct Subject {
    name: &'static str,
    line: String,
    captures: PathBuf,
    _broker: Option<Served>,
}

fn measure(args: &Args) -> io::Result<()> {
    let own = std::env::current_exe()?;
    let dir = args.dir.join(format!("sluice-capture-{}", process::id()));
    DirBuilder::new().mode(0o700).create(&dir)?;
    let producing = format!("{} produce {}", own.display(), args.mib);
    let mut subjects = vec![tee(&dir, &producing)?];
    for (name, programs) in [("sluice", &args.ours), ("sluicify-0.4.1", &args.peer)] {
        if let [broker, client] = &programs[..] {
            subjects.push(brokered(name, broker, client, &dir, &producing)?);
        }
    }
    println!(
        "GB/s of {} MiB in {}: median (least to most) of {} rounds",
        args.mib,
        args.dir.display(),
        args.rounds
    );
    let consuming = format!("| {} consume", own.display());
    let file = dir.join("file");
    for (sink, words) in
        [("null", "> /dev/null".to_owned()), ("pipe", consuming), ("file", format!("> {}", file.display()))]
    {
        let mut rates = vec![Vec::new(); subjects.len()];
        for _ in 0..args.rounds {
            for (subject, rates) in subjects.iter().zip(&mut rates) {
                rates.push(once(subject, &words, args.mib * MIB)?);
                fs::remove_file(&file).or_else(not_there)?;
            }
        }
        for (subject, rates) in subjects.iter().zip(&mut rates) {
            rates.sort_by(f64::total_cmp);
            let (least, most) = (rates[0], rates[rates.len() - 1]);
            println!(
                "{sink:>5}  {:<15} {:.2} ({least:.2} to {most:.2})",
                subject.name,
                rates[rates.len() / 2]
            );
        }
    }
    drop(subjects);
    fs::remove_dir_all(dir)
}

fn not_there(error: io::Error) -> io::Result<()> {
    if error.kind() == io::ErrorKind::NotFound { Ok(()) } else { Err(error) }
}

fn tee(dir: &Path, producing: &str) -> io::Result<Subject> {
    let captures = dir.join("tee");
    fs::create_dir(&captures)?;
    let line = format!("{producing} | tee {}", captures.join("c").display());
    Ok(Subject { name: "tee", line, captures, _broker: None })
}

fn brokered(
    name: &'static str,
    broker: &Path,
    client: &Path,
    dir: &Path,
    producing: &str,
) -> io::Result<Subject> {
    let home = dir.join(name);
    let captures = home.join("captures");
    DirBuilder::new().mode(0o700).create(&home)?;
    DirBuilder::new().mode(0o700).create(&captures)?;
    let is_ours = name == "sluice";
    let more = if is_ours { "  capture_max = none\n  scope = off\n  journal = off\n" } else { "" };
    let (logfile, stdoutfile) = (home.join("manifest.jsonl"), captures.join("c#$call"));
    let rules = format!(
        "defaults:\n  logfile = {}\n  stdoutfile = {}\n{more}\n{producing}\n",
        logfile.display(),
        stdoutfile.display()
    );
    let served = Served::start(broker, &home, &rules, is_ours && geteuid().is_root())?;
    let line = format!("{} {} {producing}", client.display(), served.socket.display());
    Ok(Subject { name, line, captures, _broker: Some(served) })
}

/// One stream's rate in GB/s; what was captured has to be all of it.
fn once(subject: &Subject, sink: &str, bytes: u64) -> io::Result<f64> {
    let began = Instant::now();
    let status = Command::new("sh").args(["-c", &format!("{} {sink}", subject.line)]).status()?;
    let took = began.elapsed();
    let mut captured = 0;
    for entry in fs::read_dir(&subject.captures)? {
        let entry = entry?;
        captured += entry.metadata()?.len();
        fs::remove_file(entry.path())?;
    }
    if !status.success() || captured != bytes {
        return Err(io::Error::other(format!("{}: {status}, {captured} bytes of {bytes}", subject.name)));
    }
    // GiB of a stream are few enough for a float to hold their bytes.
    Ok(f64::from(u32::try_from(bytes / MIB).map_err(io::Error::other)?) * 1.048_576e-3 / took.as_secs_f64())
}

/// A running broker; ended when this is dropped.
struct Served {
    child: Child,
    socket: PathBuf,
}

impl Served {
    fn start(program: &Path, home: &Path, rules: &str, allow_root: bool) -> io::Result<Self> {
        let (file, socket) = (home.join("capture.rules"), home.join("sock"));
        fs::write(&file, rules)?;
        let child = Command::new(program)
            .args(["serve".as_ref(), "--rules".as_ref(), file.as_os_str()])
            .args(["--socket".as_ref(), socket.as_os_str()])
            .args(allow_root.then_some("--allow-root"))
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(fs::File::create(home.join("stderr"))?)
            .spawn()?;
        let mut served = Self { child, socket };
        let end = Instant::now() + START_MAX;
        while let Err(error) = dial(&served.socket) {
            if served.child.try_wait()?.is_some() || Instant::now() >= end {
                let said = fs::read_to_string(home.join("stderr"))?;
                return Err(io::Error::other(format!("the broker does not serve ({error}):\n{said}")));
            }
            thread::sleep(LOOK_EVERY);
        }
        Ok(served)
    }
}

impl Drop for Served {
    fn drop(&mut self) {
        let pid = i32::try_from(self.child.id()).unwrap_or_default();
        // It may have ended by itself; its directory is removed next.
        kill(Pid::from_raw(pid), Signal::SIGTERM).ok();
        self.child.wait().ok();
    }
}
