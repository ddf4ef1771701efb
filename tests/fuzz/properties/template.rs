//! Path templates: what loads expands to an absolute path, and nothing that is put in can lead elsewhere.

use std::io;
use std::path::Path;

use sluice::ids::SocketName;
use sluice::rules::{PathTemplate, RulesSource, TemplateValues, VariableValues, load};

/// Names that would lead elsewhere if they were taken as they are.
const HOSTILE: [&str; 8] = ["..", ".", "", "../../etc/x", "/", "a/b", "\0", "-"];
/// The longest value of a placeholder, which takes at least four bytes to write.
const VALUE_BYTES: usize = 20;

/// Panics when the property does not hold for `data`, read as the value of `logfile`.
pub(crate) fn check(data: &[u8]) {
    let Ok(text) = std::str::from_utf8(data) else { return };
    let vars = VariableValues { home: Some("/home/me".into()), runtime_dir: Some("/run/user/1".into()) };
    let Ok(policy) = load(Path::new("/top.rules"), &Logfile(text), &vars) else { return };
    if let Some(template) = policy.logfile() {
        expanded(template, text.len());
    }
}

fn expanded(template: &PathTemplate, bytes: usize) {
    let plain = path(template, "s");
    assert!(plain.starts_with('/'), "{plain:?} is not absolute");
    assert!(!plain.contains('\0'));
    assert!(plain.len() <= bytes * VALUE_BYTES);
    for name in HOSTILE {
        let hostile = path(template, name);
        assert_eq!(levels(&hostile), levels(&plain), "{name:?} leads to {hostile:?}");
    }
}

/// For each component whether it leads somewhere else than down.
fn levels(path: &str) -> Vec<bool> {
    path.split('/').map(|component| matches!(component, "" | "." | "..")).collect()
}

fn path(template: &PathTemplate, socket: &str) -> String {
    let values = TemplateValues {
        uid: Some(u32::MAX),
        ts_ms: Some(u64::MAX),
        socket: Some(SocketName::new(socket)),
        ..TemplateValues::default()
    };
    template.expand(&values).into_os_string().into_string().expect("a template is text")
}

struct Logfile<'a>(&'a str);

impl RulesSource for Logfile<'_> {
    fn read(&self, _path: &Path) -> io::Result<String> {
        Ok(format!("defaults:\n  logfile = {}\n\n/bin/true\n", self.0))
    }
}
