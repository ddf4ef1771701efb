//! The secrets of one call. They are read when the call is made, and kept nowhere: from the directory that
//! the service manager made for the broker (`LoadCredential=`), or, without one, from the directory
//! `credentials` beside the rules.

use std::ffi::OsStr;
use std::fs::File;
use std::io::{self, Read};
use std::path::{Path, PathBuf};

use nix::sys::stat::Mode;

use crate::limits::CREDENTIAL_VALUE_BYTES_MAX;
use crate::refusal::Refusal;
use crate::rules::{CredentialForm, Policy, RuleCredential};
use crate::spawn::{Environment, LaunchSecrets, SecretBytes};
use crate::trust::secret_file;

/// The directory that credentials are read from.
#[derive(Debug, PartialEq, Eq)]
struct CredentialPlace {
    directory: PathBuf,
    /// The permissions that the directory must not have. Where the manager lets another user in than its own,
    /// its access list shows as permissions of the group.
    closed: Mode,
}

impl CredentialPlace {
    /// The manager's directory, if it made one, or that beside the rules.
    fn new(managers: Option<&OsStr>, rules: &Path) -> Self {
        match managers.filter(|directory| !directory.is_empty()) {
            Some(directory) => Self { directory: directory.into(), closed: Mode::S_IRWXO },
            None => {
                Self { directory: rules.with_file_name("credentials"), closed: Mode::S_IRWXG | Mode::S_IRWXO }
            }
        }
    }
}

/// Reads the secrets of a rule of this policy. Errors: one is missing, or is not fit to be given on.
pub(super) fn read_credentials(
    wanted: &[RuleCredential],
    environment: &Environment,
    policy: &Policy,
) -> Result<LaunchSecrets, Refusal> {
    let mut secrets = LaunchSecrets::default();
    if wanted.is_empty() {
        return Ok(secrets);
    }
    let rules = policy.files().first().expect("a policy has its top file");
    let place = CredentialPlace::new(environment.get("CREDENTIALS_DIRECTORY"), rules);
    for credential in wanted {
        let path = place.directory.join(&*credential.name);
        let unfit = |why| Refusal::NoCredential { name: credential.name.as_ref().into(), why };
        let file = secret_file(&path, place.closed).map_err(|distrust| unfit(distrust.to_string()))?;
        match credential.form {
            CredentialForm::Value => {
                let variable = read_variable(&credential.variable, file);
                let at_path = |why| unfit(format!("{}: {why}", path.display()));
                secrets.variables.push(variable.map_err(at_path)?);
            }
        }
    }
    Ok(secrets)
}

/// `NAME=content`, without one newline at the content's end. Errors: the reason why a variable cannot hold
/// the content.
fn read_variable(name: &str, mut file: File) -> Result<SecretBytes, String> {
    let start = name.len() + 1;
    let mut variable = room_for(start, &file).map_err(|source| source.to_string())?;
    let room = variable.as_mut_slice();
    room[..start].copy_from_slice(format!("{name}=").as_bytes());
    let mut end = start;
    loop {
        match file.read(&mut room[end..]) {
            Ok(0) => break,
            Ok(read) => end += read,
            Err(source) if source.kind() == io::ErrorKind::Interrupted => {}
            Err(source) => return Err(source.to_string()),
        }
    }
    if end - start > CREDENTIAL_VALUE_BYTES_MAX {
        return Err(format!(
            "it has more than {CREDENTIAL_VALUE_BYTES_MAX} bytes, which is too much for a variable"
        ));
    }
    if end == room.len() {
        return Err("it grew while it was read".into());
    }
    end -= usize::from(room[start..end].ends_with(b"\n"));
    if end == start {
        return Err("it is empty".into());
    }
    if room[start..end].contains(&0) {
        return Err("it has a NUL byte in it, which no variable can hold".into());
    }
    variable.shorten(end);
    Ok(variable)
}

/// Room for so many bytes, the file's content and one more byte: all of it at once, as a secret that is moved
/// leaves a copy behind.
fn room_for(before: usize, file: &File) -> io::Result<SecretBytes> {
    let length = usize::try_from(file.metadata()?.len()).unwrap_or(usize::MAX);
    let room = before + length.min(CREDENTIAL_VALUE_BYTES_MAX) + 1;
    Ok(SecretBytes::new(vec![0; room]))
}

#[cfg(test)]
mod tests {
    use std::io::{Seek, Write};

    use super::*;

    #[track_caller]
    fn check(content: &[u8], want: Result<&[u8], &str>) {
        let mut file = tempfile::tempfile().expect("a file");
        file.write_all(content).expect("written");
        file.rewind().expect("at its beginning");
        let read = read_variable("T", file);
        assert_eq!(read.as_ref().map(SecretBytes::as_slice), want.map_err(str::to_owned).as_ref().copied());
    }

    #[test]
    fn a_variable_holds_the_content_without_the_newline_at_its_end() {
        check(b"tombola", Ok(b"T=tombola"));
        check(b"tombola\n", Ok(b"T=tombola"));
        check(b"tombola\n\n", Ok(b"T=tombola\n"));
        check(b"a\r\n", Ok(b"T=a\r"));
        check(b"-----BEGIN\nx\n", Ok(b"T=-----BEGIN\nx"));
        check(b" \xff", Ok(b"T= \xff"));
    }

    #[test]
    fn what_no_variable_can_hold_is_said_without_it() {
        for empty in [&b""[..], b"\n"] {
            check(empty, Err("it is empty"));
        }
        check(b"tom\0bola", Err("it has a NUL byte in it, which no variable can hold"));
        let most = vec![b'x'; CREDENTIAL_VALUE_BYTES_MAX];
        check(&most, Ok(&[b"T=", &most[..]].concat()));
        let more = vec![b'x'; CREDENTIAL_VALUE_BYTES_MAX + 1];
        check(&more, Err("it has more than 65536 bytes, which is too much for a variable"));
    }

    #[test]
    fn the_managers_directory_is_the_only_one_where_there_is_one() {
        let place = |managers: Option<&str>| {
            CredentialPlace::new(managers.map(OsStr::new), Path::new("/home/you/.config/sluice/agent.rules"))
        };
        assert_eq!(place(Some("/run/credentials/x")).directory, Path::new("/run/credentials/x"));
        let beside = CredentialPlace {
            directory: "/home/you/.config/sluice/credentials".into(),
            closed: Mode::from_bits_truncate(0o077),
        };
        assert_eq!((place(None), place(Some(""))), (beside, place(None)));
    }
}
