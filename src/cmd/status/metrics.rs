//! The status as metrics, in Prometheus's text format (version 0.0.4).

use crate::engine::status::State;
use serde_json::Value;
use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::time::SystemTime;

/// A metric's kind, as a scraper knows it.
#[derive(Clone, Copy)]
enum Kind {
    Gauge,
    Counter,
}

/// All metrics. What the broker has may be anything: what is no number is left out.
pub(super) fn metrics(
    instance: &str,
    gateway: Option<&Value>,
    domains: &BTreeMap<String, Value>,
) -> String {
    let mut out = Metrics { text: String::new(), instance };
    out.gateway(gateway.unwrap_or(&Value::Null));
    // What one that is gone has said is not so any more.
    if gateway.is_some_and(|gateway| gateway["state"] == "online") {
        out.domains(domains);
    }
    out.text
}

/// Whether something does not mend itself: a person has to look at it. The figure is 1 where it is so.
pub(super) fn faults(gateway: &Value) -> [(&'static str, bool); 5] {
    let some = |member: &str| match &gateway[member] {
        Value::Array(all) => !all.is_empty(),
        other => !other.is_null(),
    };
    [
        ("memory", some("memory_error")),
        ("other_gateway", some("other_gateway")),
        ("reload", within(gateway, "reload", "outcome") == "refused"),
        ("sockets", some("socket_errors")),
        ("store", some("store_errors")),
    ]
}

struct Metrics<'i> {
    text: String,
    instance: &'i str,
}

impl Metrics<'_> {
    fn gateway(&mut self, gateway: &Value) {
        let number = |is: bool| Value::from(u8::from(is));
        let online = gateway["state"] == "online";
        self.head("up", Kind::Gauge, "Whether the gateway runs.");
        self.sample("up", &[], &number(online || gateway["state"] == "observing"));
        self.head("build_info", Kind::Gauge, "The version that runs.");
        if let Some(version) = gateway["version"].as_str() {
            self.sample("build_info", &[("version", version)], &number(true));
        }
        self.head("start_time_seconds", Kind::Gauge, "When it started.");
        self.sample("start_time_seconds", &[], &when(&gateway["since"]));
        self.head("broker_up", Kind::Gauge, "Whether the gateway reaches the broker.");
        self.sample("broker_up", &[], &number(online && gateway["broker_error"].is_null()));
        self.head("fault", Kind::Gauge, "Whether something of this kind needs a person.");
        for (kind, is) in faults(gateway) {
            self.sample("fault", &[("kind", kind)], &number(is));
        }
    }

    fn domains(&mut self, domains: &BTreeMap<String, Value>) {
        self.head("domain_state", Kind::Gauge, "1 for the state that the domain is in.");
        for (name, domain) in domains {
            for state in State::ALL.map(State::as_str) {
                let is = Value::from(u8::from(domain["state"] == state));
                self.sample("domain_state", &[("domain", name), ("state", state)], &is);
            }
        }
        let last = "domain_last_legacy_timestamp_seconds";
        self.head(last, Kind::Gauge, "When the domain last spoke legacy.");
        for (name, domain) in domains {
            self.sample(last, &[("domain", name)], &when(&domain["last_legacy"]));
        }
        let flat = [
            ("calls_pending", "calls_pending", Kind::Gauge, "Calls that wait for an answer."),
            ("held_bytes", "held_bytes", Kind::Gauge, "Bytes of messages that are held."),
            (
                "mqtt_dropped_bytes_total",
                "mqtt_bytes_dropped",
                Kind::Counter,
                "Bytes that were neither lines nor MQTT with a connection to the broker.",
            ),
        ];
        for (metric, member, kind, help) in flat {
            self.each(metric, kind, help, domains, |domain| &domain[member]);
        }
        let losses = "Connections of the domain's own MQTT that the broker has lost, by what became of them.";
        self.head("mqtt_losses_total", Kind::Counter, losses);
        for (name, domain) in domains {
            for outcome in ["healed", "told"] {
                let labels = [("domain", name.as_str()), ("outcome", outcome)];
                self.sample("mqtt_losses_total", &labels, within(domain, "mqtt_losses", outcome));
            }
        }
        self.messages(domains);
        self.call_seconds(domains);
    }

    fn messages(&mut self, domains: &BTreeMap<String, Value>) {
        let help = "Messages that came from the domain, or for it.";
        let received = |domain| within(domain, "counters", "received");
        self.each("messages_received_total", Kind::Counter, help, domains, received);
        let help = "Messages, by how they ended.";
        self.head("messages_ended_total", Kind::Counter, help);
        for (name, domain) in domains {
            for outcome in ["delivered", "answered", "stored"] {
                let labels = [("domain", name.as_str()), ("outcome", outcome)];
                self.sample("messages_ended_total", &labels, within(domain, "counters", outcome));
            }
        }
        for (metric, member, label, help) in [
            ("messages_refused_total", "refused", "reason", "Messages that were refused."),
            (
                "messages_ignored_total",
                "ignored",
                "why",
                "Messages with which nothing had to be done.",
            ),
        ] {
            self.head(metric, Kind::Counter, help);
            for (name, domain) in domains {
                for (why, count) in
                    within(domain, "counters", member).as_object().into_iter().flatten()
                {
                    self.sample(metric, &[("domain", name), (label, why)], count);
                }
            }
        }
    }

    /// How long answered calls took.
    fn call_seconds(&mut self, domains: &BTreeMap<String, Value>) {
        let help = "How long answered calls took, the domain's own and those to it.";
        self.begin("call_seconds", "histogram", help);
        for (name, domain) in domains {
            let took = &domain["call_seconds"];
            let mut within: Vec<_> = took["le"].as_object().into_iter().flatten().collect();
            let bound = |text: &str| text.parse::<f64>().unwrap_or(f64::INFINITY);
            within.sort_by(|a, b| bound(a.0).total_cmp(&bound(b.0)));
            for (bound, count) in within {
                let labels = [("domain", name.as_str()), ("le", bound)];
                self.sample("call_seconds_bucket", &labels, count);
            }
            let labels = [("domain", name.as_str())];
            self.sample("call_seconds_bucket", &[labels[0], ("le", "+Inf")], &took["count"]);
            self.sample("call_seconds_sum", &labels, &took["sum"]);
            self.sample("call_seconds_count", &labels, &took["count"]);
        }
    }

    fn each<'v>(
        &mut self,
        metric: &str,
        kind: Kind,
        help: &str,
        domains: &'v BTreeMap<String, Value>,
        value: impl Fn(&'v Value) -> &'v Value,
    ) {
        self.head(metric, kind, help);
        for (name, domain) in domains {
            self.sample(metric, &[("domain", name)], value(domain));
        }
    }

    fn head(&mut self, metric: &str, kind: Kind, help: &str) {
        let kind = match kind {
            Kind::Gauge => "gauge",
            Kind::Counter => "counter",
        };
        self.begin(metric, kind, help);
    }

    fn begin(&mut self, metric: &str, kind: &str, help: &str) {
        let _ = writeln!(self.text, "# HELP passerelle_{metric} {help}");
        let _ = writeln!(self.text, "# TYPE passerelle_{metric} {kind}");
    }

    fn sample(&mut self, metric: &str, labels: &[(&str, &str)], value: &Value) {
        let Some(value) = value.as_number() else { return };
        let _ = write!(self.text, "passerelle_{metric}{{instance=\"{}\"", escape(self.instance));
        for (label, text) in labels {
            let _ = write!(self.text, ",{label}=\"{}\"", escape(text));
        }
        let _ = writeln!(self.text, "}} {value}");
    }
}

/// A member of a member; null if there is none.
fn within<'v>(value: &'v Value, member: &str, inner: &str) -> &'v Value {
    value.get(member).and_then(|value| value.get(inner)).unwrap_or(&Value::Null)
}

/// A label's value.
fn escape(text: &str) -> String {
    text.replace('\\', "\\\\").replace('"', "\\\"").replace('\n', "\\n")
}

/// A time in seconds since 1970; null if it is none.
fn when(time: &Value) -> Value {
    let time = time.as_str().and_then(|text| humantime::parse_rfc3339(text).ok());
    let since = time.and_then(|time| time.duration_since(SystemTime::UNIX_EPOCH).ok());
    since.map_or(Value::Null, |since| Value::from(since.as_secs()))
}
