//! Who asks on MQTT: who can be proved. A request may say it in four ways; only its topic can prove it, and
//! only where the broker lets nobody but `vm-gui` and the gateway publish on `<root>/request/vm-gui`.
//!
//! | names are | published on | who asks | response topic, payload and user property |
//! |--|--|--|--|
//! | [proved](Names::Proved) | `<root>/request/<name>` | `<name>` | say the same, or nothing |
//! | [proved](Names::Proved) | `<root>/request` | `mqtt` | say nothing |
//! | [said](Names::Said) | either | the first of: response topic, payload, the topic's last level | say the same, or nothing |
//! | [said](Names::Said) | `<root>/request` | `mqtt`, if those three say nothing | |
//!
//! Whatever says another name makes the request a `spoofed_source`, and nobody is answered.

use crate::engine::json::{self, Object};
use crate::engine::name::DomainName;
use crate::engine::policy::Names;
use crate::engine::publish::Received;
use crate::engine::refusal::Reason;

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

/// What a request says of who asks.
struct Claims {
    /// By the response topic, the payload, and the topic's last level, in this order.
    names: [Option<DomainName>; 3],
    /// By the user property `source`.
    property: Option<DomainName>,
}

/// Who asks, by the table above. `member` is the payload's member that says it, `source` if none is given.
pub(super) fn named_by(
    message: &Received,
    (root, suffix): (&str, Option<&str>),
    payload: &Object<'_>,
    member: Option<&str>,
    names: Names,
) -> Asker {
    let bare = format!("{root}/response");
    let claims = claims(message, &bare, suffix, payload.get(member.unwrap_or("source")));
    let (name, fault) = match (claims, names) {
        (Err(detail), _) => (None, Some((Reason::BadName, detail))),
        (Ok(claims), Names::Said) => said(claims),
        (Ok(claims), Names::Proved) => proved(claims, root),
    };
    let reply = match &name {
        Some(name) => format!("{bare}/{name}"),
        None => bare,
    };
    Asker { name, fault, reply }
}

fn claims(
    message: &Received,
    bare: &str,
    suffix: Option<&str>,
    member: Option<&str>,
) -> Result<Claims, String> {
    let reply = message.response_topic.as_deref().map(|topic| {
        let name = topic.strip_prefix(bare).and_then(|rest| rest.strip_prefix('/'));
        let name = name.ok_or_else(|| format!("the response topic {topic:?} is not {bare}/<name>"));
        DomainName::parse(name?).map_err(|error| format!("response topic {topic:?}: {error}"))
    });
    let member = member.map(|raw| {
        let name = json::decode_str(raw).ok_or("the requester in the payload is no text")?;
        DomainName::parse(&name).map_err(|error| error.to_string())
    });
    let suffix = suffix.map(|name| DomainName::parse(name).map_err(|error| error.to_string()));
    let names = [reply.transpose()?, member.transpose()?, suffix.transpose()?];
    // Whoever is not of this system may mean something else by the word.
    let property = message.source.as_deref().and_then(|name| DomainName::parse(name).ok());
    Ok(Claims { names, property })
}

/// What somebody is, and why it may not be that.
type Named = (Option<DomainName>, Option<(Reason, String)>);

/// The first name that is said, if no other is.
fn said(claims: Claims) -> Named {
    let Some(name) = claims.names.iter().flatten().next().cloned() else { return (None, None) };
    let other = claims.names.into_iter().chain([claims.property]).flatten().find(|n| *n != name);
    let detail = other.map(|other| format!("it says that {name} asks, and that {other} does"));
    (Some(name), detail.map(|detail| (Reason::SpoofedSource, detail)))
}

/// The name that the topic proves, if no other is said.
fn proved(claims: Claims, root: &str) -> Named {
    let [reply, member, name] = claims.names;
    let known = name.clone().unwrap_or_else(DomainName::anonymous);
    let other = [reply, member, claims.property].into_iter().flatten().find(|n| *n != known);
    let detail = other
        .map(|other| format!("{known} may not ask as {other}, who asks on {root}/request/{other}"));
    (name, detail.map(|detail| (Reason::SpoofedSource, detail)))
}
