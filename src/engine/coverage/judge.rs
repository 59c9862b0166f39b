//! What the gateway would do with a line once everybody but its sender has moved to MQTT.

use crate::engine::clock::Now;
use crate::engine::identity::Identity;
use crate::engine::legacy::{Kind, Message};
use crate::engine::name::DomainName;
use crate::engine::proxy::{Action, Proxy, Setting, row_of};
use crate::engine::refusal::Reason;
use crate::engine::roster::Roster;
use std::collections::BTreeSet;
use std::sync::Arc;

/// What becomes of a message.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub enum Verdict {
    /// A row of the mapping, by its name, carries it to MQTT.
    Covered(String),
    /// The gateway does itself what the router did.
    Gateway,
    /// It is passed on word for word, and only to domains that are still legacy.
    LegacyOnly,
    /// It is refused.
    Refused(Reason),
    /// The router itself said it. The gateway does not answer for Dom0: its controller must.
    Dom0,
}

impl Verdict {
    /// Whether nothing is left to do about it in the mapping or in a domain.
    #[must_use]
    pub fn is_covered(&self) -> bool {
        matches!(self, Self::Covered(_) | Self::Gateway | Self::Dom0)
    }

    /// Its stable name, as in `coverage.json`.
    #[must_use]
    pub fn as_str(&self) -> &'static str {
        match self {
            Self::Covered(_) => "covered",
            Self::Gateway => "gateway",
            Self::LegacyOnly => "legacy_only",
            Self::Refused(_) => "refused",
            Self::Dom0 => "dom0",
        }
    }
}

/// Judges a line without its end, by having a proxy that knows no other legacy domain take it. Also
/// says, for a person, what is wrong with it.
#[must_use]
pub fn judge(
    setting: &Setting,
    sender: &DomainName,
    line: &[u8],
    message: Option<&Message<'_>>,
    now: Now,
) -> (Verdict, String) {
    let mut proxy = Proxy::new(Identity::Domain(sender.clone()), setting, now.monotonic);
    let legacy = BTreeSet::from([sender.clone()]);
    proxy.set_roster(Arc::new(Roster { legacy, ..Roster::default() }));
    proxy.connected(now);
    proxy.receive(line, now);
    proxy.receive(b"\n", now);
    let (mut published, mut passed, mut refused) = (false, false, None);
    for action in proxy.take_actions() {
        match action {
            Action::Publish(_) | Action::HandOver(_) => published = true,
            Action::Pass(..) | Action::PassAll(_) => passed = true,
            Action::Refused(refusal) if refused.is_none() => refused = Some(refusal),
            Action::Refused(_)
            | Action::Tell(_)
            | Action::Subscribe(_)
            | Action::Withdraw(_)
            | Action::Acknowledge(_)
            | Action::Queued
            | Action::Store(..)
            | Action::Hold(..)
            | Action::Over(_)
            | Action::Ignored(..)
            | Action::Crossed(_)
            | Action::Retire => {}
        }
    }
    let to = message.and_then(|m| DomainName::parse(&m.destination).ok());
    let row = message.and_then(|m| row_of(&setting.table, m, to.as_ref()));
    let row = row.map(|row| row.to_string());
    let event = message.is_some_and(|m| m.kind == Kind::Notification);
    let everyone = to.as_ref().is_some_and(DomainName::is_everyone);
    let verdict = match (refused, row) {
        // That its call is not known is the observer's doing: here only the mapping counts.
        (Some(refusal), Some(row)) if refusal.reason == Reason::NoPendingCall => {
            Verdict::Covered(row)
        }
        (Some(refusal), _) => return (Verdict::Refused(refusal.reason), refusal.detail),
        (None, Some(row)) if published || event => Verdict::Covered(row),
        (None, _) if passed && everyone => {
            let detail = "only domains that are still legacy would see it";
            return (Verdict::LegacyOnly, detail.to_owned());
        }
        (None, _) => Verdict::Gateway,
    };
    (verdict, String::new())
}
