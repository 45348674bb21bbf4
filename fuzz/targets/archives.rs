#![no_main]
libfuzzer_sys::fuzz_target!(|bytes: &[u8]| waystation_properties::archives(bytes));
