//! Any bytes through the property of `properties/piped.rs`.

#![no_main]

#[path = "../properties/piped.rs"]
mod piped;

libfuzzer_sys::fuzz_target!(|data: &[u8]| piped::check(data));
