//! Who asks on MQTT.

use crate::translate::json::{self, Object};
use crate::translate::name::DomainName;
use crate::translate::publish::Received;
use crate::translate::refusal::Reason;

/// What a request's topic and properties say.
pub(super) struct Asker {
    /// Its name, if it says one that a domain can have.
    pub name: Option<DomainName>,
    /// What is wrong with how it names itself.
    pub fault: Option<(Reason, String)>,
    /// Where its answer goes.
    pub reply: String,
}

impl Asker {
    /// Its name, or what stands for one.
    pub fn known(&self) -> DomainName {
        self.name.clone().unwrap_or_else(DomainName::anonymous)
    }
}

/// The user property `source`, if it is a name.
pub(super) fn sender(message: &Received) -> DomainName {
    let named = message.source.as_deref().and_then(|s| DomainName::parse(s).ok());
    named.unwrap_or_else(DomainName::anonymous)
}

/// Who asks: by the response topic, else by the payload, else by the topic's end.
pub(super) fn named_by(
    message: &Received,
    root: &str,
    suffix: Option<&str>,
    payload: &Object<'_>,
    member: Option<&str>,
) -> Asker {
    let bare = format!("{root}/response");
    let nobody = |fault| Asker { name: None, fault, reply: bare.clone() };
    let bad = |what: String| nobody(Some((Reason::BadName, what)));
    if let Some(topic) = &message.response_topic {
        let rest = topic.strip_prefix(&bare);
        return match rest.and_then(|r| r.strip_prefix('/')) {
            Some(name) => match DomainName::parse(name) {
                Ok(name) => Asker { name: Some(name), fault: None, reply: topic.clone() },
                Err(error) => bad(format!("response topic {topic:?}: {error}")),
            },
            None => bad(format!("the response topic {topic:?} is not {bare}/<name>")),
        };
    }
    let said = match payload.get(member.unwrap_or("source")) {
        Some(raw) => match json::decode_str(raw) {
            Some(name) => Some(name.into_owned()),
            None => return bad("the requester in the payload is no text".into()),
        },
        None => suffix.map(str::to_owned),
    };
    match said.as_deref().map(DomainName::parse) {
        None => nobody(None),
        Some(Ok(name)) => {
            let reply = format!("{bare}/{name}");
            Asker { name: Some(name), fault: None, reply }
        }
        Some(Err(error)) => bad(error.to_string()),
    }
}
