//! What a broker says on stderr, line by line, while it runs.

use std::io::{BufRead as _, BufReader, Read};
use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

/// The lines so far, and a way to wait for the next.
#[derive(Clone, Debug, Default)]
pub(crate) struct Stderr(Arc<(Mutex<Said>, Condvar)>);

#[derive(Debug, Default)]
struct Said {
    lines: Vec<String>,
    over: bool,
}

impl Stderr {
    /// Reads `source` to its end on a thread of its own.
    pub(crate) fn follow(source: impl Read + Send + 'static) -> Self {
        let stderr = Self::default();
        let said = stderr.clone();
        thread::spawn(move || {
            for line in BufReader::new(source).split(b'\n').map_while(Result::ok) {
                said.change(|said| said.lines.push(String::from_utf8_lossy(&line).into_owned()));
            }
            said.change(|said| said.over = true);
        });
        stderr
    }

    /// How many lines there are.
    pub(crate) fn count(&self) -> usize {
        self.0.0.lock().unwrap_or_else(PoisonError::into_inner).lines.len()
    }

    /// Everything so far.
    pub(crate) fn text(&self) -> String {
        self.0.0.lock().unwrap_or_else(PoisonError::into_inner).lines.join("\n")
    }

    /// The first line from the `from`th on that holds `part`; `None` when the end or the deadline came first.
    pub(crate) fn line_with(&self, part: &str, from: usize, limit: Duration) -> Option<String> {
        let find = |said: &Said| said.lines.iter().skip(from).find(|line| line.contains(part)).cloned();
        self.until(limit, |said| find(said).is_some() || said.over, find)
    }

    /// Everything, once the other end is closed.
    pub(crate) fn whole(&self, limit: Duration) -> String {
        self.until(limit, |said| said.over, |said| said.lines.join("\n"))
    }

    fn until<T>(&self, limit: Duration, ready: impl Fn(&Said) -> bool, take: impl Fn(&Said) -> T) -> T {
        let end = Instant::now() + limit;
        let mut said = self.0.0.lock().unwrap_or_else(PoisonError::into_inner);
        while !ready(&said) && Instant::now() < end {
            let left = end.saturating_duration_since(Instant::now());
            said = self.0.1.wait_timeout(said, left).unwrap_or_else(PoisonError::into_inner).0;
        }
        take(&said)
    }

    fn change(&self, change: impl FnOnce(&mut Said)) {
        change(&mut self.0.0.lock().unwrap_or_else(PoisonError::into_inner));
        self.0.1.notify_all();
    }
}
