//! Secrets that systemd gives the broker for its rules, and those in the home.

use std::fs::{self, DirBuilder, Permissions};
use std::os::unix::fs::{DirBuilderExt as _, PermissionsExt as _};
use std::path::PathBuf;

use crate::harness::{Gate, Manager, Removed, home, release, run};

const SECRET: &str = "tombola-93f1c2a7-cabinet";

const RULES: &str = "
sh -c 'printf %s \"$TOKEN\" | sha256sum'
  credential = gh-token as TOKEN

sh -c 'sha256sum <$TOKEN_FILE; stat -Lc %a $TOKEN_FILE'
  credential = gh-token as file TOKEN_FILE

env
";

const BY_VARIABLE: [&str; 3] = ["sh", "-c", "printf %s \"$TOKEN\" | sha256sum"];
const BY_FILE: [&str; 3] = ["sh", "-c", "sha256sum <$TOKEN_FILE; stat -Lc %a $TOKEN_FILE"];

/// A file with the secret, and a newline, for the manager to read.
fn source(name: &str) -> (PathBuf, Removed) {
    let path = Manager::User.runtime().join(name);
    fs::write(&path, format!("{SECRET}\n")).expect("a file can be written");
    fs::set_permissions(&path, Permissions::from_mode(0o600)).expect("an own file takes a mode");
    (path.clone(), Removed::new(path))
}

/// The sums that the commands print: the secret's, and that of its file.
fn sums() -> (String, String) {
    let sum = |format: &str| {
        let script = format!("printf '{format}' | sha256sum");
        run(["sh", "-c", &script]).exited(0).stdout()
    };
    (sum(SECRET), sum(&format!("{SECRET}\\n")))
}

/// Checks that the gate's records, the journal and what `systemctl` shows do not have the secret.
fn nothing_shows_it(gate: &Gate) {
    let manifest = fs::read_to_string(gate.manifest()).expect("there is a manifest");
    assert!(manifest.contains("\"kind\":\"exit\"") && !manifest.contains("tombola"), "{manifest}");
    let mut journal = gate.journal();
    journal.has("the end of a call", |entry| entry.get_field("SLUICE_KIND") == Some("exit"));
    let shown = journal.entries().iter().map(|entry| format!("{entry:?}")).collect::<String>();
    assert!(!shown.contains("tombola"), "{shown}");
    let shown = gate.systemctl("show").stdout();
    assert!(!shown.contains("tombola"), "{shown}");
}

#[test]
fn load_credential_gives_a_rule_its_secret_and_no_other() {
    let (path, _removed) = source("sluice-test-token");
    let gate = Gate::new(RULES).service(&format!("LoadCredential=gh-token:{}", path.display())).enable();
    let (variable, file) = sums();
    gate.call(BY_VARIABLE).exited(0).printed(&variable);
    gate.call(BY_FILE).exited(0).printed(&format!("{file}400\n"));
    let environment = gate.call(["env"]).exited(0).stdout();
    assert!(!environment.contains("tombola") && !environment.contains("CREDENTIALS"), "{environment}");
    nothing_shows_it(&gate);
}

#[test]
fn a_secret_that_the_unit_lacks_refuses_the_call_by_its_place() {
    let (path, _removed) = source("sluice-test-other");
    let gate = Gate::new(RULES).service(&format!("LoadCredential=other:{}", path.display())).enable();
    gate.call(BY_VARIABLE).exited(132);
    gate.call(["env"]).exited(0);
    let reject = gate.records("reject").pop().expect("it is on record");
    let detail = reject["detail"].as_str().expect("it has a detail");
    let place = format!("credentials/{}/gh-token: No such file", gate.service_unit());
    assert!(reject["reason"] == "credential" && detail.contains(&place), "{detail}");
}

#[test]
fn without_load_credential_the_secrets_are_in_the_home() {
    let place = home().join(".config/sluice/credentials");
    DirBuilder::new().mode(0o700).recursive(true).create(&place).expect("it can be made");
    let name = "in-the-home";
    fs::write(place.join(name), format!("{SECRET}\n")).expect("a file can be written");
    let _removed = Removed::new(place.join(name));
    let gate = Gate::new(&RULES.replace("gh-token", name)).enable();
    let (variable, file) = sums();
    gate.call(BY_VARIABLE).exited(0).printed(&variable);
    gate.call(BY_FILE).exited(0).printed(&format!("{file}400\n"));
    nothing_shows_it(&gate);
}

#[test]
fn an_encrypted_secret_is_decrypted_by_the_manager() {
    if release() < 256 {
        // A user's manager of then decrypts no credential; the machine's does, in `system`.
        return;
    }
    let (path, _removed) = source("sluice-test-encrypted");
    let sealed = path.with_extension("cred");
    let encrypt = run(["systemd-creds", "encrypt", "--user", "--name=gh-token"]
        .map(str::to_owned)
        .into_iter()
        .chain([&path, &sealed].map(|path| path.display().to_string())));
    let _sealed = Removed::new(sealed.clone());
    encrypt.exited(0);
    let setting = format!("LoadCredentialEncrypted=gh-token:{}", sealed.display());
    let gate = Gate::new(RULES).service(&setting).enable();
    gate.call(BY_VARIABLE).exited(0).printed(&sums().0);
    nothing_shows_it(&gate);
}
