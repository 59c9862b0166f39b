//! Starts the tasks: a station or a tunnel for each domain, and the gateway's own session.

use super::super::exchange::{Directory, Mailbox, mailbox};
use super::super::hub::{self, ToHub};
use super::super::lock::Lock;
use super::super::port::{Place, Port};
use super::super::session::{Credentials, Filter, Session, Settings};
use super::super::station::{self, Control, Station};
use super::super::status::Status;
use super::super::tunnel;
use super::{End, Running, Supervisor};
use crate::translate::hub::Hub;
use crate::translate::name::DomainName;
use crate::translate::proxy::{Identity, Proxy};
use crate::translate::status::About;
use crate::translate::subscriptions;
use crate::translate::tunnel::Tunnel;
use crate::translate::tunnel::carrier::Carrier;
use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::{mpsc, watch};
use tokio::task::JoinHandle;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

impl Supervisor {
    pub(super) fn start_status(
        &mut self,
        store_error: Option<String>,
        lock: Result<Lock, String>,
    ) -> Status {
        let about = About {
            instance: self.setting.instance.to_string(),
            version: env!("CARGO_PKG_VERSION"),
            mappings: std::mem::take(&mut self.config.mappings),
            memory_error: None,
            store_error,
        };
        let run = Arc::clone(&self.setting.nonce);
        Status::start(about, &self.config.state_dir, lock, run, self.clock.now())
    }

    pub(super) fn start_hub(
        &self,
        status: Status,
        left: Option<hub::Left>,
        directory: watch::Receiver<Arc<Directory>>,
        mail: mpsc::Receiver<ToHub>,
        stop: CancellationToken,
        limit: watch::Receiver<Option<Instant>>,
    ) -> JoinHandle<usize> {
        let client_id = Hub::client_id(&self.setting.instance);
        let filters = subscriptions::of_hub(&self.setting.table);
        let mut settings = self.session(client_id, self.secrets.own(), filters, Duration::MAX);
        settings.filters.push(status.filter());
        settings.will = Some(Status::will(&self.setting.instance));
        let task = hub::Task {
            hub: Hub::new(&self.setting, self.config.behind().as_ref()),
            session: Session::new(settings),
            status,
            drains: hub::Drains::default(),
            left,
            directory,
            mail,
            clock: self.clock,
            stop,
            lost: false,
            finishing: false,
        };
        tokio::spawn(task.run(limit))
    }

    /// What a session needs. The broker keeps it no longer than `kept`: a domain's for as long as the
    /// domain counts as legacy here.
    fn session(
        &self,
        client_id: String,
        credentials: Option<Credentials>,
        filters: BTreeSet<String>,
        kept: Duration,
    ) -> Settings {
        Settings {
            client_id,
            address: self.config.broker.address.clone(),
            credentials,
            keep_alive: self.config.broker.keep_alive,
            session_expiry: self.config.broker.session_expiry.min(kept),
            max_packet: max_packet(self.config.limits.line),
            read_room: self.read_room.clone(),
            filters: Filter::others(filters),
            gone: BTreeSet::new(),
            will: None,
        }
    }

    /// What a domain's session logs in with.
    fn credentials(&self, name: &DomainName) -> Option<Credentials> {
        if self.secrets.lacks(name) {
            tracing::warn!(domain = %name, "there is no password for it in `broker.passwords`");
        }
        self.secrets.of_session(name)
    }

    /// A station for a legacy channel, which may be there already.
    pub(super) fn start(
        &mut self,
        identity: Identity,
        place: Place,
        channel: Option<station::Channel>,
    ) {
        let name = match &identity {
            Identity::Domain(name) => name.clone(),
            Identity::Behind { own, .. } => own.clone(),
        };
        let client_id = subscriptions::client_id(&identity, &self.setting.instance);
        let filters = subscriptions::of_channel(&self.setting.table, &identity);
        let credentials = self.credentials(&name);
        let (mailbox, letters) = mailbox(self.setting.limits.queue);
        let controls = self.enter(&name, Some(mailbox), &place);
        let station = Station {
            proxy: Proxy::new(identity, &self.setting, self.clock.now().monotonic),
            settings: self.session(client_id, credentials, filters, self.setting.limits.away),
            directory: self.directory.subscribe(),
            mailbox: letters,
            control: controls,
            hub: self.hub.clone(),
            supervisor: self.told.clone(),
            level: self.level.subscribe(),
            clock: self.clock,
            limit: self.limit.clone(),
            spoken: self.spoken.clone(),
            store: self.store.clone(),
            name,
            place,
            channel,
        };
        self.tasks.spawn(async { End::Station(Box::new(station.run().await)) });
    }

    /// A tunnel for a domain that has come over to MQTT, or that was last seen there.
    pub(super) fn start_tunnel(
        &mut self,
        name: DomainName,
        place: Place,
        channel: Option<tunnel::Channel>,
    ) {
        let (channel, carrier, connect) = match channel {
            Some((channel, carrier, connect)) => (Some(channel), carrier, Some(connect)),
            None => (None, Carrier::mqtt(), None),
        };
        let control = self.enter(&name, None, &place);
        let limits = &self.setting.limits;
        let mut tunnel = Tunnel::new(name.clone(), carrier, limits.outbox, limits.away);
        tunnel.set_password(self.credentials(&name).and(self.secrets.password(&name)));
        let task = tunnel::Task {
            tunnel,
            port: Port::new(name.clone(), place, channel),
            address: self.config.broker.address.clone(),
            ids: self.ids.clone(),
            limit: limits.outbox,
            control,
            hub: self.hub.clone(),
            supervisor: self.told.clone(),
            level: self.level.subscribe(),
            clock: self.clock,
            until: self.limit.clone(),
            spoken: self.spoken.clone(),
            name,
        };
        self.tasks.spawn(async { End::Tunnel(Box::new(task.run(connect).await)) });
    }

    /// Enters a domain into the directory.
    fn enter(
        &mut self,
        name: &DomainName,
        mailbox: Option<Mailbox>,
        place: &Place,
    ) -> mpsc::UnboundedReceiver<Control> {
        let (control, controls) = mpsc::unbounded_channel();
        let place = place.clone();
        let (leaving, arrived, again) = (false, false, false);
        let running = Running { control, mailbox, place, leaving, arrived, held: 0, again };
        self.running.insert(name.clone(), running);
        self.ids.lock().know([name.clone()]);
        self.publish_directory();
        controls
    }
}

/// What the broker may send in one packet: well over a line, for Base64 and properties; anything larger
/// it would drop without a word.
pub(super) fn max_packet(line: usize) -> u32 {
    const PROPERTIES: usize = 256 * 1024;
    u32::try_from(line.saturating_mul(2).saturating_add(PROPERTIES)).unwrap_or(u32::MAX)
}
