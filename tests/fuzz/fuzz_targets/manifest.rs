//! Any bytes through the property of `properties/manifest.rs`.

#![no_main]

#[path = "../properties/manifest.rs"]
mod manifest;

libfuzzer_sys::fuzz_target!(|data: &[u8]| manifest::check(data));
