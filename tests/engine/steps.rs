//! What costs the most for each byte costs no more when there are eight times as many of them.

use crate::kit::notification;
use crate::work::ALL;

/// Bytes of about this size that somebody would send to have a lot of work done.
type Poison = fn(usize) -> Vec<u8>;

const POISONS: [(&str, Poison); 16] = [
    ("newlines", |size| b"\n".repeat(size)),
    ("blanks", |size| b" ".repeat(size)),
    ("starts of a CONNECT", |size| b"\x10".repeat(size)),
    ("CONNECTs in a client id", |size| {
        let header = b"\x10\xC2\x80\x01\0\x04MQTT\x04\x02\0\x3C\x40\x36";
        let block = [header.repeat(0x4036 / header.len()), vec![0xFF; header.len()]].concat();
        block.into_iter().cycle().take(size).collect()
    }),
    ("CONNECTs", |size| b"\x10\x0D\0\x04MQTT\x04\x02\0\x3C\0\x01a".repeat(size / 15)),
    ("lines that become MQTT", |size| b"{\"a\n\x10\x7F\0\x04MQTT".repeat(size / 12)),
    ("empty packets", |size| b"\xC0\0".repeat(size / 2)),
    ("brackets", |size| b"[".repeat(size)),
    ("quotes", |size| b"\"".repeat(size)),
    ("backslashes", |size| [&b"\""[..], &b"\\\\".repeat(size / 2), b"\""].concat()),
    ("an object of many members", |size| object((0..size / 10).map(|n| format!("\"m{n:05}\":0")))),
    ("a list of objects that all differ", |size| {
        list((0..size / 12).map(|n| format!("{{\"m{n:06}\":0}}")))
    }),
    ("one name with many values", |size| object((0..size / 8).map(|_| "\"disk\":0".to_owned()))),
    ("a long text in the place of each argument", |size| {
        let text = format!("\"{}\"", "\\u0041".repeat(size / 36));
        let names = ["nom_disque", "chemin_fichier", "disk", "filepath", "destination", "etat"];
        object(names.iter().map(|name| format!("\"{name}\":{text}")))
    }),
    ("glued messages", |size| notification("vm-gui", "tous", "x", "{}").repeat(size / 96).into()),
    ("messages inside torn ones", |size| {
        let message = notification("vm-gui", "tous", "x", "{}");
        format!("{{\"a\":[{message},").repeat(size / 104).into()
    }),
];

fn object(members: impl Iterator<Item = String>) -> Vec<u8> {
    format!("{{{}}}", members.collect::<Vec<_>>().join(",")).into()
}

fn list(elements: impl Iterator<Item = String>) -> Vec<u8> {
    format!("[{}]", elements.collect::<Vec<_>>().join(",")).into()
}

#[test]
fn eight_times_the_bytes_make_eight_times_the_work() {
    for work in ALL {
        // The mapping is given them once for each of its rows.
        let few = if work.name == "mapping" { 2 * 1024 } else { 24 * 1024 };
        for (poison, make) in POISONS {
            let (few, many) = (make(few), make(8 * few));
            let (little, much) = (work.steps(&few), work.steps(&many));
            let name = work.name;
            assert!(little > 0, "{name}, {poison}: nothing is counted");
            let most = 9 * little.max(few.len().try_into().unwrap());
            assert!(much <= most, "{name}, {poison}: {little} steps become {much}");
        }
        work.steps(b"{}");
    }
}
