//! The gateway's own session: notifications from MQTT, translated once, and notices of refusals.

mod handed;

use super::clock::Now;
use super::identity::Identity;
use super::json::{self, Object, Value};
use super::legacy::{self, Kind};
use super::mapping::shape::{Context, Side, Values};
use super::mapping::{Command, Event, Table};
use super::name::{DomainName, GATEWAY};
use super::policy::{Names, Said};
use super::proxy::{Action, Forwarded, Setting, events, reason_of};
use super::publish::{Publish, Received, Token};
use super::queue::DeliveryId;
use super::refusal::{Counters, IgnoreReason, Reason, Refusal, brief, head, of};
use super::roster::Roster;
use super::subscriptions;
use super::tap::{Crossing, Ending, Form};
use bytes::Bytes;
use handed::Handed;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

/// How often a notice about one domain and one reason is published.
const EVERY: Duration = Duration::from_secs(1);

/// Notices about one domain and one reason.
#[derive(Debug, Serialize, Deserialize)]
struct Notices {
    /// When the next may go.
    next: Duration,
    /// How many were held back, and the last of them.
    held: Option<(u64, Refusal)>,
}

/// The state machine of the gateway's own session.
#[derive(Debug, Serialize, Deserialize)]
pub struct Hub {
    #[serde(with = "crate::engine::snapshot::shared")]
    table: Arc<Table>,
    /// Tables of before, for as long as calls may wait for a notification that they alone have.
    earlier: Vec<(Arc<Table>, Duration)>,
    setting: Setting,
    /// The gateway's own name on the legacy wire, and those that may not come from MQTT.
    own: DomainName,
    #[serde(with = "crate::engine::snapshot::shared")]
    roster: Arc<Roster>,
    #[serde(with = "crate::engine::snapshot::pairs")]
    notices: BTreeMap<(DomainName, Reason), Notices>,
    handed: Handed,
    next: u64,
    /// Whether anybody watches what crosses.
    watched: bool,
    #[serde(skip)]
    actions: Vec<Action>,
    counters: Counters,
}

impl Hub {
    /// The hub of a gateway whose channels are `identity`'s.
    #[must_use]
    pub fn new(setting: &Setting, identity: Option<&Identity>) -> Self {
        let own = match identity {
            Some(Identity::Behind { own, .. }) => own.clone(),
            _ => DomainName::dom0(),
        };
        Self {
            table: Arc::clone(&setting.table),
            earlier: Vec::new(),
            setting: setting.clone(),
            own,
            roster: Arc::default(),
            notices: BTreeMap::new(),
            handed: Handed::default(),
            next: 0,
            watched: false,
            actions: Vec::new(),
            counters: Counters::default(),
        }
    }

    /// The client id of the gateway's own session.
    #[must_use]
    pub fn client_id(instance: &str) -> String {
        format!("passerelle-{instance}")
    }

    /// What is to be done, in order. Empty it after each call.
    pub fn take_actions(&mut self) -> Vec<Action> {
        std::mem::take(&mut self.actions)
    }

    /// How messages have ended so far.
    #[must_use]
    pub fn counters(&self) -> &Counters {
        &self.counters
    }

    /// Who is a legacy domain here has changed.
    pub fn set_roster(&mut self, roster: Arc<Roster>) {
        self.roster = roster;
    }

    /// From now on the mapping and the limits of `setting` hold.
    pub fn reload(&mut self, setting: &Setting, now: Now) {
        let before = std::mem::replace(&mut self.table, Arc::clone(&setting.table));
        self.setting = setting.clone();
        let lost =
            |row: &&Arc<Command>| row.announced.iter().any(|a| !self.table.has_event_at(&a.topic));
        if let Some(longest) = before.commands().iter().filter(lost).map(|r| r.timeout).max() {
            self.earlier.push((before, now.monotonic.saturating_add(longest)));
        }
        self.subscribe();
    }

    fn subscribe(&mut self) {
        let mut filters = subscriptions::of_hub(&self.table);
        for (table, _) in &self.earlier {
            let announced = table.commands().iter().flat_map(|r| &r.announced);
            filters.extend(announced.map(|a| a.topic.clone()));
        }
        self.actions.push(Action::Subscribe(filters));
    }

    /// The row of a notification, and whether only a table of before has it.
    fn event_at(&self, topic: &str, payload: &Object<'_>) -> Option<(&Arc<Event>, bool)> {
        if self.table.has_event_at(topic) {
            return self.table.event_at(topic, payload).map(|event| (event, false));
        }
        let earlier = self.earlier.iter().rev();
        earlier.filter_map(|(t, _)| t.event_at(topic, payload)).next().map(|event| (event, true))
    }

    /// A message from the gateway's own session.
    pub fn deliver(&mut self, message: &Received, delivery: DeliveryId, now: Now) {
        self.counters.received += 1;
        let named = message.source.as_deref().and_then(|s| DomainName::parse(s).ok());
        let from = named.clone().unwrap_or_else(DomainName::anonymous);
        let own = message.mark.as_deref() == Some(&*self.setting.instance);
        if own || message.clears() {
            let why = if own { IgnoreReason::Own } else { IgnoreReason::Cleared };
            *self.counters.ignored.entry(why).or_default() += 1;
            self.actions.push(Action::Ignored(why, from));
        } else {
            match self.translate(message, named, now) {
                Ok(passed) => {
                    self.counters.delivered += u64::from(!self.is_behind());
                    let line = match &passed {
                        Forwarded::Event { line, .. } => Some(line.clone()),
                        _ => None,
                    };
                    self.crossed(message, (from, line), Ending::Crossed, now);
                    self.actions.push(Action::PassAll(passed));
                }
                Err((reason, detail)) => {
                    *self.counters.refused.entry(reason).or_default() += 1;
                    let row = self.table.row_at(&message.topic).unwrap_or_default();
                    let (detail, head) = (brief(of(&row, &detail).into()), head(&message.payload));
                    let outcome = Ending::Refused(reason, detail.clone());
                    self.crossed(message, (from.clone(), None), outcome, now);
                    self.actions.push(Action::Refused(Refusal { reason, from, detail, head }));
                }
            }
        }
        self.actions.push(Action::Acknowledge(delivery));
    }

    /// Whether all that is legacy is behind one serial line: what is for everyone there is a message for one
    /// channel, whose proxy counts how it ends.
    fn is_behind(&self) -> bool {
        !self.own.is_dom0()
    }

    /// Nobody was there for a notification: there is no proxy that could count it.
    pub fn nobody_there(&mut self, passed: &Forwarded) {
        if let (true, Forwarded::Event { line, row, source, .. }) = (self.is_behind(), passed) {
            let (reason, from) = (Reason::NoSuchDomain, source.clone());
            *self.counters.refused.entry(reason).or_default() += 1;
            let detail = of(&row.name, "nobody is behind the serial port").into_owned();
            self.actions.push(Action::Refused(Refusal { reason, from, detail, head: head(line) }));
        }
    }

    /// From now on what crosses is told, by [`Action::Crossed`]; or no more.
    pub fn set_watched(&mut self, watched: bool) {
        self.watched = watched;
    }

    fn crossed(
        &mut self,
        message: &Received,
        (from, line): (DomainName, Option<Bytes>),
        outcome: Ending,
        now: Now,
    ) {
        if self.watched {
            let came = Form::received(message);
            let depth = self.setting.limits.depth;
            let became = line.iter().map(|line| Form::line(line, depth)).collect();
            let crossing = Crossing { at: now.wall, from, came, became, took: None, outcome };
            self.actions.push(Action::Crossed(Box::new(crossing)));
        }
    }

    fn translate(
        &self,
        message: &Received,
        named: Option<DomainName>,
        now: Now,
    ) -> Result<Forwarded, (Reason, String)> {
        let limits = &self.setting.limits;
        limits.may_be_a_line(&message.payload)?;
        let body = json::read(&message.payload, limits.depth)
            .map_err(|e| (Reason::NotJson, e.to_string()))?;
        if let Err(error) = &body.object {
            return Err((Reason::BadValue, format!("the payload is {error}")));
        }
        let Some((event, late)) = self.event_at(&message.topic, body.as_object()) else {
            if self.table.has_event_at(&message.topic) {
                return Err((Reason::BadValue, format!("no row of {} fits", message.topic)));
            }
            return Err((Reason::NotMapped, format!("no row has the topic {:?}", message.topic)));
        };
        let (from, source) = self.emitter(named);
        let mut data = Vec::with_capacity(body.text.len() + 64);
        let context = Context {
            now,
            source: source.as_str(),
            request: None,
            instead: &[],
            known: const { &Values::new() },
            limit: limits.line,
        };
        event.shape.translate(Side::Mqtt, &body, &context, &mut data).map_err(reason_of)?;
        let everyone = DomainName::everyone();
        let line = legacy::write(
            Kind::Notification,
            source.as_str(),
            everyone.as_str(),
            &event.legacy,
            &data,
        );
        if line.len() > limits.line {
            let detail = format!("it makes a line of more than {} bytes", limits.line);
            return Err((Reason::LineTooLong, detail));
        }
        let row = Arc::clone(event);
        let said = Said::event(&row);
        let allowed = self.setting.policy.allows_published(&from, &said);
        // Those whose call it belongs to have been allowed that call.
        if !allowed && !self.is_announced(&message.topic) {
            let detail = format!("the policy does not let {from} say {said} to everyone");
            return Err((Reason::NotAllowed, detail));
        }
        let late = late || !allowed;
        Ok(Forwarded::Event { line, row, payload: message.payload.clone(), source, late })
    }

    /// Who has published a notification, to the policy and on the legacy wire, where whoever says no name is
    /// the gateway. A legacy domain's name nobody has on MQTT, and where names are proved a notification's topic
    /// proves none.
    fn emitter(&self, named: Option<DomainName>) -> (DomainName, DomainName) {
        let may_be = |n: &DomainName| !n.is_everyone() && !self.roster.legacy.contains(n);
        let from = match (named, self.setting.policy.names) {
            (None, _) => return (DomainName::anonymous(), self.own.clone()),
            (Some(_), Names::Proved) => Some(DomainName::anonymous()),
            (named, Names::Said) => named.filter(may_be),
        };
        let source =
            from.clone().filter(|_| self.own.is_dom0()).unwrap_or_else(|| self.own.clone());
        (from.unwrap_or_else(DomainName::anonymous), source)
    }

    /// Whether a notification of this topic may belong to somebody's call.
    fn is_announced(&self, topic: &str) -> bool {
        self.table.commands().iter().flat_map(|row| &row.announced).any(|a| a.topic == topic)
    }

    /// A refusal somewhere in the gateway: it is published, or held back for a moment. That of another
    /// gateway's notice the log alone has: the two would tell each other of it for ever.
    pub fn refused(&mut self, refusal: Refusal, now: Now) {
        if refusal.from.as_str() == GATEWAY {
            return;
        }
        // The names are what anybody on MQTT writes: those that are too many share a notice.
        const MOST: usize = 1024;
        let mut key = (refusal.from.clone(), refusal.reason);
        if self.notices.len() >= MOST && !self.notices.contains_key(&key) {
            key.0 = DomainName::anonymous();
        }
        let notices =
            self.notices.entry(key).or_insert(Notices { next: now.monotonic, held: None });
        if notices.next > now.monotonic {
            let held = notices.held.as_ref().map_or(0, |h| h.0);
            notices.held = Some((held + 1, refusal));
            return;
        }
        notices.next = now.monotonic + EVERY;
        self.notice(&refusal, 0, now);
    }

    /// When [`Hub::wake`] has something to do.
    #[must_use]
    pub fn deadline(&self) -> Option<Duration> {
        let notices = self.notices.values().map(|n| n.next);
        let earlier = self.earlier.iter().map(|e| e.1);
        notices.chain(earlier).chain(self.deadline_of_calls()).min()
    }

    /// Time has passed: what was held back is summed up, and what nobody took is published again.
    pub fn wake(&mut self, now: Now) {
        self.wake_calls(now);
        let before = self.earlier.len();
        self.earlier.retain(|(_, until)| *until > now.monotonic);
        if self.earlier.len() < before {
            self.subscribe();
        }
        let due: Vec<_> = self
            .notices
            .iter()
            .filter(|(_, n)| n.next <= now.monotonic)
            .map(|(key, _)| key.clone())
            .collect();
        for key in due {
            let Some(mut notices) = self.notices.remove(&key) else { continue };
            if let Some((count, refusal)) = notices.held.take() {
                self.notice(&refusal, count, now);
                notices.next = now.monotonic + EVERY;
                self.notices.insert(key, notices);
            }
        }
    }

    fn notice(&mut self, refusal: &Refusal, held: u64, now: Now) {
        let Refusal { reason, from, detail, head } = refusal;
        let more = if held > 1 { format!(" ({held} such since the last)") } else { String::new() };
        let text = json::string(&format!("{reason}: {from}: {detail}{more}: {head}"));
        let body = format!("{{\"niveau\":40,\"module\":\"passerelle\",\"message\":{text}}}");
        let context = Context {
            now,
            source: GATEWAY,
            request: None,
            instead: &[],
            known: const { &Values::new() },
            limit: self.setting.limits.line,
        };
        let publishes = events(&self.table, "erreur", &Value::parse(&body), None, &context);
        // A mapping without the error notification has nowhere to publish to: the log has it.
        for (event, payload) in publishes.unwrap_or_default() {
            let Some(topic) = event.topic.clone() else { continue };
            self.next += 1;
            self.actions.push(Action::Publish(Publish {
                source: DomainName::parse(GATEWAY).ok(),
                mark: Some(Arc::clone(&self.setting.instance)),
                ..Publish::new(Token(self.next), topic, payload, event.qos)
            }));
        }
    }
}
