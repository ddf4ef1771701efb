//! Turns the text of rules files into a [`Policy`], and a request's words into a verdict by it. Pure: reads
//! no file, no environment, no clock; includes come through [`RulesSource`], variables through
//! [`VariableValues`], paths on disk through [`PathResolver`]. Read `load.rs` for how rules are loaded,
//! `policy.rs` for how a request is decided.

#![forbid(unsafe_code)]

mod ansi;
mod confined_values;
mod confinement;
mod confining;
mod contradictions;
mod credential;
mod cursor;
mod diagnostic;
mod draft;
mod fault;
mod files;
mod index;
mod lexer;
mod lint;
mod lint_callers;
mod lint_confined;
mod lint_context;
mod listing;
mod listing_json;
mod load;
mod lower;
mod matcher;
mod miss;
mod odd_value;
mod parse;
mod pattern;
mod places;
mod policy;
mod profiles;
mod regex_machine;
mod resources;
mod rule;
mod scanner;
mod secrecy;
mod settings;
mod stanza;
mod stated_confinement;
mod suspicious;
mod template;
#[cfg(test)]
mod tests;
mod unreachable;
mod values;
mod variables;
mod vocabulary;
mod word;

pub use confinement::{
    ConfinedPath, Confinement, NetAccess, OnMissing, ProcessLimit, SyscallSet, TmpAccess, UnixAccess,
};
pub use credential::{CREDENTIALS_IN_HOME, CredentialForm, RuleCredential};
pub use diagnostic::Diagnostic;
pub use fault::Severity;
pub use files::RulesSource;
pub use lint_context::{LintContext, MissingProgram};
pub use load::{ExaminedRules, examine, load};
pub use matcher::{LexicalPaths, LocatedPath, PathArgument, PathResolver};
pub use miss::MissReason;
pub use policy::{BoundWord, MatchedRule, Policy, PolicyMiss};
pub use profiles::BUILT_IN_PROFILES;
pub use resources::{Resource, ResourceKey, ResourceValue};
pub use rule::{DashPolicy, ExpectedWord, PathForm, ProgramWord, Rule, Slot, SlotCount};
pub use settings::{
    AuditMode, BackgroundMode, CaptureMax, DenialLog, ExecPath, HangupAction, JournalMode, LogPolicy,
    RuleSettings, ScopeMode, StdinMode, SyncMode, TtyMode,
};
pub use template::{PathTemplate, TemplateValues};
pub use variables::VariableValues;
pub use vocabulary::attributes;
