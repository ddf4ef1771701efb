//! The plan that a launcher is sent: the command, and the state in which it starts.
//!
//! Shape on the launcher's stream: `u32`, the number of bytes that follow, then the fields in order, each
//! text as `u32 length`, so many bytes and a NUL, each list as `u32 count` and texts; last a list of the
//! variables that hold secrets. Before the plan comes one byte, with the three descriptors.

use std::ffi::CString;
use std::os::fd::OwnedFd;

use super::secret::{LaunchSecrets, SecretBytes};

/// The command's stdin, stdout and stderr.
#[derive(Debug)]
pub struct CommandStdio(pub [OwnedFd; 3]);

/// A command, ready to start.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LaunchPlan {
    /// The program's absolute path.
    pub program: CString,
    /// The working directory.
    pub cwd: CString,
    /// The words, the program's name first. Never empty.
    pub argv: Vec<CString>,
    /// The environment but for secrets, as `NAME=value`.
    pub environment: Vec<CString>,
    /// The files to open for the command: absolute paths without links, the first for descriptor 3.
    pub opened: Vec<CString>,
    /// The file mode creation mask.
    pub umask: u32,
}

impl LaunchPlan {
    /// The bytes of this plan with its secrets, their count first.
    pub(in crate::spawn) fn encode(&self, secrets: &LaunchSecrets) -> SecretBytes {
        let mut bytes = vec![0; 4];
        put_number(&mut bytes, self.umask);
        put_text(&mut bytes, self.program.as_bytes());
        put_text(&mut bytes, self.cwd.as_bytes());
        for list in [&self.argv, &self.environment, &self.opened] {
            put_number(&mut bytes, length(list.len()));
            list.iter().for_each(|text| put_text(&mut bytes, text.as_bytes()));
        }
        let variables = || secrets.variables.iter().map(SecretBytes::as_slice);
        // From here on the bytes must not move, which would leave a copy of a secret behind.
        bytes.reserve_exact(4 + variables().map(|text| 4 + text.len() + 1).sum::<usize>());
        put_number(&mut bytes, length(secrets.variables.len()));
        variables().for_each(|text| put_text(&mut bytes, text));
        let count = length(bytes.len() - 4).to_le_bytes();
        bytes[..4].copy_from_slice(&count);
        SecretBytes::new(bytes)
    }
}

fn length(count: usize) -> u32 {
    u32::try_from(count).expect("a request and an environment are far below 4 GiB")
}

fn put_number(bytes: &mut Vec<u8>, number: u32) {
    bytes.extend_from_slice(&number.to_le_bytes());
}

fn put_text(bytes: &mut Vec<u8>, text: &[u8]) {
    put_number(bytes, length(text.len()));
    bytes.extend_from_slice(text);
    bytes.push(0);
}

#[cfg(test)]
mod tests {
    use std::ffi::CStr;

    use proptest::prelude::*;

    use crate::spawn::process::received_plan::{ReceivedPlan, TextList};

    use super::*;

    fn texts() -> impl Strategy<Value = Vec<CString>> {
        prop::collection::vec("[^\0]{0,20}", 0..8)
            .prop_map(|list| list.into_iter().filter_map(|text| CString::new(text).ok()).collect())
    }

    proptest! {
        #[test]
        fn a_launcher_reads_what_was_planned(
            argv in texts(), environment in texts(), opened in texts(), secret in texts(), umask in any::<u32>()
        ) {
            let (program, cwd) = (c"/bin/true".to_owned(), c"/".to_owned());
            let plan = LaunchPlan { program, cwd, argv, environment, opened, umask };
            let variables = secret.iter().map(|text| SecretBytes::new(text.as_bytes().to_owned())).collect();
            let encoded = plan.encode(&LaunchSecrets { variables });
            let bytes = encoded.as_slice();
            let read = ReceivedPlan::read(&bytes[4..]).expect("a whole plan");
            let list = |texts: TextList<'_>| texts.iter().map(CStr::to_owned).collect::<Vec<_>>();
            let (program, cwd) = (read.program.to_owned(), read.cwd.to_owned());
            let (argv, environment, opened) = (list(read.argv), list(read.environment), list(read.opened));
            prop_assert_eq!(list(read.secrets), secret);
            prop_assert_eq!(LaunchPlan { program, cwd, argv, environment, opened, umask: read.umask }, plan);
            for cut in 4..bytes.len() {
                prop_assert!(ReceivedPlan::read(&bytes[4..cut]).is_err());
            }
        }
    }
}
