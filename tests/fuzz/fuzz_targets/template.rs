//! Any bytes through the property of `properties/template.rs`.

#![no_main]

#[path = "../properties/template.rs"]
mod template;

libfuzzer_sys::fuzz_target!(|data: &[u8]| template::check(data));
