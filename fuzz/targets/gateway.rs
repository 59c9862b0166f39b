//! The whole engine: bytes and publishes interleaved, time, and domains that come and go.
#![no_main]

use libfuzzer_sys::arbitrary::Unstructured;
use libfuzzer_sys::fuzz_target;
use passerelle::engine::limits::Limits;
use passerelle_fuzz::spelled::{LEGACY, SEPARATOR, World, name};
use passerelle_fuzz::tables;
use passerelle_fuzz::watched::{Step, Watched};

fn limits(number: u8) -> Limits {
    match number % 4 {
        0 => Limits { line: 2048, ..Limits::default() },
        1 => Limits { line: 2048, calls: 3, queue: 600, ..Limits::default() },
        2 => Limits { line: 400, calls: 2, queue: 200, outbox: 300, ..Limits::default() },
        _ => Limits { line: 4096, depth: 6, mirror: false, mirror_size: 64, ..Limits::default() },
    }
}

fuzz_target!(|data: &[u8]| {
    let Some((setting, rest)) = data.split_first_chunk::<4>() else { return };
    let mapping = tables::numbered(setting[0]);
    let legacy = LEGACY[..3].iter().map(|n| name(n)).collect::<Vec<_>>();
    let cuts = (setting[2], setting[3]);
    let mut watched = Watched::new(&mapping.table, &limits(setting[1]), &legacy, cuts);
    let mut world = World::default();
    let mut all_read = true;
    for part in rest.split(|b| *b == SEPARATOR) {
        let Ok(step) = world.step(&mut Unstructured::new(part)) else { continue };
        all_read &= !matches!(step, Step::Stall(_));
        world.look_at(&watched.step(&step));
    }
    watched.end(all_read);
});
