//! The broker and its operator's commands.

fn main() {}
