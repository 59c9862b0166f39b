//! What a channel carries, whatever it is, however it is cut and however long it pauses.

use passerelle::engine::steps;
use passerelle::engine::tunnel::connect::LARGEST;
use passerelle::engine::tunnel::detector::{Detector, Piece, STALL};
use passerelle::engine::tunnel::packets::Packets;
use proptest::prelude::*;
use std::time::Duration;

const LINE: &[u8] = b"{\"type\":\"commande\"}\n";
const PING: &[u8] = &[0xC0, 0];
const SECOND: Duration = Duration::from_secs(1);

/// A CONNECT as clients write it.
pub fn connect(level: u8, id: &str) -> Vec<u8> {
    let name: &[u8] = if level == 3 { b"\0\x06MQIsdp" } else { b"\0\x04MQTT" };
    let properties: &[u8] = if level == 5 { &[0] } else { &[] };
    let id = [&[0, id.len() as u8], id.as_bytes()].concat();
    let body = [name, &[level, 2, 0, 60], properties, &id].concat();
    [&[0x10, body.len() as u8][..], &body].concat()
}

/// A packet with a remaining length of two bytes at least.
pub fn packet(first: u8, body: &[u8]) -> Vec<u8> {
    let length = [0x80 | (body.len() % 128) as u8, (body.len() / 128) as u8];
    [&[first][..], &length, body].concat()
}

/// What comes over a channel.
#[derive(Debug, Clone)]
enum Part {
    Bytes(Vec<u8>),
    Silence,
}

/// What pieces say, those of a kind that follow each other together.
type Said = Vec<(&'static str, Vec<u8>)>;

fn take(detector: &mut Detector, said: &mut Said) {
    while let Some(piece) = detector.next() {
        let (kind, bytes) = match piece {
            Piece::Legacy(bytes) => ("legacy", bytes.to_vec()),
            Piece::Connect(connect) => ("connect", connect.packet.to_vec()),
            Piece::Mqtt(bytes) => ("mqtt", bytes.to_vec()),
            Piece::Torn(size) | Piece::Skipped(size) => ("skipped", vec![0; size]),
        };
        match said.last_mut() {
            Some((last, all)) if *last == kind && kind != "connect" => all.extend(bytes),
            _ => said.push((kind, bytes)),
        }
    }
}

/// Plays parts, of which bytes are cut into pieces of these sizes, over and over.
fn play(parts: &[Part], cuts: &[usize]) -> (Detector, Said, Duration) {
    let (mut detector, mut said, mut now) = (Detector::new(), Said::new(), SECOND);
    let mut cuts = cuts.iter().copied().cycle();
    for part in parts {
        match part {
            Part::Silence => now += STALL,
            Part::Bytes(bytes) => {
                let mut rest = &bytes[..];
                while !rest.is_empty() {
                    let size = cuts.next().unwrap_or(usize::MAX).clamp(1, rest.len());
                    detector.push(&rest[..size], now);
                    rest = &rest[size..];
                    take(&mut detector, &mut said);
                }
            }
        }
    }
    (detector, said, now)
}

fn sent(parts: &[Part]) -> usize {
    let size = |part: &Part| match part {
        Part::Bytes(bytes) => bytes.len(),
        Part::Silence => 0,
    };
    parts.iter().map(size).sum()
}

fn size(said: &Said) -> usize {
    said.iter().map(|(_, bytes)| bytes.len()).sum()
}

/// Its CONNECTs and its packets, those that are whole.
fn mqtt(said: &Said) -> Said {
    let parts = said.iter().filter_map(|(kind, bytes)| match *kind {
        "connect" => Some((*kind, bytes.clone())),
        "mqtt" => Some((*kind, bytes[..whole_packets(bytes)].to_vec())),
        _ => None,
    });
    parts.filter(|(_, bytes)| !bytes.is_empty()).collect()
}

/// How many of these bytes are whole packets.
fn whole_packets(bytes: &[u8]) -> usize {
    let (mut packets, mut at, mut end) = (Packets::default(), 0, 0);
    while let Ok(size @ 1..) = packets.advance(&bytes[at..]) {
        at += size;
        if packets.is_at_boundary() {
            end = at;
        }
    }
    end
}

/// Bytes that mean something wherever they stand.
fn telling() -> impl Strategy<Value = Vec<u8>> {
    prop_oneof![
        Just(b"{\"".to_vec()),
        Just(b"{".to_vec()),
        Just(b"\n{\"a\":1}\n".to_vec()),
        Just(vec![0x10]),
        Just(vec![0x10, 0x0E, 0, 4]),
        Just(vec![0x10, 0xFF, 0xFF, 0x1F, 0, 4, b'M', b'Q', b'T', b'T', 5]),
        Just(vec![0x30, 0xFF, 0xFF, 0xFF, 0xFF, 0x7F]),
        Just(vec![0xC0, 0]),
        Just(vec![0xE0, 0]),
        prop::collection::vec(any::<u8>(), 0..12),
    ]
}

fn bytes() -> impl Strategy<Value = Vec<u8>> {
    let whole = prop_oneof![
        Just(LINE.to_vec()),
        (3..6u8, "[a-z-]{0,9}").prop_map(|(level, id)| connect(level, &id)),
        (0x30..0x40u8, prop::collection::vec(telling(), 0..9))
            .prop_map(|(first, body)| packet(first, &body.concat())),
        Just(vec![0xC0, 0]),
        telling(),
    ];
    // Its writer may stop anywhere.
    (whole, 0..400usize).prop_map(|(mut whole, end)| {
        if end < 100 {
            whole.truncate(end);
        }
        whole
    })
}

fn parts() -> impl Strategy<Value = Vec<Part>> {
    let part = prop_oneof![6 => bytes().prop_map(Part::Bytes), 1 => Just(Part::Silence)];
    prop::collection::vec(part, 0..14)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(1000))]

    #[test]
    fn every_byte_comes_out_once_or_is_held(
        parts in parts(),
        cuts in prop::collection::vec(1..40usize, 1..6),
    ) {
        let (detector, said, _) = play(&parts, &cuts);
        prop_assert_eq!(size(&said) + detector.held(), sent(&parts));
        prop_assert!(detector.held() <= LARGEST + 5);
    }

    #[test]
    fn a_program_that_begins_after_a_silence_is_understood(
        parts in parts(),
        cuts in prop::collection::vec(1..40usize, 1..6),
    ) {
        let hello = connect(4, "app");
        let new = [&hello[..], &[0xC0, 0]].concat();
        let (_, said, _) =
            play(&[&parts[..], &[Part::Silence, Part::Bytes(new)]].concat(), &cuts);
        let end = [("connect", hello), ("mqtt", vec![0xC0, 0])];
        prop_assert!(said.ends_with(&end), "{said:?}");
        // The first line may be taken for the rest of one.
        let lines = [LINE, LINE].concat();
        let (_, said, _) =
            play(&[&parts[..], &[Part::Silence, Part::Bytes(lines)]].concat(), &cuts);
        let (kind, bytes) = said.last().unwrap();
        prop_assert!(*kind == "legacy" && bytes.ends_with(LINE), "{said:?}");
    }

    #[test]
    fn it_does_not_matter_how_bytes_are_cut(
        parts in prop::collection::vec(bytes().prop_map(Part::Bytes), 0..14),
        cuts in prop::collection::vec(1..40usize, 1..6),
    ) {
        let all: Vec<u8> = parts.iter().flat_map(|part| match part {
            Part::Bytes(bytes) => bytes.clone(),
            Part::Silence => vec![],
        }).collect();
        let whole = play(&[Part::Bytes(all)], &[usize::MAX]);
        let cut = play(&parts, &cuts);
        prop_assert_eq!(mqtt(&cut.1), mqtt(&whole.1));
        prop_assert_eq!(cut.0.held(), whole.0.held());
    }
}

#[test]
fn what_is_collected_while_a_proxy_retires_is_not_taken_for_something_left() {
    let hello = connect(5, "app");
    let subscribe = [0x82, 7, 0, 1, 0, 0, 1, b'a', 0];
    let (mut detector, mut said) = (Detector::new(), Said::new());
    detector.push(&[&hello[..], &subscribe].concat(), SECOND);
    assert!(matches!(detector.next(), Some(Piece::Connect(_))));
    // A broker that does not move keeps the proxy: what comes meanwhile is only collected.
    detector.push(&hello, SECOND + STALL);
    detector.push(&[], SECOND + STALL + STALL);
    take(&mut detector, &mut said);
    assert_eq!(said, [("mqtt", subscribe.to_vec()), ("connect", hello)]);
}

#[test]
fn a_long_line_of_would_be_connects_is_looked_at_in_one_go() {
    // Each claims to be as long as a CONNECT may be, and is broken.
    let false_one = [0x10, 0xFB, 0xFF, 0x1F, 0, 4, b'M', b'Q', b'T', b'T', 5];
    let flood: Vec<u8> = false_one.repeat(100_000);
    let (mut detector, mut said) = (Detector::new(), Said::new());
    for part in flood.chunks(64 * 1024) {
        detector.push(part, SECOND);
        take(&mut detector, &mut said);
        assert!(detector.held() <= LARGEST + 5);
    }
    assert_eq!(size(&said) + detector.held(), flood.len());
}

#[test]
fn a_packet_that_its_writer_left_is_given_up_after_a_silence() {
    let begun = [&connect(4, "a")[..], &[0x30, 100, 0, 1, b'a']].concat();
    for (silence, kind) in [(STALL - SECOND, "mqtt"), (STALL, "legacy")] {
        let (mut detector, mut said) = (Detector::new(), Said::new());
        detector.push(&begun, SECOND);
        take(&mut detector, &mut said);
        detector.push(b"{", SECOND + silence);
        take(&mut detector, &mut said);
        detector.push(&LINE[1..], SECOND + silence);
        take(&mut detector, &mut said);
        assert_eq!(said.last().unwrap().0, kind, "{said:?}");
    }
    let (mut detector, mut said) = (Detector::new(), Said::new());
    for part in [&begun[..], &begun] {
        detector.push(part, if said.is_empty() { SECOND } else { SECOND + STALL });
        take(&mut detector, &mut said);
    }
    assert_eq!(said.iter().filter(|(kind, _)| *kind == "connect").count(), 2, "{said:?}");
}

#[test]
fn half_a_connect_is_given_up_after_a_silence_too() {
    let half = &connect(4, "vm-gui")[..9];
    let (mut detector, mut said) = (Detector::new(), Said::new());
    detector.push(LINE, SECOND);
    detector.push(half, SECOND);
    take(&mut detector, &mut said);
    detector.push(LINE, SECOND + STALL);
    take(&mut detector, &mut said);
    let expected = [("legacy", LINE.to_vec()), ("skipped", vec![0; 9]), ("legacy", LINE.to_vec())];
    assert_eq!(said, expected);
}

fn whole(parts: &[&[u8]]) -> Said {
    let (mut detector, mut said) = (Detector::new(), Said::new());
    for part in parts {
        detector.push(part, SECOND);
        take(&mut detector, &mut said);
    }
    said
}

#[test]
fn a_channel_changes_its_mind_wherever_its_bytes_are_cut() {
    let hello = connect(4, "vm-gui");
    let publish = [&[0x30, 10, 0, 1, b'a'][..], b"{\"b\":1}"].concat();
    let rest = [&b"{\"half a line"[..], &hello, PING, &publish, LINE, LINE].concat();
    let stream = [LINE, &rest, &hello, &hello, PING].concat();
    let expected = [
        ("legacy", [LINE, b"{\"half a line"].concat()),
        ("connect", hello.clone()),
        ("mqtt", [PING, &publish].concat()),
        ("legacy", [LINE, LINE].concat()),
        ("connect", hello.clone()),
        ("connect", hello.clone()),
        ("mqtt", PING.to_vec()),
    ];
    for cut in 0..=stream.len() {
        assert_eq!(whole(&[&stream[..cut], &stream[cut..]]), expected, "cut at {cut}");
    }
    let bytes: Vec<&[u8]> = stream.chunks(1).collect();
    assert_eq!(whole(&bytes), expected);
}

#[test]
fn a_start_in_the_middle_of_mqtt_is_skipped_up_to_what_begins() {
    let middle = [&b"ld\",\"x\":1}"[..], PING, &[0x30, 3, 0, 1, b'\n']].concat();
    let hello = connect(5, "sys-usb");
    let found = whole(&[&middle, &hello, PING]);
    assert_eq!(found.last(), Some(&("mqtt", PING.to_vec())));
    assert!(found.contains(&("connect", hello)), "{found:?}");
    let found = whole(&[&middle, b"\n", LINE]);
    assert_eq!(found.last(), Some(&("legacy", LINE.to_vec())));
}

#[test]
fn the_tail_of_a_line_is_a_line() {
    let tail = b"\"data\":[]}}\n";
    assert_eq!(whole(&[tail, LINE]), [("legacy", [&tail[..], LINE].concat())]);
}

#[test]
fn mqtt_that_has_lost_its_place_is_skipped_up_to_a_line() {
    let hello = connect(4, "a");
    let found = whole(&[&hello, b"type\":1}\n", LINE]);
    let kinds: Vec<_> = found.iter().map(|(kind, _)| *kind).collect();
    assert_eq!(kinds, ["connect", "skipped", "legacy"]);
}

/// What looks like CONNECTs, each with a client id of 32 KiB in which the next ones are, and which is
/// wrong only somewhere far behind.
fn poison(size: usize) -> Vec<u8> {
    let header = b"\x10\xC2\x80\x02\0\x04MQTT\x04\x02\0\x3C\x7F\x7F";
    let block = [header.repeat(0x7F7F / header.len()), vec![0xFF; header.len()]].concat();
    block.repeat(size / block.len())
}

#[test]
fn what_an_unsound_connect_was_looked_at_for_is_not_looked_at_again() {
    let hello = connect(4, "a");
    for before in [&b""[..], LINE, b"{\"half a line", &hello, &[&hello[..], b"?"].concat()] {
        let stream = [before, &poison(1 << 20)].concat();
        for cut in [stream.len(), 8 * 1024, 1000] {
            let (mut detector, mut said) = (Detector::new(), Vec::new());
            steps::taken();
            for part in stream.chunks(cut) {
                detector.push(part, SECOND);
                take(&mut detector, &mut said);
            }
            let steps = steps::taken();
            let most = 6 * u64::try_from(stream.len()).unwrap();
            assert!(steps <= most, "{steps} for {} bytes", stream.len());
            // A sound one is found behind it.
            detector.push(&[&[0xFF; 1 << 17][..], &hello].concat(), SECOND);
            take(&mut detector, &mut said);
            assert_eq!(said.last(), Some(&("connect", hello.clone())));
        }
    }
}
