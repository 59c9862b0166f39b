//! What was recorded, as inputs of a conversation: for a gateway with another mapping than the one that was told them.

use crate::conversation::{self, Input};
use crate::engine::clock::Now;
use crate::engine::gateway::{Gateway, GatewayInput, Recorded};
use crate::engine::name::DomainName;
use crate::engine::proxy::Setting;
use crate::engine::publish::Received;
use crate::engine::rehearsal::{Observed, Rehearsal};
use crate::engine::session::SessionInput;
use crate::engine::tap::Crossing;
use bytes::Bytes;
use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::time::Duration;

/// How far apart two sessions may be given the same message.
const TWICE: usize = 64;

/// The gateway that was recorded, while it is played again.
#[derive(Default)]
pub(super) struct Live {
    gateway: Option<Box<Gateway>>,
    legacy: BTreeSet<DomainName>,
    at: Duration,
    /// Messages of the broker that came last: each session that subscribes to one is given it.
    given: VecDeque<Received>,
}

/// Something that was said to the gateway from outside.
pub(super) struct Stimulus {
    /// What came of it when it was recorded, as whoever watched would have seen.
    pub crossings: Vec<Crossing>,
    /// It, and what has to come before.
    pub inputs: Vec<Input>,
}

impl Live {
    /// Nobody had a part in what was said: these are there, and Dom0's program speaks on the sockets of those.
    /// Gives how that begins.
    pub fn heard(domains: BTreeSet<DomainName>, sockets: BTreeSet<DomainName>) -> (Self, Stimulus) {
        let connect = domains.iter().cloned().map(Input::Connect);
        let relay = (!sockets.is_empty()).then_some(Input::Relay(true));
        let speaks = sockets.into_iter().map(|name| Input::Socket(name, true));
        let inputs = connect.chain(relay).chain(speaks).collect();
        let live = Self { legacy: domains, ..Self::default() };
        (live, Stimulus { crossings: Vec::new(), inputs })
    }

    /// The setting of the gateway, as soon as there is one.
    pub fn setting(&self) -> Option<Setting> {
        self.gateway.as_ref().map(|gateway| gateway.setting().clone())
    }

    /// The legacy domains that are there.
    pub fn legacy(&self) -> &BTreeSet<DomainName> {
        &self.legacy
    }

    /// Plays the next line. Gives what it says, if that is from outside.
    pub fn play(&mut self, recorded: Recorded) -> Option<Stimulus> {
        if self.gateway.is_none() && !matches!(recorded, Recorded::State(_)) {
            return self.hear(recorded);
        }
        let (told, at) = match recorded {
            Recorded::State(mut gateway) => {
                gateway.watch(true);
                self.gateway = Some(gateway);
                return None;
            }
            Recorded::Input { at, wall, told } => {
                let input = self.inputs(&told);
                // A difference to what was is not what is asked for here.
                let _ = self.gateway.as_mut()?.play(Recorded::Input { at, wall, told });
                (input, at)
            }
            recorded => {
                let _ = self.gateway.as_mut()?.play(recorded);
                return None;
            }
        };
        let mut inputs = self.come_and_go();
        inputs.extend(told);
        let crossings = self.gateway.as_mut()?.take_crossings();
        self.stimulus(at, inputs, crossings)
    }

    /// What was heard by one who had no part in it.
    fn hear(&mut self, recorded: Recorded) -> Option<Stimulus> {
        let Recorded::Input { at, told, .. } = recorded else { return None };
        let inputs = self.inputs(&told);
        self.stimulus(at, inputs, Vec::new())
    }

    fn stimulus(
        &mut self,
        at: Duration,
        mut inputs: Vec<Input>,
        crossings: Vec<Crossing>,
    ) -> Option<Stimulus> {
        if inputs.is_empty() {
            return None;
        }
        let passed = at.saturating_sub(std::mem::replace(&mut self.at, at));
        if !passed.is_zero() {
            inputs.insert(0, Input::Elapse(passed));
        }
        Some(Stimulus { crossings, inputs })
    }

    /// Legacy domains that are there by now, or no longer.
    fn come_and_go(&mut self) -> Vec<Input> {
        let Some(gateway) = &self.gateway else { return Vec::new() };
        let now: BTreeSet<_> = gateway.legacy_here().cloned().collect();
        let mut inputs: Vec<_> =
            now.difference(&self.legacy).cloned().map(Input::Connect).collect();
        inputs.extend(self.legacy.difference(&now).cloned().map(Input::Disconnect));
        self.legacy = now;
        inputs
    }

    /// What it says from outside, a line for each.
    fn inputs(&mut self, told: &GatewayInput) -> Vec<Input> {
        let lines = |bytes: &Bytes, input: fn(DomainName, Vec<u8>) -> Input, of: &DomainName| {
            let lines = bytes.split_inclusive(|byte| *byte == b'\n');
            lines.map(|line| input(of.clone(), line.to_vec())).collect()
        };
        match told {
            GatewayInput::Received { of, bytes, .. } if self.legacy.contains(of) => {
                lines(bytes, Input::Legacy, of)
            }
            GatewayInput::SocketReceived { of, bytes, .. } => lines(bytes, Input::OnSocket, of),
            GatewayInput::SocketOpened { of } => vec![Input::Socket(of.clone(), true)],
            GatewayInput::SocketClosed { of, .. } => vec![Input::Socket(of.clone(), false)],
            GatewayInput::Session { input: SessionInput::Received(message, ..), .. }
                if self.is_new(message) =>
            {
                vec![Input::Mqtt(message.clone())]
            }
            _ => Vec::new(),
        }
    }

    /// Whether a message has not just been given to another session.
    fn is_new(&mut self, message: &Received) -> bool {
        if self.given.contains(message) {
            return false;
        }
        self.given.push_back(message.clone());
        if self.given.len() > TWICE {
            self.given.pop_front();
        }
        true
    }
}

/// What comes of an input.
#[derive(Default)]
pub(super) struct Outcome {
    /// What is done.
    pub done: Vec<Observed>,
    /// What has crossed.
    pub crossings: Vec<Crossing>,
}

/// A gateway that is told the same.
pub(super) struct Trial {
    rehearsal: Rehearsal,
    /// How its requests are named, by their names in the recording.
    names: BTreeMap<Bytes, Bytes>,
    /// Its requests that are not answered, by where the answer goes, if nobody knows what they were named.
    pending: Option<BTreeMap<String, VecDeque<Bytes>>>,
}

impl Trial {
    /// `known`: the recording says how requests were named. Otherwise the first answer is the first request's.
    pub fn new(setting: Setting, now: Now, known: bool) -> Self {
        let mut rehearsal = Rehearsal::new(setting, &[], now);
        rehearsal.watch();
        let pending = (!known).then(BTreeMap::new);
        Self { rehearsal, names: BTreeMap::new(), pending }
    }

    /// Tells it. Gives what comes of each input.
    pub fn tell(&mut self, stimulus: &Stimulus) -> Vec<Outcome> {
        let mut outcomes = Vec::new();
        for input in &stimulus.inputs {
            let input = self.renamed(input.clone());
            let no_files = |_: &[String]| Err("a recording reloads nothing".to_owned());
            // What is for a domain that is not there here is for nobody.
            let done =
                conversation::apply(&mut self.rehearsal, input, no_files).unwrap_or_default();
            outcomes.push(Outcome { done, crossings: self.rehearsal.take_crossings() });
        }
        let done = outcomes.iter().flat_map(|outcome| &outcome.done);
        let asked: Vec<_> = done.filter_map(asks).collect();
        if let Some(pending) = &mut self.pending {
            for (topic, name) in &asked {
                pending.entry(topic.clone()).or_default().push_back(name.clone());
            }
        }
        let before = stimulus.crossings.iter().flat_map(Crossing::asks);
        self.names.extend(before.cloned().zip(asked.into_iter().map(|(_, name)| name)));
        outcomes
    }

    /// An answer says whose it is by the name that the request had.
    pub fn renamed(&mut self, input: Input) -> Input {
        match input {
            Input::Mqtt(mut message) => {
                let own = message.correlation.as_ref().and_then(|name| self.names.get(name));
                let pending = self.pending.as_mut().and_then(|all| all.get_mut(&message.topic));
                let own = own.cloned().or_else(|| pending?.pop_front());
                message.correlation = own.or(message.correlation);
                Input::Mqtt(message)
            }
            input => input,
        }
    }
}

/// Where the answer to a request goes, and the request's name.
fn asks(effect: &Observed) -> Option<(String, Bytes)> {
    let Observed::Published(_, publish) = effect else { return None };
    Some((publish.response_topic.clone()?, publish.correlation.clone()?))
}
