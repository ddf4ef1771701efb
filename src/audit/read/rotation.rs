//! Finds the files of one manifest that rotation left beside each other: `manifest.jsonl`,
//! `manifest.jsonl.1`, `manifest.jsonl.2.gz`, `manifest.jsonl-20261121.zst`.

use std::cmp::Reverse;
use std::ffi::OsStr;
use std::io;
use std::path::{Path, PathBuf};

/// The files that rotation made of the manifest at `path`, the oldest first, and `path` itself as the last
/// one, even if it does not exist. Sorted by name: the newest file has the lowest number or the latest date.
pub fn rotated(path: &Path) -> io::Result<Vec<PathBuf>> {
    let directory = path.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."));
    let Some(name) = path.file_name() else { return Ok(vec![path.to_owned()]) };
    let mut files = Vec::new();
    for entry in directory.read_dir()? {
        let entry = entry?.file_name();
        files.extend(age(name, &entry).map(|age| (age, path.with_file_name(&entry))));
    }
    files.sort();
    let mut files: Vec<_> = files.into_iter().map(|(_, path)| path).collect();
    files.push(path.to_owned());
    Ok(files)
}

/// The path of the manifest from which rotation made this file, or the path itself; absolute, as far as its
/// directory is there.
pub fn unrotated(path: &Path) -> PathBuf {
    let path = std::path::absolute(path).unwrap_or_else(|_| path.to_owned());
    let directory = path.parent().and_then(|parent| parent.canonicalize().ok());
    let Some((directory, name)) = directory.zip(path.file_name()) else { return path };
    let name = name.to_string_lossy();
    let ends = name.match_indices(['.', '-']).map(|(at, _)| at);
    let base =
        ends.into_iter().find(|at| *at > 0 && age(name[..*at].as_ref(), name.as_ref().as_ref()).is_some());
    directory.join(base.map_or(&*name, |at| &name[..at]))
}

/// Most digits of a rotation number; a longer number is a date.
const COUNT_DIGITS_MAX: usize = 5;

/// The age of a rotated file, by its name. Dates count as older than numbers; where a manifest has both,
/// logrotate's configuration was changed.
#[derive(Debug, PartialEq, Eq, PartialOrd, Ord)]
enum RotationAge {
    Date(String),
    Number(Reverse<u64>),
}

/// The age of the file called `entry`, if rotation made it of the file called `name`.
fn age(name: &OsStr, entry: &OsStr) -> Option<RotationAge> {
    let rest = entry.to_str()?.strip_prefix(name.to_str()?)?;
    let stem = [".gz", ".zst", ".zstd", ".xz", ".bz2", ".lz4"].iter().find_map(|end| rest.strip_suffix(end));
    let stem = stem.unwrap_or(rest);
    let counted = stem.strip_prefix('.').filter(|number| number.len() <= COUNT_DIGITS_MAX);
    if let Some(number) = counted.and_then(|number| number.parse().ok()) {
        return Some(RotationAge::Number(Reverse(number)));
    }
    let date = stem.strip_prefix(['-', '.'])?;
    let plain = |byte: u8| byte.is_ascii_digit() || b"-:T_".contains(&byte);
    (date.len() >= 4 && date.bytes().all(plain)).then(|| RotationAge::Date(date.to_owned()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_rotation_made_is_known_by_its_name() {
        let check = |name: &str| unrotated(&Path::new("/").join(name)).display().to_string();
        let names = ["m.jsonl.1", "m.jsonl.2.gz", "m.jsonl-20261121.zst", "m.jsonl", "m.1x", "copy"];
        assert_eq!(names.map(check), ["/m.jsonl", "/m.jsonl", "/m.jsonl", "/m.jsonl", "/m.1x", "/copy"]);
    }

    #[test]
    fn names_tell_the_order() {
        let names =
            ["m.1", "m.2.gz", "m.10.zst", "m-20261121.zst", "m-20261120", "m.gz", "m.old", "mm.1", "m.1.tmp"];
        let mut aged: Vec<_> =
            names.iter().filter_map(|entry| Some((age("m".as_ref(), entry.as_ref())?, *entry))).collect();
        aged.sort();
        let order: Vec<_> = aged.into_iter().map(|(_, entry)| entry).collect();
        assert_eq!(order, ["m-20261120", "m-20261121.zst", "m.10.zst", "m.2.gz", "m.1"]);
    }
}
