//! Hands each input of libFuzzer to the target of the same name.
#![no_main]

use libfuzzer_sys::fuzz_target;

fuzz_target!(init: fieldpost_fuzz::process::begin("promql"), |data: &[u8]| fieldpost_fuzz::process::run(data));
