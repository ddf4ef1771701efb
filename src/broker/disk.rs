//! What the pure modules ask of the disk: the text of rules files, and where a path lies.

use std::collections::BTreeSet;
use std::io::{self, Read};
use std::path::{Path, PathBuf};

use crate::audit::{trusted_directory, trusted_file};
use crate::limits::RULES_BYTES_MAX;
use crate::rules::{Paths, Policy, Source, Vars, load};
use crate::spawn::Environment;

use super::notice::LoadError;

/// The real disk.
#[derive(Clone, Copy, Debug)]
pub struct Disk;

impl Source for Disk {
    /// A rules file that nobody else can write, as text.
    fn read(&self, path: &Path) -> io::Result<String> {
        let file = trusted_file(path)?;
        let mut text = Vec::new();
        file.take(RULES_BYTES_MAX as u64 + 1).read_to_end(&mut text)?;
        String::from_utf8(text).map_err(|error| {
            let place = error.utf8_error().valid_up_to();
            io::Error::new(io::ErrorKind::InvalidData, format!("not UTF-8 from byte {place} on"))
        })
    }
}

impl Paths for Disk {
    fn lies_under(&self, cwd: &Path, value: &str, dir: &Path) -> bool {
        let Ok(dir) = dir.canonicalize() else { return false };
        resolve(&cwd.join(value)).is_some_and(|path| path.starts_with(dir))
    }
}

/// Where a path leads with every link followed. Its last component need not exist; but a link that leads nowhere
/// does exist, and whoever opens it for writing makes the file that it names.
fn resolve(path: &Path) -> Option<PathBuf> {
    if let Ok(resolved) = path.canonicalize() {
        return Some(resolved);
    }
    let (parent, name) = (path.parent()?, path.file_name()?);
    if path.symlink_metadata().is_ok() {
        return None;
    }
    Some(parent.canonicalize().ok()?.join(name))
}

/// Reads the rules of `path`, absolute, and looks at what they trust: the places where programs are looked up.
pub fn load_rules(path: &Path, environment: &Environment) -> Result<Policy, LoadError> {
    let variable = |name| environment.get(name).and_then(|value| value.to_str()).map(str::to_owned);
    let vars = Vars { home: variable("HOME"), runtime_dir: variable("XDG_RUNTIME_DIR") };
    let policy = load(path, &Disk, &vars).map_err(LoadError::Rules)?;
    if policy.rules().is_empty() {
        return Err(LoadError::Empty(path.to_owned()));
    }
    let directories = policy.rules().iter().flat_map(|rule| environment.exec_path(&rule.settings));
    for directory in directories.collect::<BTreeSet<_>>() {
        trusted_directory(&directory).map_err(|distrust| LoadError::ExecPath(distrust.to_string()))?;
    }
    Ok(policy)
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::os::unix::fs::symlink;

    use super::*;

    #[test]
    fn a_path_lies_where_its_links_lead() {
        let own = tempfile::tempdir().expect("a directory");
        let top = own.path();
        fs::create_dir_all(top.join("in/sub")).expect("directories");
        fs::write(top.join("in/file"), "").expect("a file");
        fs::write(top.join("outside"), "").expect("a file");
        symlink(top.join("outside"), top.join("in/link")).expect("a link");
        symlink(top.join("nowhere"), top.join("in/dangling")).expect("a link");
        symlink("/", top.join("in/up")).expect("a link");
        let check = |value: &str| Disk.lies_under(&top.join("in"), value, &top.join("in"));
        for value in [
            "file",
            "new",
            "sub/new",
            "sub/../file",
            ".",
            "./sub",
            top.join("in/file").to_str().expect("plain"),
        ] {
            assert!(check(value), "{value}");
        }
        for value in [
            "link",
            "dangling",
            "up/etc/passwd",
            "../outside",
            "..",
            "sub/../..",
            "no/new",
            "/etc/passwd",
            "new/..",
        ] {
            assert!(!check(value), "{value}");
        }
    }
}
