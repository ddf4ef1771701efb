//! Text to [`Policy`], and (policy, words) to a verdict. Pure: reads no file, no environment, no clock; includes come
//! through [`Source`], variables through [`Vars`], paths on disk through [`Paths`].

#![forbid(unsafe_code)]

mod policy;

pub use policy::*;
