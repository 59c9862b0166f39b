//! What the tests of the engine have in common: a gateway, lines, messages, and its effects as text.

use passerelle::conversation;
use passerelle::diagnostic::Source;
use passerelle::engine::limits::Limits;
use passerelle::engine::mapping::Table;
use passerelle::engine::mapping::table::Speaks;
use passerelle::engine::name::DomainName;
use passerelle::engine::proxy::Setting;
use passerelle::engine::publish::Received;
use passerelle::engine::rehearsal::Rehearsal;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, SystemTime};

pub fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).to_owned()
}

pub fn compile(files: &[PathBuf], speaks: &Speaks) -> Table {
    let read = |path: &PathBuf| {
        let text = std::fs::read_to_string(path).expect("a mapping file");
        Arc::new(Source { name: path.display().to_string(), text })
    };
    let sources: Vec<_> = files.iter().map(read).collect();
    Table::compile(&sources, speaks).expect("a good mapping")
}

pub fn seed() -> Table {
    compile(&[root().join("mappings/psec.toml")], &Speaks::default())
}

/// The seed's mapping and rows of somebody's own after it.
pub fn seed_and(rows: &str) -> Table {
    let text = std::fs::read_to_string(root().join("mappings/psec.toml")).expect("the seed's");
    let source = Arc::new(Source { name: "own.toml".into(), text: format!("{text}\n{rows}") });
    Table::compile(&[source], &Speaks::default()).unwrap_or_else(|found| {
        panic!("{}", found.iter().map(ToString::to_string).collect::<String>())
    })
}

pub fn name(text: &str) -> DomainName {
    DomainName::parse(text).expect("a name")
}

pub fn gateway(legacy: &[&str]) -> Rehearsal {
    with_limits(seed(), legacy, Limits::default())
}

pub fn with_limits(table: Table, legacy: &[&str], limits: Limits) -> Rehearsal {
    let legacy: Vec<_> = legacy.iter().map(|n| name(n)).collect();
    made(&Arc::new(table), &legacy, limits, "dom0")
}

/// A gateway of a table that several have.
pub fn shared(table: &Arc<Table>, legacy: &[DomainName]) -> Rehearsal {
    made(table, legacy, Limits::default(), "dom0")
}

/// A gateway of another machine.
pub fn elsewhere(table: &Arc<Table>, legacy: &[DomainName]) -> Rehearsal {
    made(table, legacy, Limits::default(), "elsewhere")
}

/// What a proxy of a gateway holds to.
pub fn setting(table: impl Into<Arc<Table>>, limits: Limits) -> Setting {
    let (instance, nonce) = ("dom0".into(), "n".into());
    Setting { table: table.into(), policy: Arc::default(), limits, instance, nonce }
}

fn made(table: &Arc<Table>, legacy: &[DomainName], limits: Limits, instance: &str) -> Rehearsal {
    let nonce = format!("call-{instance}").into();
    let setting =
        Setting { instance: instance.into(), nonce, ..setting(Arc::clone(table), limits) };
    let now = passerelle::engine::clock::Now {
        monotonic: Duration::ZERO,
        wall: SystemTime::UNIX_EPOCH + Duration::from_secs(1_767_225_600),
    };
    Rehearsal::new(setting, legacy, now)
}

pub fn command(source: &str, destination: &str, name: &str, arguments: &str) -> String {
    format!(
        r#"{{"type":"commande","source":"{source}","destination":"{destination}","payload":{{"commande":"{name}","arguments":{arguments}}}}}"#
    )
}

pub fn response(source: &str, destination: &str, name: &str, data: &str) -> String {
    format!(
        r#"{{"type":"reponse","source":"{source}","destination":"{destination}","payload":{{"commande":"{name}","data":{data}}}}}"#
    )
}

pub fn notification(source: &str, destination: &str, name: &str, data: &str) -> String {
    format!(
        r#"{{"type":"notification","source":"{source}","destination":"{destination}","payload":{{"evenement":"{name}","data":{data}}}}}"#
    )
}

/// A request on MQTT by a requester that correlates.
pub fn request(root: &str, requester: &str, correlation: &str, payload: &str) -> Received {
    Received {
        topic: format!("{root}/request"),
        payload: payload.to_owned().into(),
        response_topic: Some(format!("{root}/response/{requester}")),
        correlation: Some(correlation.to_owned().into()),
        source: Some(requester.to_owned()),
        ..Received::default()
    }
}

/// A gateway that is driven by text.
pub struct Play {
    pub gateway: Rehearsal,
}

impl Play {
    pub fn new(legacy: &[&str]) -> Self {
        Self::with(gateway(legacy))
    }

    pub fn with(mut gateway: Rehearsal) -> Self {
        gateway.take_effects();
        Self { gateway }
    }

    /// A line from the domain that it says it is from.
    pub fn line(&mut self, line: &str) -> Vec<String> {
        let object: serde_json::Value = serde_json::from_str(line).expect("JSON");
        let source = object["source"].as_str().expect("a source").to_owned();
        self.from(&source, line)
    }

    /// A line from a domain, whatever it says.
    pub fn from(&mut self, domain: &str, line: &str) -> Vec<String> {
        assert!(self.gateway.receive(&name(domain), format!("{line}\n").as_bytes()));
        self.effects()
    }

    pub fn mqtt(&mut self, message: &Received) -> Vec<String> {
        self.gateway.publish(message);
        self.effects()
    }

    /// A domain's channel goes, and that is all that happens.
    pub fn disconnect(&mut self, domain: &str) {
        self.gateway.disconnect(&name(domain));
        assert_eq!(self.effects(), [format!(r#"{{"mode":"absent","of":"{domain}"}}"#)]);
    }

    pub fn elapse(&mut self, seconds: u64) -> Vec<String> {
        self.gateway.elapse(Duration::from_secs(seconds));
        self.effects()
    }

    pub fn effects(&mut self) -> Vec<String> {
        let effects = self.gateway.take_effects();
        assert_ledger(&self.gateway);
        effects.iter().map(conversation::render).collect()
    }
}

/// Every message that came in has ended, or is under way.
pub fn assert_ledger(gateway: &Rehearsal) {
    let (counters, under_way) = gateway.ledger();
    assert_eq!(
        counters.received,
        counters.ended() + under_way as u64,
        "{counters}, {under_way} under way"
    );
}
