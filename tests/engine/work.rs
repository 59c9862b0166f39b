//! Everything that goes through bytes from outside, and how many steps it may take for each of them. The
//! fuzz target `steps` holds any bytes to the same bounds.

use passerelle::diagnostic::Source;
use passerelle::engine::clock::Now;
use passerelle::engine::frame::Decoder;
use passerelle::engine::limits::Limits;
use passerelle::engine::mapping::Table;
use passerelle::engine::mapping::table::Speaks;
use passerelle::engine::name::DomainName;
use passerelle::engine::proxy::Setting;
use passerelle::engine::publish::Received;
use passerelle::engine::rehearsal::Rehearsal;
use passerelle::engine::tunnel::detector::Detector;
use passerelle::engine::tunnel::packets::Packets;
use passerelle::engine::{json, legacy, steps};
use std::sync::{Arc, LazyLock};
use std::time::{Duration, SystemTime};

/// What bytes are given to.
pub struct Work {
    pub name: &'static str,
    /// Goes through them, and says how many it was given in all.
    run: fn(&[u8]) -> usize,
    /// The most steps for each byte.
    each: u64,
}

pub const ALL: [Work; 5] = [
    Work { name: "lines", run: lines, each: 3 },
    Work { name: "json", run: walk, each: 32 },
    Work { name: "detector", run: detector, each: 6 },
    Work { name: "packets", run: packets, each: 1 },
    // It is all rows of the seed's with one body: what a row costs without one is in it.
    Work { name: "mapping", run: mapping, each: 32 },
];

impl Work {
    /// How many steps it takes through these bytes.
    ///
    /// # Panics
    /// They are more than is allowed for as many bytes as these.
    pub fn steps(&self, bytes: &[u8]) -> u64 {
        steps::taken();
        let given = u64::try_from((self.run)(bytes)).expect("a length");
        let taken = steps::taken();
        let most = self.each * given;
        assert!(taken <= most, "{}: {taken} steps for {given} bytes, {most} at most", self.name);
        taken
    }
}

/// As the gateway reads.
const READ: usize = 8 * 1024;

fn lines(bytes: &[u8]) -> usize {
    let mut decoder = Decoder::new(1 << 20);
    for part in bytes.chunks(READ) {
        decoder.push(part);
        while decoder.next().is_some() {}
    }
    bytes.len()
}

fn walk(bytes: &[u8]) -> usize {
    let limits = Limits::default();
    if let Ok(value) = json::read(bytes, limits.depth) {
        let _ = json::for_each(value.text, &mut |_| Ok::<_, ()>(()));
        let _ = json::for_each_object(value.text, &mut |_| Ok::<_, ()>(()));
    }
    let line = bytes.split(|b| *b == b'\n').next().unwrap_or_default();
    let _ = legacy::parse(line, limits.depth);
    let _ = legacy::pieces(line, limits.depth);
    bytes.len()
}

fn detector(bytes: &[u8]) -> usize {
    let mut detector = Detector::new();
    for part in bytes.chunks(READ) {
        detector.push(part, Duration::ZERO);
        while detector.next().is_some() {}
    }
    bytes.len()
}

fn packets(bytes: &[u8]) -> usize {
    let (mut packets, mut rest) = (Packets::default(), bytes);
    while let Ok(taken) = packets.advance(rest) {
        rest = &rest[taken..];
        if rest.is_empty() {
            break;
        }
    }
    bytes.len()
}

static TABLE: LazyLock<Arc<Table>> = LazyLock::new(|| {
    let text = include_str!("../../mappings/psec.toml").to_owned();
    let source = Arc::new(Source { name: "psec.toml".into(), text });
    Arc::new(Table::compile(&[source], &Speaks::default()).expect("the seed's mapping"))
});

/// The bytes as the body of everything that a mapping knows, from either side.
fn mapping(bytes: &[u8]) -> usize {
    let domains = ["vm-gui", "sys-usb"].map(|name| DomainName::parse(name).expect("a name"));
    let setting = Setting {
        table: Arc::clone(&TABLE),
        policy: Arc::default(),
        limits: Limits::default(),
        instance: "dom0".into(),
        nonce: "n".into(),
    };
    let now = Now { monotonic: Duration::ZERO, wall: SystemTime::UNIX_EPOCH };
    let mut gateway = Rehearsal::new(setting, &domains, now);
    let mut given = 0;
    for line in from_legacy(bytes) {
        given += line.len();
        gateway.receive(&domains[0], &line);
        gateway.take_effects();
    }
    for topic in topics() {
        let payload = bytes.to_owned().into();
        let response_topic =
            topic.strip_suffix("/request").map(|root| format!("{root}/response/vm-far"));
        let source = Some("vm-far".to_owned());
        given += topic.len() + bytes.len();
        gateway.publish(&Received {
            topic,
            payload,
            response_topic,
            source,
            ..Received::default()
        });
        gateway.take_effects();
    }
    given
}

fn from_legacy(body: &[u8]) -> Vec<Vec<u8>> {
    let line = |kind: &str, key: &str, name: &str, member: &str| {
        let head = format!(
            r#"{{"type":"{kind}","source":"vm-gui","destination":"vm-far","payload":{{"{key}":"{name}","{member}":"#
        );
        let body: Vec<u8> = body.iter().copied().filter(|b| *b != b'\n').collect();
        [head.as_bytes(), &body, b"}}\n"].concat()
    };
    let commands = TABLE.commands().iter().flat_map(|row| {
        let asked = line("commande", "commande", &row.legacy, "arguments");
        [asked, line("reponse", "commande", &row.legacy, "data")]
    });
    let events =
        TABLE.events().iter().map(|row| line("notification", "evenement", &row.legacy, "data"));
    commands.chain(events).collect()
}

fn topics() -> Vec<String> {
    let of = |root: &String| [format!("{root}/request"), format!("{root}/response/vm-gui")];
    let commands = TABLE.commands().iter().flat_map(|row| of(&row.root));
    commands.chain(TABLE.events().iter().filter_map(|row| row.topic.clone())).collect()
}
