//! The same messages over and over: a gateway holds no more memory after many rounds than after some.
#![no_main]

use cap::Cap;
use libfuzzer_sys::arbitrary::Unstructured;
use libfuzzer_sys::fuzz_target;
use passerelle::engine::limits::Limits;
use passerelle::engine::rehearsal::Rehearsal;
use passerelle_fuzz::spelled::{LEGACY, SEPARATOR, World, name};
use passerelle_fuzz::tables;
use passerelle_fuzz::watched::{Step, apply, gateway};
use std::alloc::System;
use std::time::Duration;

#[global_allocator]
static HEAP: Cap<System> = Cap::new(System, usize::MAX);

/// By the first most tables, queues and buffers have found their size; a late one grows once.
const ROUNDS: [usize; 3] = [60, 180, 300];
/// What buffers may still grow by between two of them.
const SLACK: usize = 16 * 1024;

fn round(gateway: &mut Rehearsal, limits: &Limits, world: &mut World, parts: &[u8]) {
    for part in parts.split(|b| *b == SEPARATOR) {
        let Ok(step) = world.step(&mut Unstructured::new(part)) else { continue };
        apply(gateway, &step, limits);
        world.look_at(&gateway.take_effects());
    }
    // What the broker keeps for those who are away is no memory of the gateway's.
    for domain in LEGACY {
        apply(gateway, &Step::Connect(name(domain)), limits);
    }
    apply(gateway, &Step::Back(true, None), limits);
    apply(gateway, &Step::Elapse(Duration::from_millis(600)), limits);
    world.look_at(&gateway.take_effects());
}

fuzz_target!(|data: &[u8]| {
    let Some((setting, rest)) = data.split_first() else { return };
    // Small limits, that are reached soon.
    let (line, calls, queue, outbox) = (512, 3, 600, 1200);
    let remember = Duration::from_secs(3);
    let limits = Limits { line, calls, queue, outbox, remember, ..Limits::default() };
    let legacy = LEGACY[..3].iter().map(|n| name(n)).collect::<Vec<_>>();
    let mut gateway = gateway(&tables::numbered(*setting).table, &limits, &legacy);
    let mut world = World::default();
    let mut held = [0; 3];
    let mut played = 0;
    for (rounds, held) in ROUNDS.into_iter().zip(&mut held) {
        while played < rounds {
            round(&mut gateway, &limits, &mut world, rest);
            played += 1;
        }
        *held = HEAP.allocated();
    }
    let grows = |then: usize, now: usize| now > then + SLACK;
    let all_the_time = grows(held[0], held[1]) && grows(held[1], held[2]);
    assert!(!all_the_time, "more and more bytes are held: {held:?}");
});
