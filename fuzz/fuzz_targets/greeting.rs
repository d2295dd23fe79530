#![no_main]

#[path = "../subjects.rs"]
#[expect(dead_code, reason = "each target has one subject")]
mod subjects;

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| subjects::greeting(bytes));
