//! To come.

pub mod caller;
