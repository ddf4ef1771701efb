//! What one row measures: a way to run a command once.

use std::fs::File;
use std::io::{self, Write};
use std::sync::Arc;

use crate::caller::Caller;
use crate::groups::Groups;
use crate::manager::{Manager, Properties};
use crate::piped::PipedCaller;
use crate::spawn::Line;

/// A named way to run a command once.
#[derive(Debug)]
pub struct Subject {
    /// How the table calls it.
    pub name: &'static str,
    way: Way,
    /// The status of a run that went well.
    good: i32,
}

#[derive(Debug)]
enum Way {
    Direct(Line),
    Brokered(Caller),
    Piped(PipedCaller),
    InScope(Arc<Manager>, Properties),
    InGroup(Groups),
    Durable(File),
}

/// About what one record of a call is.
const RECORD: [u8; 400] = [b'x'; 400];

impl Subject {
    /// `posix_spawn` and `waitpid` of a command line.
    pub fn direct(name: &'static str, words: &[&str]) -> io::Result<Self> {
        Ok(Self { name, way: Way::Direct(Line::new(words)?), good: 0 })
    }

    /// A command line run as it is.
    pub fn line(name: &'static str, line: Line) -> Self {
        Self { name, way: Way::Direct(line), good: 0 }
    }

    /// A process in a scope, without a broker.
    pub fn in_scope(name: &'static str, manager: &Arc<Manager>, properties: Properties) -> Self {
        Self { name, way: Way::InScope(manager.clone(), properties), good: 0 }
    }

    /// A process in a group of its own, without a broker.
    pub fn in_group(name: &'static str, groups: Groups) -> Self {
        Self { name, way: Way::InGroup(groups), good: 0 }
    }

    /// A call through a broker, from this process, in version 1.
    pub fn brokered(name: &'static str, caller: Caller) -> Self {
        Self { name, way: Way::Brokered(caller), good: 0 }
    }

    /// The same in version 2.
    pub fn piped(name: &'static str, caller: PipedCaller) -> Self {
        Self { name, way: Way::Piped(caller), good: 0 }
    }

    /// No command at all: a record's length appended to a file, and synced.
    pub fn durable(name: &'static str, file: File) -> Self {
        Self { name, way: Way::Durable(file), good: 0 }
    }

    /// One that is to end with another status than 0.
    pub fn ending(self, good: i32) -> Self {
        Self { good, ..self }
    }

    /// That this way really runs commands: `/bin/false` has to fail by it.
    pub fn verify(&self) -> io::Result<()> {
        match self.status()? {
            1 => Ok(()),
            status => Err(io::Error::other(format!("{}: /bin/false ended with {status}", self.name))),
        }
    }

    /// Runs it once. Anything but the status that it is to end with, 0 unless told otherwise, is an error.
    pub fn once(&self) -> io::Result<()> {
        match self.status()? {
            status if status == self.good => Ok(()),
            status => Err(io::Error::other(format!("status {status}"))),
        }
    }

    fn status(&self) -> io::Result<i32> {
        match &self.way {
            Way::Direct(line) => line.run(),
            Way::Brokered(caller) => caller.call(),
            Way::Piped(caller) => caller.call(),
            Way::InScope(manager, properties) => manager.run(*properties),
            Way::InGroup(groups) => groups.run(),
            Way::Durable(file) => {
                (&*file).write_all(&RECORD)?;
                file.sync_data().map(|()| 0)
            }
        }
    }
}
