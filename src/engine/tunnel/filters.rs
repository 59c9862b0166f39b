//! What a domain is subscribed to, as the broker granted it.

use super::packet::{
    self, FAILED, SUBSCRIBE, SUBSCRIPTION_ID, after_properties, field, length, properties,
    push_field, push_length,
};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// How many bytes of filters are remembered, each with what it costs beside.
const MOST: usize = 64 * 1024;
const EACH: usize = 64;

/// In the options of a subscription: what is retained comes only if there was none (MQTT 5, 3.8.3.1).
const RETAIN_HANDLING: u8 = 0x30;
const ONLY_NEW: u8 = 0x10;

/// The subscriptions of one session.
#[derive(Debug, Default, Serialize, Deserialize)]
pub(super) struct Filters {
    #[serde(with = "crate::engine::snapshot::pairs")]
    all: BTreeMap<Box<[u8]>, Granted>,
    held: usize,
}

/// One of them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
struct Granted {
    /// What was asked for: the QoS, and in MQTT 5 how it is to be delivered.
    options: u8,
    /// The QoS that the broker granted.
    qos: u8,
    /// The subscription identifier of MQTT 5.
    number: Option<u32>,
}

/// There are more than are remembered.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct TooMany;

impl Filters {
    pub fn held(&self) -> usize {
        self.held
    }

    pub fn clear(&mut self) {
        *self = Self::default();
    }

    /// The broker has answered a SUBSCRIBE.
    ///
    /// # Errors
    /// [`TooMany`].
    pub fn subscribed(
        &mut self,
        subscribe: &[u8],
        suback: &[u8],
        is_five: bool,
    ) -> Result<(), TooMany> {
        let codes = after_id(suback, is_five).unwrap_or_default();
        let number = number(subscribe).filter(|_| is_five);
        let mut rest = after_id(subscribe, is_five).unwrap_or_default();
        for &qos in codes {
            let Some((filter, after)) = field(rest) else { break };
            let Some((&options, after)) = after.split_first() else { break };
            rest = after;
            if qos >= FAILED {
                continue;
            }
            if !self.all.contains_key(filter) {
                self.held += EACH + filter.len();
                if self.held > MOST {
                    self.held -= EACH + filter.len();
                    return Err(TooMany);
                }
            }
            self.all.insert(filter.into(), Granted { options, qos, number });
        }
        Ok(())
    }

    /// The broker has answered an UNSUBSCRIBE.
    pub fn unsubscribed(&mut self, unsubscribe: &[u8], is_five: bool) {
        let mut rest = after_id(unsubscribe, is_five).unwrap_or_default();
        while let Some((filter, after)) = field(rest) {
            rest = after;
            if self.all.remove(filter).is_some() {
                self.held -= EACH + filter.len();
            }
        }
    }

    /// A SUBSCRIBE for each, by these identifiers, and what each is to be granted. What is retained comes again
    /// if the broker `has_them` not, and in MQTT 3, which cannot say so.
    pub fn again(
        &self,
        ids: impl Iterator<Item = u16>,
        is_five: bool,
        has_them: bool,
    ) -> (Vec<u8>, BTreeMap<u16, u8>) {
        let (mut packets, mut wanted) = (Vec::new(), BTreeMap::new());
        for ((filter, granted), id) in self.all.iter().zip(ids) {
            let mut body = id.to_be_bytes().to_vec();
            if is_five {
                let mut number = Vec::new();
                if let Some(n) = granted.number {
                    number.push(SUBSCRIPTION_ID);
                    push_length(&mut number, usize::try_from(n).unwrap_or_default());
                }
                push_length(&mut body, number.len());
                body.extend(number);
            }
            push_field(&mut body, filter);
            body.push(match is_five && has_them {
                true => granted.options & !RETAIN_HANDLING | ONLY_NEW,
                false => granted.options,
            });
            packets.push(SUBSCRIBE | 0x02);
            push_length(&mut packets, body.len());
            packets.extend(body);
            wanted.insert(id, granted.qos);
        }
        (packets, wanted)
    }
}

/// The code of a SUBACK that answers a SUBSCRIBE of one filter.
pub(super) fn code(suback: &[u8], is_five: bool) -> Option<u8> {
    after_id(suback, is_five)?.first().copied()
}

fn after_id(packet: &[u8], is_five: bool) -> Option<&[u8]> {
    let rest = packet::body(packet).get(2..)?;
    if is_five { after_properties(rest) } else { Some(rest) }
}

fn number(subscribe: &[u8]) -> Option<u32> {
    let mut all = properties(packet::body(subscribe).get(2..)?)?;
    let (_, value) = all.find(|(key, _)| *key == SUBSCRIPTION_ID)?;
    length(value).and_then(|(number, _)| u32::try_from(number).ok())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_granted_is_asked_for_again_as_it_was() {
        let mut filters = Filters::default();
        // With the subscription identifier 300: `a` and `b`, of which `b` is refused.
        let both = b"\x82\x0E\0\x07\x03\x0B\xAC\x02\0\x01a\x2A\0\x01b\x01";
        assert_eq!(filters.subscribed(both, &[0x90, 5, 0, 7, 0, 1, 0x87], true), Ok(()));
        let (packets, wanted) = filters.again([9].into_iter(), true, false);
        assert_eq!(packets, b"\x82\x0A\0\x09\x03\x0B\xAC\x02\0\x01a\x2A");
        assert_eq!(wanted, BTreeMap::from([(9, 1)]));
        let (packets, _) = filters.again([9].into_iter(), true, true);
        assert_eq!(packets.last(), Some(&0x1A));
        filters.unsubscribed(&[0xA2, 6, 0, 8, 0, 0, 1, b'a'], true);
        assert_eq!(filters.again([9].into_iter(), true, false), (Vec::new(), BTreeMap::new()));
        assert_eq!(filters.held(), 0);
    }

    #[test]
    fn there_is_an_end_to_what_is_remembered() {
        let mut filters = Filters::default();
        let mut count = 0_u16;
        loop {
            let [high, low] = count.to_be_bytes();
            let one = [0x82, 7, 0, 1, 0, 2, high, low, 0];
            if filters.subscribed(&one, &[0x90, 3, 0, 1, 0], false).is_err() {
                break;
            }
            count += 1;
        }
        assert!(filters.held() <= MOST && usize::from(count) == MOST / (EACH + 2));
    }
}
