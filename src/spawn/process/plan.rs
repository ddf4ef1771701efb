//! The plan that a launcher is sent: the command, and the state in which it starts.
//!
//! Shape on the launcher's stream: `u32`, the number of bytes that follow, then the fields in order, each
//! text as `u32 length`, so many bytes and a NUL, each list as `u32 count` and texts; last a list of the
//! variables that hold secrets, and `u32 count` and the contents of files that do, each as `u32 length` and
//! so many bytes. With the number come the plan's descriptors. Before the plan comes one byte, with the three
//! descriptors of the command.

use std::ffi::CString;
use std::os::fd::{BorrowedFd, OwnedFd};
use std::sync::Arc;

use crate::confine::{CommandRestrictions, PreparedConfinement};
use crate::limits::MESSAGE_FDS_MAX;
use crate::rules::DenialLog;

use super::secret::{LaunchSecrets, SecretBytes};

/// The command's stdin, stdout and stderr.
#[derive(Debug)]
pub struct CommandStdio(pub [OwnedFd; 3]);

/// A command, ready to start.
#[derive(Clone, Debug)]
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
    /// What confines it.
    pub confinement: Option<Arc<PreparedConfinement>>,
    /// Whether the kernel logs what it denies it.
    pub denials: DenialLog,
}

/// Bytes of the number of bytes that a plan has.
pub(super) const PLAN_LENGTH_BYTES: usize = 4;

/// Most descriptors that come with a plan.
pub(super) const PLAN_FDS_MAX: usize = MESSAGE_FDS_MAX;

/// `LANDLOCK_RESTRICT_SELF_LOG_NEW_EXEC_ON`: denials are logged after exec too.
const LOG_AFTER_EXEC: u32 = 1 << 1;

/// The first version of Landlock that knows this flag.
const LOGGING_ABI: u32 = 7;

impl LaunchPlan {
    /// Whether the kernel is asked to log what it denies the command.
    pub fn logs_denials(&self) -> bool {
        let abi = self.confinement.as_ref().and_then(|confinement| confinement.enforced().landlock);
        self.denials == DenialLog::Kernel && abi.is_some_and(|abi| abi >= LOGGING_ABI)
    }

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
        match &self.confinement {
            Some(confinement) => {
                put_confinement(&mut bytes, confinement, if self.logs_denials() { LOG_AFTER_EXEC } else { 0 })
            }
            None => put_number(&mut bytes, 0),
        }
        let LaunchSecrets { variables, files } = secrets;
        let all = || variables.iter().chain(files).map(SecretBytes::as_slice);
        // From here on the bytes must not move, which would leave a copy of a secret behind.
        bytes.reserve_exact(8 + all().map(|secret| 4 + secret.len() + 1).sum::<usize>());
        put_number(&mut bytes, length(variables.len()));
        variables.iter().for_each(|variable| put_text(&mut bytes, variable.as_slice()));
        put_number(&mut bytes, length(files.len()));
        for content in files.iter().map(SecretBytes::as_slice) {
            put_number(&mut bytes, length(content.len()));
            bytes.extend_from_slice(content);
        }
        let count = length(bytes.len() - 4).to_le_bytes();
        bytes[..4].copy_from_slice(&count);
        SecretBytes::new(bytes)
    }
}

/// What confines a command: its first number, bits of a sum.
#[derive(Clone, Copy, Debug)]
pub(super) struct RestrictionBits;

impl RestrictionBits {
    /// The command is confined.
    pub(super) const CONFINED: u32 = 1;
    /// The next descriptor is its Landlock ruleset.
    pub(super) const RULESET: u32 = 2;
    /// The next descriptor is the user namespace in which its view is made.
    pub(super) const USER_NAMESPACE: u32 = 4;
    /// It has a view of its own.
    pub(super) const VIEW: u32 = 8;
    /// Its stdin, stdout and stderr may be no unix sockets that reach others by a path.
    pub(super) const NO_SOCKETS: u32 = 16;
}

/// The descriptors that go with a plan, in order.
pub(super) fn descriptors(plan: &LaunchPlan) -> Vec<BorrowedFd<'_>> {
    let confinement = plan.confinement.as_deref();
    let of = |fd: fn(&PreparedConfinement) -> Option<BorrowedFd<'_>>| confinement.and_then(fd);
    [of(PreparedConfinement::ruleset), of(PreparedConfinement::user_namespace)]
        .into_iter()
        .flatten()
        .collect()
}

fn put_confinement(bytes: &mut Vec<u8>, confinement: &PreparedConfinement, landlock_flags: u32) {
    let bit = |is_there: bool, bit: u32| if is_there { bit } else { 0 };
    let restrictions = confinement.restrictions();
    let bits = RestrictionBits::CONFINED
        | bit(confinement.ruleset().is_some(), RestrictionBits::RULESET)
        | bit(confinement.user_namespace().is_some(), RestrictionBits::USER_NAMESPACE)
        | bit(restrictions.has_view, RestrictionBits::VIEW)
        | bit(restrictions.refuses_sockets, RestrictionBits::NO_SOCKETS);
    put_number(bytes, bits);
    put_number(bytes, landlock_flags);
    put_restrictions(bytes, restrictions);
}

fn put_restrictions(bytes: &mut Vec<u8>, restrictions: &CommandRestrictions) {
    let CommandRestrictions { view, temporary, temporary_rights, filter, passing_filter, limits, .. } =
        restrictions;
    bytes.extend_from_slice(&temporary_rights.to_le_bytes());
    put_text(bytes, temporary.as_deref().unwrap_or_default().to_bytes());
    put_number(bytes, length(view.len()));
    view.iter().for_each(|step| put_text(bytes, step.as_bytes()));
    put_number(bytes, length(limits.len()));
    for (resource, most) in limits {
        put_number(bytes, *resource);
        bytes.extend_from_slice(&most.to_le_bytes());
    }
    for program in [filter, passing_filter] {
        put_number(bytes, length(program.len()));
        bytes.extend_from_slice(program);
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
            files in prop::collection::vec(prop::collection::vec(any::<u8>(), 0..20), 0..4),
            argv in texts(), environment in texts(), opened in texts(), secret in texts(), umask in any::<u32>()
        ) {
            let (program, cwd) = (c"/bin/true".to_owned(), c"/".to_owned());
            let plan = LaunchPlan { program, cwd, argv, environment, opened, umask, confinement: None, denials: DenialLog::Off };
            let variables = secret.iter().map(|text| SecretBytes::new(text.as_bytes().to_owned())).collect();
            let contents = files.iter().cloned().map(SecretBytes::new).collect();
            let encoded = plan.encode(&LaunchSecrets { variables, files: contents });
            let bytes = encoded.as_slice();
            let read = ReceivedPlan::read(&bytes[4..]).expect("a whole plan");
            let list = |texts: TextList<'_>| texts.iter().map(CStr::to_owned).collect::<Vec<_>>();
            prop_assert_eq!(list(read.secrets), secret);
            prop_assert_eq!((read.program, read.cwd), (plan.program.as_c_str(), plan.cwd.as_c_str()));
            prop_assert_eq!((list(read.argv), list(read.environment)), (plan.argv, plan.environment));
            prop_assert_eq!((list(read.opened), read.umask), (plan.opened, plan.umask));
            prop_assert!(read.restrictions.is_none());
            prop_assert_eq!(read.files.iter().map(<[u8]>::to_vec).collect::<Vec<_>>(), files);
            for cut in 4..bytes.len() {
                prop_assert!(ReceivedPlan::read(&bytes[4..cut]).is_err());
            }
        }
    }
}
