//! What one row measures: a way to run a command once.

use std::io;

use crate::caller::Caller;
use crate::spawn::Line;

/// A named way to run a command once.
#[derive(Debug)]
pub struct Subject {
    /// How the table calls it.
    pub name: &'static str,
    way: Way,
}

#[derive(Debug)]
enum Way {
    Direct(Line),
    Brokered(Caller),
}

impl Subject {
    /// `posix_spawn` and `waitpid` of a command line.
    pub fn direct(name: &'static str, words: &[&str]) -> io::Result<Self> {
        Ok(Self { name, way: Way::Direct(Line::new(words)?) })
    }

    /// A call through a broker, from this process.
    pub fn brokered(name: &'static str, caller: Caller) -> Self {
        Self { name, way: Way::Brokered(caller) }
    }

    /// That this way really runs commands: `/bin/false` has to fail by it.
    pub fn verify(&self) -> io::Result<()> {
        match self.status()? {
            1 => Ok(()),
            status => Err(io::Error::other(format!("{}: /bin/false ended with {status}", self.name))),
        }
    }

    /// Runs it once. Anything but status 0 is an error.
    pub fn once(&self) -> io::Result<()> {
        match self.status()? {
            0 => Ok(()),
            status => Err(io::Error::other(format!("status {status}"))),
        }
    }

    fn status(&self) -> io::Result<i32> {
        match &self.way {
            Way::Direct(line) => line.run(),
            Way::Brokered(caller) => caller.call(),
        }
    }
}
