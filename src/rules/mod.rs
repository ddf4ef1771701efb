//! Text to [`Policy`], and (policy, words) to a verdict. Pure: reads no file, no environment, no clock; includes come
//! through [`Source`], variables through [`Vars`], paths on disk through [`Paths`]. The way in is `load.rs`, the way
//! of a decision `policy.rs`.

#![forbid(unsafe_code)]

mod ansi;
mod cursor;
mod diagnostic;
mod draft;
pub mod escape;
mod files;
mod index;
mod lexer;
mod lint;
mod listing;
mod load;
mod lower;
mod machine;
mod matcher;
mod pattern;
mod policy;
mod resources;
mod rule;
mod scanner;
mod secrecy;
mod settings;
mod shadow;
mod signs;
mod stanza;
mod template;
#[cfg(test)]
mod tests;
mod tree;
mod values;
mod variables;
mod vocabulary;
mod word;

pub use diagnostic::{Diagnostic, Severity};
pub use files::Source;
pub use lint::Surroundings;
pub use load::{Examined, examine, load};
pub use matcher::{LexicalPaths, Located, Paths, Place};
pub use policy::{Bound, Matched, Miss, MissReason, Policy};
pub use resources::{Resource, ResourceKey, ResourceValue};
pub use rule::{Dash, Expected, Handed, Program, Rule, Slot, Takes};
pub use settings::{
    Audit, Background, CaptureMax, Durability, ExecPath, Journal, LogPolicy, OnHangup, ScopeMode, Settings,
    Stdin, Tty,
};
pub use template::{Template, TemplateValues};
pub use variables::Vars;
pub use vocabulary::attributes;
