//! What has happened to a domain's channel.

use super::GatewayInput;
use super::domain::{Domain, Mode};
use super::{Effect, Gateway, OpenError, Pump};
use crate::engine::clock::Now;
use crate::engine::identity::Identity;
use crate::engine::name::DomainName;
use bytes::Bytes;

impl Gateway {
    /// A domain's channel has appeared, maybe anew.
    pub fn appeared(&mut self, identity: &Identity, now: Now) {
        self.note(now, |_| GatewayInput::Appeared { of: identity.clone() });
        let name = identity.name();
        let user = self.user.as_deref() == Some(name.as_str());
        let users = user.then_some("the gateway's user on the broker");
        if let Some(meaning) = users.or_else(|| name.meaning()) {
            return tracing::warn!(
                domain = %name,
                meaning,
                help = "give its socket another",
                "this name is not a domain's: not connected"
            );
        }
        self.offer(name, false);
        self.appear(identity, now);
    }

    /// A domain is there: one that may be.
    pub(super) fn appear(&mut self, identity: &Identity, now: Now) {
        let name = identity.name().clone();
        if let Some(domain) = self.domains.get_mut(&name) {
            if domain.channel.appeared() {
                self.effects.push(&Pump::Domain(name.clone()), Effect::Open);
            }
            self.become_legacy_if_gone(&name, now);
            return self.follow_up(&name, now);
        }
        self.count += 1;
        let mut domain = Domain::new(name.clone(), identity.clone(), self.count);
        if self.logins.lacks(&name) {
            tracing::warn!(domain = %name, help = "add a line for it, and reload", "there is no password for it in `broker.passwords`");
        }
        self.ids.know([name.clone()]);
        if let Some(tunnel) = self.tunnel_of_before(&name, now) {
            domain.mode = Mode::Mqtt(Box::new(tunnel));
        }
        domain.channel.appeared();
        self.domains.insert(name.clone(), domain);
        self.effects.push(&Pump::Domain(name.clone()), Effect::Open);
        self.become_legacy_if_gone(&name, now);
        self.new_roster();
        self.follow_up(&name, now);
    }

    /// A domain's channel has vanished, as far as can be seen from its name.
    pub fn vanished(&mut self, name: &DomainName, now: Now) {
        self.note(now, |_| GatewayInput::Vanished { of: name.clone() });
        let rests = self.with(name, now, |domain| {
            domain.channel.vanished();
            matches!(&domain.mode, Mode::Mqtt(tunnel) if tunnel.rests())
        });
        if rests == Some(true) {
            // What a domain that is gone has said too fast would be worked off for hours.
            self.effects.push(&Pump::Domain(name.clone()), Effect::Close);
        }
    }

    /// A folder of sockets cannot be watched for this reason, or can be again.
    pub fn folder_failing(&mut self, folder: String, error: Option<String>, now: Now) {
        self.note(now, |_| GatewayInput::FolderFailing {
            folder: folder.clone(),
            error: error.clone(),
        });
        self.own.board.folder(folder, error);
        self.run_own(now);
    }

    /// A domain's channel is open.
    pub fn opened(&mut self, name: &DomainName, now: Now) {
        self.note(now, |_| GatewayInput::Opened { of: name.clone() });
        self.channel_opened(name, now);
    }

    pub(super) fn channel_opened(&mut self, name: &DomainName, now: Now) {
        tracing::info!(domain = %name, "channel connected");
        self.with(name, now, |domain| {
            domain.channel.opened(now.monotonic);
            domain.retiring = false;
            if let Mode::Mqtt(tunnel) = &mut domain.mode {
                tunnel.channel_back();
            }
        });
        self.become_legacy_if_gone(name, now);
        self.begin_lines(name, now);
    }

    /// A domain's channel could not be opened.
    pub fn not_opened(&mut self, name: &DomainName, error: OpenError, now: Now) {
        self.note(now, |_| GatewayInput::NotOpened { of: name.clone(), error: error.clone() });
        tracing::debug!(domain = %name, error = error.why, "no channel yet");
        let told = self.with(name, now, |domain| domain.channel.not_opened(error, now.monotonic));
        if let Some(why) = told.flatten() {
            tracing::warn!(domain = %name, why, help = "look what it is, and who may read and write it", "its channel is there and cannot be opened: tried again");
        }
        self.tell_retry(name, now);
        if self.domains.get(name).is_some_and(|domain| domain.retiring) {
            self.leave_for_good(name, now);
        }
        self.remove_if_gone(name);
    }

    /// A domain's channel is lost.
    pub fn closed(&mut self, name: &DomainName, why: &str, now: Now) {
        self.note(now, |_| GatewayInput::Closed { of: name.clone(), why: why.to_owned() });
        self.channel_closed(name, why, now);
    }

    pub(super) fn channel_closed(&mut self, name: &DomainName, why: &str, now: Now) {
        let lost = self.with(name, now, |domain| {
            domain.channel.closed(now.monotonic);
            (domain.slow, domain.paused) = (false, None);
            domain.skipped.end(&domain.name);
            let detector = domain.detector();
            match &mut domain.mode {
                Mode::Legacy(legacy) => {
                    legacy.detector = legacy.detector.then(detector);
                    return legacy.proxy.disconnected(now);
                }
                Mode::Leaving(leaving) => leaving.detector = leaving.detector.then(detector),
                Mode::Mqtt(tunnel) => tunnel.channel_gone(),
                Mode::Gone => {}
            }
            0
        });
        if let Some(bytes_of_a_torn_line) = lost {
            tracing::info!(domain = %name, why, bytes_of_a_torn_line, "channel lost");
        }
    }

    /// Another program had changed the settings of a serial port, and they are right again.
    pub fn was_put_right(&mut self, name: &DomainName, now: Now) {
        self.note(now, |_| GatewayInput::WasPutRight { of: name.clone() });
        let told = self.with(name, now, |domain| {
            if let Some(proxy) = domain.proxy_mut() {
                proxy.was_put_right(now);
            }
            domain.channel.was_put_right(now.monotonic)
        });
        tell_of_settings(name, told.flatten());
    }

    /// Bytes from a domain's channel, cut anywhere. `more`: there may be as many again.
    pub fn received(&mut self, name: &DomainName, bytes: &[u8], more: bool, now: Now) {
        self.note(now, |_| GatewayInput::Received {
            of: name.clone(),
            bytes: Bytes::copy_from_slice(bytes),
            more,
        });
        let Some(domain) = self.domains.get_mut(name) else { return };
        match &mut domain.mode {
            Mode::Legacy(legacy) => legacy.detector.push(bytes, now.monotonic),
            Mode::Leaving(leaving) => leaving.detector.push(bytes, now.monotonic),
            Mode::Mqtt(tunnel) => {
                tunnel.receive(bytes, &mut self.ids, now.monotonic);
                self.spoken = Some((name.clone(), now.monotonic));
            }
            Mode::Gone => {}
        }
        self.take_pieces(name, now);
        self.pace(name, more, now);
        self.follow_up(name, now);
    }

    /// So many bytes of [`Gateway::to_channel`] were written.
    pub fn written(&mut self, name: &DomainName, count: usize, now: Now) {
        self.note(now, |gateway| {
            let sum = gateway.sum_of(name, gateway.to_channel(name), count);
            GatewayInput::Written { of: name.clone(), count, sum }
        });
        self.channel_written(name, count, now);
    }

    pub(super) fn channel_written(&mut self, name: &DomainName, count: usize, now: Now) {
        self.with(name, now, |domain| match &mut domain.mode {
            Mode::Legacy(_) if domain.channel.took_lines() => {}
            Mode::Legacy(legacy) => legacy.proxy.written(count, now),
            Mode::Mqtt(tunnel) => {
                domain.channel.took_packets();
                tunnel.written_to_domain(count);
            }
            Mode::Gone | Mode::Leaving(_) => {}
        });
    }
}

/// Says in the log that a serial port's settings were wrong, and how often so far, if there is something to say.
pub(super) fn tell_of_settings(name: &DomainName, times: Option<u64>) {
    let Some(times) = times else { return };
    tracing::warn!(
        domain = %name,
        times,
        help = "stop the program that has the port open, such as `stty`, `cat` or `screen`",
        "another program had changed the settings of its port: put right"
    );
}
