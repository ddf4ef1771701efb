//! Rules by their name: the place where a broker of the installed units has `NAME.rules`, and the names that
//! there are. Every command that takes a name in the place of a file uses this.

use std::collections::BTreeSet;
use std::ffi::OsStr;
use std::fs;
use std::io;
use std::path::{Path, PathBuf, absolute};

use nix::unistd::User;

use crate::broker::{InspectedRules, inspect, read_rules};
use crate::spawn::Environment;
use crate::text::{quoted, visible};

/// The name of the rules that `sluice.service` serves.
pub(super) const DEFAULT: &str = "default";
/// The user who runs the system's brokers, and that user's home where the user database has none.
const SYSTEM_USER: &str = "sluice";
const SYSTEM_HOME: &str = "/var/lib/sluice";

/// The rules that a command line names as NAME, FILE or `-`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum RulesArgument {
    /// The text on standard input, and the path that stands for it: includes are relative to the working
    /// directory.
    Stdin(PathBuf),
    /// A file: absolute, and not looked at yet.
    File(PathBuf),
    /// A file in the directory where the units' brokers have theirs, and the home of the broker that serves
    /// it.
    Named { file: PathBuf, home: PathBuf },
}

impl RulesArgument {
    /// The rules that this word names. A word with a `/` in it, or with `.rules` at its end, is a file; any
    /// other is a name, or a file of that name in the working directory. The error lists the names that there
    /// are.
    pub(super) fn find(word: &OsStr) -> Result<Self, String> {
        Self::find_in(&places(), word)
    }

    fn find_in(places: &[RulesDirectories], word: &OsStr) -> Result<Self, String> {
        let text = word.to_string_lossy();
        let path = absolute(word).unwrap_or_else(|_| PathBuf::from(word));
        match &*text {
            "" => return Err("an empty word names no rules".into()),
            "-" => return Ok(Self::Stdin(path.with_file_name("<stdin>"))),
            text if text.ends_with(".rules") && !text.contains('/') && !path.exists() => {
                let known = said_names(places);
                let name = text.trim_end_matches(".rules");
                return Err(format!(
                    "no file {} is here; rules are named without `.rules`, as in {}; {known}",
                    quoted(text),
                    quoted(name)
                ));
            }
            text if text.contains('/') || text.ends_with(".rules") => {
                let place = places.iter().find(|place| path.parent() == Some(&place.rules));
                return Ok(match place {
                    Some(place) => Self::Named { file: path, home: place.home.clone() },
                    None => Self::File(path),
                });
            }
            _ => {}
        }
        for place in places {
            let file = place.rules_file(&text);
            if file.exists() {
                return Ok(Self::Named { file, home: place.home.clone() });
            }
        }
        if path.is_file() { Ok(Self::File(path)) } else { Err(no_such_name(places, &text)) }
    }

    /// Whether a broker of the installed units serves the rules from where they are.
    pub(super) fn is_served(&self) -> bool {
        matches!(self, Self::Named { .. })
    }

    /// The rules file, absolute.
    pub(super) fn file(&self) -> &Path {
        match self {
            Self::Stdin(file) | Self::File(file) | Self::Named { file, .. } => file,
        }
    }

    /// The environment that the broker of these rules has, as far as this process knows it.
    pub(super) fn environment(&self) -> Environment {
        match self {
            Self::Stdin(_) | Self::File(_) => Environment::current(),
            Self::Named { home, .. } => Environment::current().with_home(home.clone()),
        }
    }

    /// Reads and inspects the rules, also from a file that a broker would not trust.
    pub(super) fn inspect(&self) -> InspectedRules {
        let text = match self {
            Self::Stdin(_) => Some(read_rules(io::stdin().lock())),
            Self::File(_) | Self::Named { .. } => None,
        };
        inspect(self.file(), text, &self.environment())
    }
}

/// The directories of the rules and the state of one manager's brokers.
#[derive(Debug)]
pub(super) struct RulesDirectories {
    rules: PathBuf,
    home: PathBuf,
}

impl RulesDirectories {
    /// The rules file of a name, whether it is there or not.
    pub(super) fn rules_file(&self, name: &str) -> PathBuf {
        self.rules.join(format!("{name}.rules"))
    }

    /// The home of the user who runs the brokers.
    pub(super) fn home(&self) -> &Path {
        &self.home
    }
}

/// The directories of this user, then those of the system.
pub(super) fn places() -> Vec<RulesDirectories> {
    let variable = |name: &str| std::env::var_os(name).map(PathBuf::from).filter(|path| path.is_absolute());
    let mut places = Vec::new();
    if let Some(home) = variable("HOME") {
        let config = variable("XDG_CONFIG_HOME").unwrap_or_else(|| home.join(".config"));
        places.push(RulesDirectories { rules: config.join("sluice"), home });
    }
    let system = User::from_name(SYSTEM_USER).ok().flatten().map(|user| user.dir);
    places.push(RulesDirectories {
        rules: "/etc/sluice".into(),
        home: system.unwrap_or_else(|| SYSTEM_HOME.into()),
    });
    places
}

/// The message that no rules have this name, with the paths that were tried and the names that there are.
pub(super) fn no_such_name(places: &[RulesDirectories], name: &str) -> String {
    let tried: Vec<_> = places.iter().map(|place| place.rules_file(name).display().to_string()).collect();
    let known = said_names(places);
    format!(
        "no rules are named {}: neither {} is there; {known}; a file is named with a `/`, as in ./{}",
        quoted(name),
        visible(&tried.join(" nor ")),
        visible(name)
    )
}

/// A clause that lists the names that there are.
fn said_names(places: &[RulesDirectories]) -> String {
    let known = known_names(places);
    if known.is_empty() {
        return "there are no rules in either place".to_owned();
    }
    format!("the names are: {}", known.into_iter().collect::<Vec<_>>().join(", "))
}

/// The names of the rules in these places.
fn known_names(places: &[RulesDirectories]) -> BTreeSet<String> {
    let files = places.iter().filter_map(|place| fs::read_dir(&place.rules).ok()).flatten().flatten();
    let name = |file: fs::DirEntry| {
        let name = file.file_name().to_string_lossy().strip_suffix(".rules").map(str::to_owned);
        name.map(|name| quoted(&name).into_owned())
    };
    files.filter_map(name).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(word: &str, want: &Result<RulesArgument, &str>) {
        let own = tempfile::tempdir().expect("a directory");
        let top = own.path();
        for name in ["user/agent.rules", "user/both.rules", "system/both.rules", "system/ci.rules"] {
            let file = top.join(name);
            fs::create_dir_all(file.parent().expect("it has one")).expect("a directory");
            fs::write(file, "true\n").expect("a file");
        }
        let place =
            |name: &str| RulesDirectories { rules: top.join(name), home: Path::new("/home").join(name) };
        let found = RulesArgument::find_in(&[place("user"), place("system")], OsStr::new(word));
        let short = |path: PathBuf| match path.strip_prefix(top) {
            Ok(short) => short.to_owned(),
            Err(_) => path,
        };
        let found = found.map(|asked| match asked {
            RulesArgument::Named { file, home } => RulesArgument::Named { file: short(file), home },
            other @ (RulesArgument::Stdin(_) | RulesArgument::File(_)) => other,
        });
        let found = found.map_err(|why| why.replace(top.to_str().expect("plain"), ""));
        assert_eq!(found.as_ref().map_err(String::as_str), want.as_ref().map_err(|want| *want));
    }

    #[test]
    fn a_name_is_the_users_then_the_systems() {
        let named = |file: &str, home: &str| RulesArgument::Named { file: file.into(), home: home.into() };
        check("agent", &Ok(named("user/agent.rules", "/home/user")));
        check("both", &Ok(named("user/both.rules", "/home/user")));
        check("ci", &Ok(named("system/ci.rules", "/home/system")));
    }

    #[test]
    fn a_file_has_a_slash_or_its_ending() {
        check("/x/agent", &Ok(RulesArgument::File("/x/agent".into())));
        let here = std::env::current_dir().expect("there is one");
        check("-", &Ok(RulesArgument::Stdin(here.join("<stdin>"))));
        let want = "no file agent.rules is here; rules are named without `.rules`, as in agent; the names are: agent, both, ci";
        check("agent.rules", &Err(want));
        check("Cargo.toml", &Ok(RulesArgument::File(here.join("Cargo.toml"))));
    }

    #[test]
    fn a_name_that_is_not_there_is_told_with_those_that_are() {
        let want = "no rules are named agnt: neither /user/agnt.rules nor /system/agnt.rules is there; \
                    the names are: agent, both, ci; a file is named with a `/`, as in ./agnt";
        check("agnt", &Err(want));
        check("", &Err("an empty word names no rules"));
    }
}
