#![no_main]
libfuzzer_sys::fuzz_target!(|bytes: &[u8]| joblet_exec::fuzz::frames(bytes));
