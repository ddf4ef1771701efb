//! The secrets of one call. They are read when the call is made, and kept nowhere: from the directory that
//! the service manager made for the broker (`LoadCredential=`), or, without one, from one in the user's home.

use std::ffi::OsStr;
use std::fs::File;
use std::io::{self, Read};
use std::path::{Path, PathBuf};

use nix::sys::stat::Mode;

use crate::limits::{CREDENTIAL_VALUE_BYTES_MAX, FIRST_HANDED_FD, RULE_CREDENTIALS_BYTES_MAX};
use crate::refusal::Refusal;
use crate::rules::{CREDENTIALS_IN_HOME, CredentialForm, RuleCredential};
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
    /// The manager's directory, if it made one, or that in the user's home; `None` where there is no home.
    fn new(managers: Option<&OsStr>, home: Option<&OsStr>) -> Option<Self> {
        if let Some(directory) = managers.filter(|directory| !directory.is_empty()) {
            return Some(Self { directory: directory.into(), closed: Mode::S_IRWXO });
        }
        let directory = Path::new(home?).join(CREDENTIALS_IN_HOME);
        Some(Self { directory, closed: Mode::S_IRWXG | Mode::S_IRWXO })
    }
}

/// Reads the secrets of a rule, whose command is handed this many descriptors before those of
/// its secrets. Errors: one is missing, or is not fit to be given on.
pub(super) fn read_credentials(
    wanted: &[RuleCredential],
    environment: &Environment,
    handed: usize,
) -> Result<LaunchSecrets, Refusal> {
    let mut secrets = LaunchSecrets::default();
    if wanted.is_empty() {
        return Ok(secrets);
    }
    let (managers, home) = (environment.get("CREDENTIALS_DIRECTORY"), environment.get("HOME"));
    let place = CredentialPlace::new(managers, home);
    let mut left = RULE_CREDENTIALS_BYTES_MAX;
    for RuleCredential { name, variable, form } in wanted {
        let unfit = |why| Refusal::NoCredential { name: name.as_ref().into(), why };
        let place = place.as_ref().ok_or_else(|| unfit(NOWHERE.into()))?;
        let path = place.directory.join(&**name);
        let at_path = |why| unfit(format!("{}: {why}", path.display()));
        let file = secret_file(&path, place.closed).map_err(|distrust| unfit(distrust.to_string()))?;
        let secret = match form {
            CredentialForm::Value => read_variable(variable, file, left),
            CredentialForm::File => read_content("", file, left),
        };
        let secret = secret.map_err(at_path)?;
        left = left.saturating_sub(secret.as_slice().len());
        match form {
            CredentialForm::Value => secrets.variables.push(secret),
            CredentialForm::File => {
                let number = FIRST_HANDED_FD.cast_unsigned() as usize + handed + secrets.files.len();
                let path = format!("{variable}=/proc/self/fd/{number}");
                secrets.variables.push(SecretBytes::new(path.into()));
                secrets.files.push(secret);
            }
        }
    }
    Ok(secrets)
}

/// `NAME=content`, without one newline at the content's end. Errors: the reason why a variable cannot hold
/// the content.
fn read_variable(name: &str, file: File, left: usize) -> Result<SecretBytes, String> {
    let name = format!("{name}=");
    let mut variable = read_content(&name, file, left)?;
    let content = &variable.as_slice()[name.len()..];
    if content.len() > CREDENTIAL_VALUE_BYTES_MAX {
        return Err(format!(
            "it has more than {CREDENTIAL_VALUE_BYTES_MAX} bytes, which is too much for a variable; a program that \
             reads a file can get it `as file`"
        ));
    }
    if content == b"\n" {
        return Err(EMPTY.into());
    }
    if content.contains(&0) {
        return Err("it has a NUL byte in it, which no variable can hold".into());
    }
    let without = variable.as_slice().len() - usize::from(content.ends_with(b"\n"));
    variable.shorten(without);
    Ok(variable)
}

const NOWHERE: &str = "there is no place for it: neither CREDENTIALS_DIRECTORY nor HOME is set";

const EMPTY: &str = "it is empty";

/// The content of a file of at most `left` bytes, behind the text `before`. All memory for it is taken at
/// once, as a secret that is moved leaves a copy behind. Errors: the reason why it is not fit.
fn read_content(before: &str, mut file: File, left: usize) -> Result<SecretBytes, String> {
    let failed = |source: io::Error| source.to_string();
    let length = usize::try_from(file.metadata().map_err(failed)?.len()).unwrap_or(usize::MAX);
    if length > left {
        return Err(format!("the secrets of the rule have more than {RULE_CREDENTIALS_BYTES_MAX} bytes"));
    }
    let start = before.len();
    // A byte more than there is: where it is read too, the file grows.
    let mut content = SecretBytes::new(vec![0; start + length + 1]);
    let room = content.as_mut_slice();
    room[..start].copy_from_slice(before.as_bytes());
    let mut end = start;
    loop {
        match file.read(&mut room[end..]) {
            Ok(0) => break,
            Ok(read) => end += read,
            Err(source) if source.kind() == io::ErrorKind::Interrupted => {}
            Err(source) => return Err(failed(source)),
        }
    }
    match end - start {
        0 => return Err(EMPTY.into()),
        read if read > length => return Err("it grew while it was read".into()),
        _ => content.shorten(end),
    }
    Ok(content)
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
        let read = read_variable("T", file, RULE_CREDENTIALS_BYTES_MAX);
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
        check(
            &more,
            Err(
                "it has more than 65536 bytes, which is too much for a variable; a program that reads a file can get it \
             `as file`",
            ),
        );
    }

    #[test]
    fn the_secrets_of_a_rule_have_a_bound() {
        let mut file = tempfile::tempfile().expect("a file");
        file.write_all(b"123").expect("written");
        let read = |left| {
            let mut file = file.try_clone().expect("a copy");
            file.rewind().expect("at its beginning");
            read_content("", file, left)
        };
        assert_eq!(read(3).as_ref().map(SecretBytes::as_slice), Ok(&b"123"[..]));
        assert_eq!(read(2), Err("the secrets of the rule have more than 1048576 bytes".into()));
    }

    #[test]
    fn the_managers_directory_is_the_only_one_where_there_is_one() {
        let place = |managers: Option<&str>| {
            CredentialPlace::new(managers.map(OsStr::new), Some(OsStr::new("/home/you")))
        };
        let closed = Mode::from_bits_truncate(0o007);
        let managers = CredentialPlace { directory: "/run/credentials/x".into(), closed };
        assert_eq!(place(Some("/run/credentials/x")), Some(managers));
        let closed = Mode::from_bits_truncate(0o077);
        let own = CredentialPlace { directory: "/home/you/.config/sluice/credentials".into(), closed };
        assert_eq!((place(None), place(Some(""))), (Some(own), place(None)));
        assert_eq!(CredentialPlace::new(None, None), None);
    }
}
