//! The work that bytes make: no more than so many steps for each of them, whatever they are.
#![no_main]

use libfuzzer_sys::fuzz_target;

#[path = "../../tests/engine/work.rs"]
mod work;

fuzz_target!(|data: &[u8]| {
    let Some((which, bytes)) = data.split_first() else { return };
    let work = &work::ALL[usize::from(*which) % work::ALL.len()];
    if !bytes.is_empty() {
        work.steps(bytes);
    }
});
