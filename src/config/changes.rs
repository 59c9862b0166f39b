//! What of a configuration can change while the gateway runs, and what needs a restart.

use super::{Broker, Channel, Config, Tls};
use crate::diagnostic::{Finding, Findings};
use std::ops::Range;
use std::path::PathBuf;

impl Config {
    /// What is not as in the configuration with which the gateway `started`, and cannot change while it
    /// runs. The mapping, the dialects, the policy, the limits and the log can.
    #[must_use]
    pub fn needs_restart(&self, started: &Self) -> Vec<Finding> {
        // Nothing is left out: whoever adds a key decides here what a change of it means.
        let Self {
            source: _,
            places: _,
            table: _,
            mappings: _,
            folders: _,
            limits,
            policy: _,
            log: _,
            instance,
            broker,
            channels,
            observe,
            dom0,
            control,
            metrics,
            store,
            grace,
            watch,
            confine,
            state_dir,
        } = self;
        let Broker { addresses, tls, user, password_file, passwords, keep_alive, session_expiry } =
            broker;
        let before = &started.broker;
        let mut found = Findings::default();
        for (key, same) in [
            ("instance", *instance == started.instance),
            ("grace", *grace == started.grace),
            ("watch", *watch == started.watch),
            ("confine", *confine == started.confine),
            ("observe.relay", *observe == started.observe),
            // To offer no more sockets takes nothing that a running gateway has not.
            ("dom0.relay", dom0.is_none() || *dom0 == started.dom0),
            ("control.socket", *control == started.control),
            ("metrics.file", *metrics == started.metrics),
            ("store", *store == started.store),
            ("state_dir", *state_dir == started.state_dir),
            ("broker.url", *addresses == before.addresses),
            ("broker.ca_file", ca_file(tls) == ca_file(&before.tls)),
            ("broker.cert_file", cert_file(tls) == cert_file(&before.tls)),
            ("broker.key_file", key_file(tls) == key_file(&before.tls)),
            ("broker.user", *user == before.user),
            ("broker.password_file", *password_file == before.password_file),
            ("broker.passwords", *passwords == before.passwords),
            ("broker.keep_alive", *keep_alive == before.keep_alive),
            ("broker.session_expiry", *session_expiry == before.session_expiry),
        ] {
            if !same {
                self.add_restart(key, key, started, &mut found);
            }
        }
        let count = channels.len().max(started.channels.len());
        for i in 0..count {
            if let Some(key) = changed(channels.get(i), started.channels.get(i)) {
                let path = format!("channel.{i}{key}");
                self.add_restart(&format!("channel{key}"), &path, started, &mut found);
            }
        }
        // The broker was told the largest packet when the sessions connected, twice a line and some. A
        // line in Base64, a third longer, must go on fitting into it.
        let longest = started.limits.line.saturating_add(started.limits.line / 2);
        if limits.line > longest {
            let message = "`limits.line` needs a restart to become so long";
            let help = format!(
                "restart passerelle, or write {longest} bytes or less: half as much again as at its start"
            );
            found.add(&self.source, self.place("limits.line"), message, help);
        }
        found.into_sorted()
    }

    fn add_restart(&self, key: &str, path: &str, started: &Self, found: &mut Findings) {
        let before = started.places.value(path).and_then(|span| started.source.text.get(span));
        let one_line = before.filter(|text| !text.contains('\n') && !text.starts_with('['));
        let help = match (one_line, before) {
            (Some(text), _) => format!("restart passerelle, or write {text} as it runs now"),
            (None, Some(_)) => "restart passerelle, or write what it runs with now".to_owned(),
            (None, None) => "restart passerelle, or leave it out as it runs now".to_owned(),
        };
        let message = format!("a change of `{key}` needs a restart");
        found.add(&self.source, self.place(path), message, help);
    }

    /// Where a key stands, or else the nearest table around it.
    fn place(&self, path: &str) -> Range<usize> {
        let around = |path: &str| path.rsplit_once('.').map(|(above, _)| above.to_owned());
        let mut paths = std::iter::successors(Some(path.to_owned()), |path| around(path));
        paths.find_map(|path| self.places.value(&path)).unwrap_or(0..0)
    }
}

/// The key by which two channels differ, with a dot before it; empty for all of a channel.
fn changed(now: Option<&Channel>, before: Option<&Channel>) -> Option<&'static str> {
    match (now, before) {
        (now, before) if now == before => None,
        (Some(Channel::Unix(_)), Some(Channel::Unix(_))) => Some(".unix"),
        (Some(Channel::Serial(now, _)), Some(Channel::Serial(before, _))) => {
            Some(if now == before { ".local" } else { ".serial" })
        }
        _ => Some(""),
    }
}

fn ca_file(tls: &Option<Tls>) -> Option<&PathBuf> {
    tls.as_ref().map(|tls| &tls.ca_file)
}

fn cert_file(tls: &Option<Tls>) -> Option<&PathBuf> {
    tls.as_ref()?.client.as_ref().map(|client| &client.cert_file)
}

fn key_file(tls: &Option<Tls>) -> Option<&PathBuf> {
    tls.as_ref()?.client.as_ref().map(|client| &client.key_file)
}
