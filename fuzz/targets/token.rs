#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| capably_fuzz::token(data));
