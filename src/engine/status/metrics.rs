//! The status as metrics.

use super::{Spoke, State};
use serde_json::Value;
use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::time::SystemTime;

/// The form of the text. They differ in what a counter is called in its head, and in the end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum MetricsForm {
    /// Prometheus's text format, version 0.0.4, which the node exporter's text collector reads.
    Prometheus,
    /// OpenMetrics 1.0.
    OpenMetrics,
}

/// A metric's kind, as a scraper knows it.
#[derive(Clone, Copy)]
enum MetricKind {
    Gauge,
    Counter,
}

/// All metrics. What the broker has may be anything: what is no number is left out.
#[must_use]
pub fn metrics(
    form: MetricsForm,
    instance: &str,
    gateway: Option<&Value>,
    domains: &BTreeMap<String, Value>,
) -> String {
    let mut out = Metrics { text: String::new(), instance, form };
    out.gateway(gateway.unwrap_or(&Value::Null));
    // What one that is gone has said is not so any more.
    if gateway.is_some_and(|gateway| member(gateway, "state") == "online") {
        out.domains(domains);
    }
    if form == MetricsForm::OpenMetrics {
        out.text.push_str("# EOF\n");
    }
    out.text
}

/// The same of a whole status, as a gateway that is asked gives it.
#[must_use]
pub fn metrics_of(form: MetricsForm, whole: &Value) -> String {
    let domains = whole.get("domains").and_then(Value::as_object).into_iter().flatten();
    let domains = domains.map(|(name, domain)| (name.clone(), domain.clone())).collect();
    let instance = whole.get("instance").and_then(Value::as_str).unwrap_or_default();
    metrics(form, instance, whole.get("gateway"), &domains)
}

/// Whether something does not mend itself: a person has to look at it. The figure is 1 where it is so.
#[must_use]
pub fn faults(gateway: &Value) -> [(&'static str, bool); 5] {
    let some = |name: &str| match member(gateway, name) {
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
    form: MetricsForm,
}

impl Metrics<'_> {
    fn gateway(&mut self, gateway: &Value) {
        let number = |is: bool| Value::from(u8::from(is));
        let online = member(gateway, "state") == "online";
        self.head("up", MetricKind::Gauge, "Whether the gateway runs.");
        self.sample("up", &[], &number(online || member(gateway, "state") == "observing"));
        self.head("build_info", MetricKind::Gauge, "The version that runs.");
        if let Some(version) = member(gateway, "version").as_str() {
            self.sample("build_info", &[("version", version)], &number(true));
        }
        self.head("start_time_seconds", MetricKind::Gauge, "When it started.");
        self.sample("start_time_seconds", &[], &when(member(gateway, "since")));
        self.head("broker_up", MetricKind::Gauge, "Whether the gateway reaches the broker.");
        self.sample("broker_up", &[], &number(online && member(gateway, "broker_error").is_null()));
        self.head("fault", MetricKind::Gauge, "Whether something of this kind needs a person.");
        for (kind, is) in faults(gateway) {
            self.sample("fault", &[("kind", kind)], &number(is));
        }
    }

    fn domains(&mut self, domains: &BTreeMap<String, Value>) {
        self.head("domain_state", MetricKind::Gauge, "1 for the state that the domain is in.");
        for (name, domain) in domains {
            for state in State::ALL.map(State::as_str) {
                let is = Value::from(u8::from(member(domain, "state") == state));
                self.sample("domain_state", &[("domain", name), ("state", state)], &is);
            }
        }
        let last = "domain_last_legacy_timestamp_seconds";
        self.head(last, MetricKind::Gauge, "When the domain last spoke legacy.");
        for (name, domain) in domains {
            self.sample(last, &[("domain", name)], &when(member(domain, "last_legacy")));
        }
        let flat = [
            ("calls_pending", "calls_pending", MetricKind::Gauge, "Calls that wait for an answer."),
            ("store_bytes", "store_bytes", MetricKind::Gauge, "Bytes of the domain's log on disk."),
            (
                "store_records",
                "store_records",
                MetricKind::Gauge,
                "Records in the domain's log that are still needed.",
            ),
            ("held_bytes", "held_bytes", MetricKind::Gauge, "Bytes of messages that are held."),
            (
                "mqtt_dropped_bytes_total",
                "mqtt_bytes_dropped",
                MetricKind::Counter,
                "Bytes that were neither lines nor MQTT with a connection to the broker.",
            ),
        ];
        for (metric, name, kind, help) in flat {
            self.each(metric, kind, help, domains, |domain| member(domain, name));
        }
        let since = "store_since_timestamp_seconds";
        self.head(
            since,
            MetricKind::Gauge,
            "Since when something is in the domain's log without a pause.",
        );
        for (name, domain) in domains {
            self.sample(since, &[("domain", name)], &when(member(domain, "store_since")));
        }
        let losses = "Connections of the domain's own MQTT that the broker has lost, by what became of them.";
        self.head("mqtt_losses_total", MetricKind::Counter, losses);
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
        let help = "Lines that were heard of a legacy domain, by their kind.";
        self.head("messages_heard_total", MetricKind::Counter, help);
        for (name, domain) in domains {
            for kind in Spoke::ALL.map(Spoke::as_str) {
                let labels = [("domain", name.as_str()), ("kind", kind)];
                self.sample("messages_heard_total", &labels, within(domain, "heard", kind));
            }
        }
        let help = "Messages that the domain has published by its own MQTT, over its channel.";
        let published = |domain| member(domain, "mqtt_published");
        self.each("mqtt_published_total", MetricKind::Counter, help, domains, published);
        let help = "Messages that came from the domain, or for it.";
        let received = |domain| within(domain, "counters", "received");
        self.each("messages_received_total", MetricKind::Counter, help, domains, received);
        let help = "Messages, by how they ended.";
        self.head("messages_ended_total", MetricKind::Counter, help);
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
            self.head(metric, MetricKind::Counter, help);
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
            let took = member(domain, "call_seconds");
            let mut within: Vec<_> = member(took, "le").as_object().into_iter().flatten().collect();
            let bound = |text: &str| text.parse::<f64>().unwrap_or(f64::INFINITY);
            within.sort_by(|a, b| bound(a.0).total_cmp(&bound(b.0)));
            for (bound, count) in within {
                // OpenMetrics wants a bound with a point.
                let bound = if bound.contains('.') { bound.clone() } else { format!("{bound}.0") };
                let labels = [("domain", name.as_str()), ("le", bound.as_str())];
                self.sample("call_seconds_bucket", &labels, count);
            }
            let labels = [("domain", name.as_str())];
            self.sample(
                "call_seconds_bucket",
                &[("domain", name.as_str()), ("le", "+Inf")],
                member(took, "count"),
            );
            self.sample("call_seconds_sum", &labels, member(took, "sum"));
            self.sample("call_seconds_count", &labels, member(took, "count"));
        }
    }

    fn each<'v>(
        &mut self,
        metric: &str,
        kind: MetricKind,
        help: &str,
        domains: &'v BTreeMap<String, Value>,
        value: impl Fn(&'v Value) -> &'v Value,
    ) {
        self.head(metric, kind, help);
        for (name, domain) in domains {
            self.sample(metric, &[("domain", name)], value(domain));
        }
    }

    fn head(&mut self, metric: &str, kind: MetricKind, help: &str) {
        let kind = match kind {
            MetricKind::Gauge => "gauge",
            MetricKind::Counter => "counter",
        };
        self.begin(metric, kind, help);
    }

    fn begin(&mut self, metric: &str, kind: &str, help: &str) {
        let family = match self.form {
            MetricsForm::Prometheus => metric,
            MetricsForm::OpenMetrics => metric.strip_suffix("_total").unwrap_or(metric),
        };
        let _ = writeln!(self.text, "# HELP passerelle_{family} {help}");
        let _ = writeln!(self.text, "# TYPE passerelle_{family} {kind}");
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

/// A member; null if there is none.
fn member<'v>(value: &'v Value, name: &str) -> &'v Value {
    value.get(name).unwrap_or(&Value::Null)
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
