//! Reading and writing a user's files whole.

use std::fs::{self, OpenOptions, Permissions};
use std::io::{self, Write};
use std::os::unix::fs::{OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};

/// The text of a file; `None` where there is none.
pub(super) fn read(path: &Path) -> io::Result<Option<String>> {
    match fs::read_to_string(path) {
        Ok(text) => Ok(Some(text)),
        Err(source) if source.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(source) => Err(source),
    }
}

/// Writes a file whole or not at all, with the mode that it has, or with `mode`. A link stays one: the file
/// behind it is written.
pub(super) fn write_whole(path: &Path, content: impl AsRef<[u8]>, mode: u32) -> io::Result<()> {
    let path = fs::canonicalize(path).unwrap_or_else(|_| behind_link(path));
    path.parent().map_or(Ok(()), fs::create_dir_all)?;
    let mode = fs::metadata(&path).map_or(mode, |found| found.permissions().mode() & 0o7777);
    let draft = draft_of(&path);
    let mut file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(&draft)?;
    let written = file
        .write_all(content.as_ref())
        .and_then(|()| file.set_permissions(Permissions::from_mode(mode)))
        .and_then(|()| file.sync_all())
        .and_then(|()| fs::rename(&draft, &path));
    // A draft that cannot be removed either is left.
    written.inspect_err(|_| drop(fs::remove_file(&draft)))
}

/// The file that a link names which is not there yet; a path that is no link.
fn behind_link(path: &Path) -> PathBuf {
    match (fs::read_link(path), path.parent()) {
        (Ok(target), Some(directory)) => directory.join(target),
        _ => path.to_owned(),
    }
}

fn draft_of(path: &Path) -> PathBuf {
    let mut name = path.file_name().unwrap_or_default().to_owned();
    name.push(format!(".{}.new", std::process::id()));
    path.with_file_name(name)
}

/// Removes the directories above a file that are empty, up to that of all gates.
pub(super) fn remove_empty(path: &Path) {
    let is_own =
        |directory: &&Path| directory.ancestors().skip(1).any(|above| above.ends_with("share/sluice"));
    for directory in path.ancestors().skip(1).take_while(is_own) {
        if fs::remove_dir(directory).is_err() {
            return;
        }
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::symlink;

    use super::*;

    #[test]
    fn a_link_stays_one_whether_its_file_is_there_or_not() {
        let directory = tempfile::tempdir().expect("a directory");
        let [link, file] = ["link", "deep/file"].map(|name| directory.path().join(name));
        symlink("deep/file", &link).expect("a link");
        for text in ["one", "two"] {
            write_whole(&link, text, 0o600).expect("it is written");
            assert_eq!(read(&file).expect("it is there").as_deref(), Some(text));
            assert!(fs::symlink_metadata(&link).expect("it is there").is_symlink());
        }
    }
}
