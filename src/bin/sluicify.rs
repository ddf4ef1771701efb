//! The caller's verb.

fn main() {}
