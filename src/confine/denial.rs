//! What the kernel denied a command: its audit records of Landlock, from Linux 6.15 on. Pure.

use std::borrow::Cow;

use crate::text::printable;

/// `AUDIT_LANDLOCK_ACCESS`: a denied access.
const ACCESS: u16 = 1423;

/// `AUDIT_LANDLOCK_DOMAIN`: a domain, which is one confinement of one call, begins to deny, or ends.
const DOMAIN: u16 = 1424;

/// An audit record of Landlock.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum LandlockEvent {
    /// An access was denied to a process of this domain. The text names the right and its object, is safe to
    /// show and of one line.
    Denied(u64, String),
    /// The domain is that of the process with this number, as the first process of the machine counts, and of
    /// all that it made since; a program called `sluice` restricted it. Domains that a command makes for
    /// itself are none of the broker's.
    Entered(u64, i32),
    /// No process is in the domain any more; it was denied so many accesses.
    Ended(u64, u64),
}

impl LandlockEvent {
    /// Reads a record of this type; `None` for those that are not Landlock's, or tell nothing new.
    pub fn read(kind: u16, text: &str) -> Option<Self> {
        let (domain, rest) = text.split_once("domain=")?.1.split_once(' ')?;
        let domain = u64::from_str_radix(domain, 16).ok()?;
        match (kind, field(rest, "status=")) {
            (ACCESS, _) => Some(Self::Denied(domain, access(rest)?)),
            (DOMAIN, Some("allocated")) => {
                let program = decoded(field(rest, " exe=")?);
                let is_ours = program.rsplit('/').next()?.starts_with("sluice");
                Some(Self::Entered(domain, field(rest, " pid=")?.parse().ok()?)).filter(|_| is_ours)
            }
            (DOMAIN, Some("deallocated")) => {
                Some(Self::Ended(domain, field(rest, " denials=")?.parse().ok()?))
            }
            _ => None,
        }
    }
}

/// The value behind a key, up to the next blank, which no value has: one that would is in hexadecimal.
fn field<'t>(text: &'t str, key: &str) -> Option<&'t str> {
    text.split_once(key)?.1.split_ascii_whitespace().next()
}

/// `fs.read_file /etc/passwd`, `net.connect_tcp 127.0.0.1 port 443`, `scope.signal sleep`.
fn access(text: &str) -> Option<String> {
    let rights = field(text, "blockers=")?;
    let untrusted = |key| field(text, key).map(decoded);
    let object = untrusted(" path=").or_else(|| untrusted(" ocomm=")).unwrap_or_default();
    let address = field(text, " daddr=").or_else(|| field(text, " saddr=")).unwrap_or_default();
    let port = field(text, " dest=").or_else(|| field(text, " src="));
    let port = port.map(|port| format!("port {port}")).unwrap_or_default();
    let parts = [rights, &object, address, &port];
    let parts: Vec<_> = parts.into_iter().filter(|part| !part.is_empty()).collect();
    Some(printable(&parts.join(" ")).into_owned())
}

/// A text that a process chose: in quotes or, where it has a blank, a quote or another odd byte, in
/// hexadecimal. The name of an abstract socket begins with a NUL, which is shown as `@`.
fn decoded(value: &str) -> Cow<'_, str> {
    if let Some(quoted) = value.strip_prefix('"') {
        return quoted.trim_end_matches('"').into();
    }
    let digits = value.as_bytes().chunks_exact(2).map(|pair| {
        let pair = std::str::from_utf8(pair).ok()?;
        u8::from_str_radix(pair, 16).ok()
    });
    let Some(mut bytes) = digits.collect::<Option<Vec<u8>>>() else { return value.into() };
    if let Some(first) = bytes.first_mut().filter(|first| **first == 0) {
        *first = b'@';
    }
    String::from_utf8_lossy(&bytes).into_owned().into()
}

#[cfg(test)]
mod tests {
    use super::*;

    const DOMAIN_ID: u64 = 0x1_c88a_0b0b;

    /// Records as Linux 6.18 writes them.
    fn check(kind: u16, text: &str, want: Option<LandlockEvent>) {
        assert_eq!(LandlockEvent::read(kind, text), want, "{text}");
    }

    #[track_caller]
    fn denied(text: &str, want: &str) {
        let text = format!("audit(1795710998.145:9406): domain=1c88a0b0b blockers={text}");
        check(ACCESS, &text, Some(LandlockEvent::Denied(DOMAIN_ID, want.into())));
    }

    #[test]
    fn a_denied_access_names_the_right_and_its_object() {
        denied(
            r#"fs.read_file path="/etc/ld.so.cache" dev="vda" ino=409780"#,
            "fs.read_file /etc/ld.so.cache",
        );
        denied(
            r#"fs.execute,fs.read_file path="/tmp/prog" dev="vda" ino=1"#,
            "fs.execute,fs.read_file /tmp/prog",
        );
        denied("net.connect_tcp daddr=127.0.0.1 dest=443", "net.connect_tcp 127.0.0.1 port 443");
        denied("net.connect_tcp daddr=::1 dest=8443", "net.connect_tcp ::1 port 8443");
        denied("net.bind_tcp saddr=127.0.0.1 src=8080", "net.bind_tcp 127.0.0.1 port 8080");
        denied("scope.abstract_unix_socket path=006162732F782079", "scope.abstract_unix_socket @abs/x y");
        denied(r#"scope.signal opid=18475 ocomm="sleep""#, "scope.signal sleep");
        denied(r#"fs.read_file path=2F746D702F612062 dev="vda" ino=1"#, "fs.read_file /tmp/a b");
    }

    #[test]
    fn what_a_process_chose_is_on_one_line_and_safe_to_show() {
        denied(
            r#"fs.read_file path=2F746D702F61C3BC0A1B5B334A dev="vda""#,
            "fs.read_file /tmp/aü\\u{a}\\u{1b}[3J",
        );
        denied("fs.read_file path=2F746D702FFF dev=\"vda\"", "fs.read_file /tmp/\u{fffd}");
        denied(r#"fs.read_file path=(null) dev="vda""#, "fs.read_file (null)");
    }

    #[test]
    fn a_domain_is_told_by_its_process() {
        let begun = r#"audit(1.1:9): domain=1c88a0b0b status=allocated mode=enforcing pid=18480 uid=0 exe="/usr/bin/sluice" comm="sluice""#;
        check(DOMAIN, begun, Some(LandlockEvent::Entered(DOMAIN_ID, 18480)));
        check(DOMAIN, &begun.replace("/usr/bin/sluice", "/home/you/sluice/app"), None);
        let ended = "audit(1.1:9): domain=1c88a0b0b status=deallocated denials=20";
        check(DOMAIN, ended, Some(LandlockEvent::Ended(DOMAIN_ID, 20)));
    }

    #[test]
    fn other_records_tell_nothing() {
        check(1300, r#"audit(1.1:9): arch=c000003e syscall=257 success=no exit=-13 comm="domain=1 x""#, None);
        check(DOMAIN, "audit(1.1:9): domain=1c88a0b0b status=resting pid=1", None);
        check(DOMAIN, "audit(1.1:9): domain=xyz status=allocated pid=1", None);
        check(ACCESS, "audit(1.1:9): domain=1c88a0b0b", None);
        check(ACCESS, "", None);
    }
}
