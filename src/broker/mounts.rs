//! The mounts that a caller's path may lead through outside of its slot's directory: those of local file
//! systems, which answer by themselves. Other file systems may ask a process of the caller's (FUSE) or a
//! server that does not answer, or have something mounted (autofs), and the thread that asks would wait for
//! them; proc's files lead into other processes' namespaces.

use std::fs::File;
use std::io::{BufRead as _, BufReader};
use std::os::unix::ffi::OsStrExt as _;
use std::path::Path;

/// File systems whose files are on this machine.
const LOCAL: [&[u8]; 17] = [
    b"bcachefs",
    b"btrfs",
    b"devtmpfs",
    b"erofs",
    b"exfat",
    b"ext2",
    b"ext3",
    b"ext4",
    b"f2fs",
    b"iso9660",
    b"overlay",
    b"ramfs",
    b"squashfs",
    b"tmpfs",
    b"vfat",
    b"xfs",
    b"zfs",
];

/// Whether the file system that is mounted at this place is a local one; the file system itself is not asked.
pub(super) fn is_local(place: &Path) -> bool {
    let Ok(mounts) = File::open("/proc/self/mountinfo") else { return false };
    let lines = BufReader::new(mounts).split(b'\n').map_while(Result::ok);
    // Of file systems that are mounted on top of each other, the last one is seen.
    let kinds = lines.filter_map(|line| kind_at(&line, place.as_os_str().as_bytes()));
    kinds.last().is_some_and(|kind| LOCAL.contains(&&*kind))
}

/// The file system of a line of `mountinfo`, if it is mounted at `place`. Shape: `proc_pid_mountinfo(5)`.
fn kind_at(line: &[u8], place: &[u8]) -> Option<Vec<u8>> {
    let mut fields = line.split(|&byte| byte == b' ');
    let point = fields.nth(4)?;
    if unescaped(point) != place {
        return None;
    }
    fields.skip_while(|field| *field != b"-").nth(1).map(<[u8]>::to_vec)
}

/// Undoes the escapes: blanks, newlines and backslashes stand as a backslash and three octal digits.
fn unescaped(text: &[u8]) -> Vec<u8> {
    let mut plain = Vec::with_capacity(text.len());
    let mut rest = text;
    while let Some((&byte, after)) = rest.split_first() {
        let digits = after.first_chunk::<3>().filter(|_| byte == b'\\');
        let number = digits.and_then(|digits| u8::from_str_radix(str::from_utf8(digits).ok()?, 8).ok());
        plain.push(number.unwrap_or(byte));
        rest = if number.is_some() { &after[3..] } else { after };
    }
    plain
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(line: &str, place: &str, want: Option<&str>) {
        let kind = kind_at(line.as_bytes(), place.as_bytes());
        assert_eq!(kind, want.map(|kind| kind.as_bytes().to_vec()), "{line}");
    }

    #[test]
    fn a_mount_is_known_by_its_place() {
        let plain = "36 35 98:0 /mnt1 /mnt2 rw,noatime master:1 - ext3 /dev/root rw,errors=continue";
        check(plain, "/mnt2", Some("ext3"));
        check(plain, "/mnt1", None);
        check(r"36 35 0:9 / /a\040b\134c rw - fuse.sshfs x rw", r"/a b\c", Some("fuse.sshfs"));
        check(r"36 35 0:9 / /a\0 rw - tmpfs x rw", r"/a\0", Some("tmpfs"));
        check("", "/", None);
    }

    #[test]
    fn proc_is_not_local() {
        assert!(!is_local(Path::new("/proc")));
        assert!(!is_local(Path::new("/no/such/mount")));
    }
}
