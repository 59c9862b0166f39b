//! How the body of a message reads on one side and is written on the other.
//!
//! A shape is symmetrical: each thing is said once and serves both directions. Values that it does
//! not translate are copied as they stand.

use super::Direction;
use super::place::Layout;
pub use super::place::{Both, Listed, Place, Side};
use super::scalar::Scalar;
use super::value::{self, Convert};
use super::write::{Body, Writer, give};
use crate::engine::clock::Now;
use crate::engine::json::{self, NotAnObject, Object, Value};
use crate::engine::steps;
use serde::{Deserialize, Serialize};
use std::collections::BTreeSet;

/// A value that one side has and the other has not.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub enum Supplied {
    /// Always the same.
    Constant(Scalar),
    /// A second copy of a member of the message that is read; `.` is the whole of it.
    Copy(String),
    /// The request's member of this (MQTT) name.
    Request(String),
    /// The name of the message's sender.
    Source,
    /// The time, RFC 3339 in UTC.
    Now,
}

/// A value that is left out when it says nothing.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct LeaveOut {
    /// The value that is left out.
    pub value: Scalar,
    /// Only in an object in which all of these (member of the side that is read, value) hold.
    pub when: Vec<(String, Scalar)>,
}

/// One member of MQTT and its legacy counterpart.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Rule {
    /// Where it stands on each side.
    pub place: Both<Place>,
    /// In which directions it is carried.
    pub direction: Direction,
    /// Whether it may be absent.
    pub optional: bool,
    /// The list in which a value must be, if one has come.
    pub listed: Option<Listed>,
    /// What is done to the value on its way.
    pub convert: Convert,
    /// What a side is given if the other has nothing.
    pub default: Both<Option<Supplied>>,
    /// What a side is not given.
    pub leave_out: Both<Option<LeaveOut>>,
}

/// A member of an answer that repeats one of the request's.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Repeat {
    /// The answer's member.
    pub member: String,
    /// The request's member, by its MQTT name.
    pub request: String,
    /// Whether it is written; else it is only compared where it is there.
    pub written: bool,
    /// What the request's member was given on MQTT if it did not begin so.
    pub leading: Option<String>,
}

impl Repeat {
    /// Whether a value repeats the one that was asked with.
    #[must_use]
    pub fn is_same(&self, said: &str, asked: &str) -> bool {
        let led = |text: &String| {
            let (said, asked) = (json::decode(said)?, json::decode(asked)?);
            said.strip_prefix(text.as_bytes()).map(|rest| *rest == *asked)
        };
        json::same(said, asked) || self.leading.as_ref().and_then(led).unwrap_or(false)
    }
}

/// The body of a request, an answer or a notification, for both sides.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Shape {
    /// What recognises it, and so is written: the conditions' first values.
    pub fixed: Both<Vec<(String, Scalar)>>,
    /// What both sides have.
    pub rules: Vec<Rule>,
    /// What repeats the request.
    pub repeats: Both<Vec<Repeat>>,
    /// What only one side has.
    pub add: Both<Vec<(String, Supplied)>>,
    /// What is left out on purpose.
    pub ignore: Both<Vec<String>>,
    /// Names that mean something on a side, so that nothing else may be carried under them.
    pub reserved: Both<BTreeSet<String>>,
    /// Names that are the row's own on a side: they are read, or left out on purpose.
    pub own: Both<BTreeSet<String>>,
}

/// A pending request's members, by their MQTT names, as they stood.
pub type Values = Vec<(String, String)>;

/// What a translation may use besides the message itself.
#[derive(Debug, Clone, Copy)]
pub struct Context<'a> {
    /// The time.
    pub now: Now,
    /// The message's sender.
    pub source: &'a str,
    /// The members of the request that the message answers, if that is known.
    pub request: Option<&'a Values>,
    /// What takes the place of a member in the result.
    pub instead: &'a [(String, Supplied)],
    /// Members of the result, as they are written where the message does not say them.
    pub known: &'a Values,
    /// The most bytes that a value may inflate to.
    pub limit: usize,
}

/// Why a body cannot be translated.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Fault {
    /// Something that must be there is not.
    Missing(String),
    /// Something is not as it must be.
    Bad(String),
    /// It takes the request to build it, and that is not known.
    NeedsCall,
}

impl From<NotAnObject> for Fault {
    fn from(error: NotAnObject) -> Self {
        Self::Bad(error.to_string())
    }
}

impl Shape {
    /// What takes the place of members that are absent, on either side, by their MQTT names.
    #[must_use]
    pub fn defaults(&self) -> Vec<(String, Supplied)> {
        let mut all = Vec::new();
        for rule in &self.rules {
            let name = rule.place.mqtt.names().next().cloned().unwrap_or_default();
            let both = [&rule.default.legacy, &rule.default.mqtt];
            all.extend(both.into_iter().flatten().map(|given| (name.clone(), given.clone())));
        }
        all
    }

    /// The names that mean something on a side.
    #[must_use]
    pub fn names(&self, side: Side) -> BTreeSet<String> {
        let fixed = self.fixed[side].iter().map(|(name, _)| name);
        let rules = self.rules.iter().flat_map(|r| r.place[side].names());
        let repeats = self.repeats[side].iter().map(|r| &r.member);
        let add = self.add[side].iter().map(|(name, _)| name);
        fixed.chain(rules).chain(repeats).chain(add).chain(&self.ignore[side]).cloned().collect()
    }

    /// A body's members that mean something on a side, as an object.
    #[must_use]
    pub fn only_named(&self, side: Side, body: &Object<'_>) -> String {
        let mut out = String::from("{");
        for member in body.members().filter(|m| self.knows(side, &m.key)) {
            if out.len() > 1 {
                out.push(',');
            }
            out.extend([member.raw_key, ":", member.value]);
        }
        out.push('}');
        out
    }

    /// Whether the whole body is one value on this side, rather than an object.
    #[must_use]
    pub fn is_whole(&self, side: Side) -> bool {
        self.rules.iter().any(|r| r.place[side] == Place::Whole)
    }

    /// Translates a body, read on `from`, and appends it to `out` as the other side writes it.
    ///
    /// # Errors
    /// [`Fault`]; what was appended by then must be thrown away.
    pub fn translate(
        &self,
        from: Side,
        body: &Value<'_>,
        context: &Context<'_>,
        out: &mut Vec<u8>,
    ) -> Result<(), Fault> {
        let object = match &body.object {
            _ if self.is_whole(from) => const { &Object::empty() },
            Ok(object) => object,
            Err(error) => return Err(error.clone().into()),
        };
        let layout = &Layout::new(self, from, object);
        self.body(from, &Body { text: body.text, object, layout }, context, out)
    }

    /// Whether translating from a side takes a body's text, and not only its members.
    pub(super) fn takes_text(&self, from: Side) -> bool {
        let whole = |given: &Supplied| matches!(given, Supplied::Copy(name) if name == ".");
        let to = from.other();
        self.is_whole(from)
            || self.add[to].iter().any(|(_, given)| whole(given))
            || self.rules.iter().filter_map(|r| r.default[to].as_ref()).any(whole)
    }

    pub(super) fn body(
        &self,
        from: Side,
        body: &Body<'_, '_>,
        context: &Context<'_>,
        out: &mut Vec<u8>,
    ) -> Result<(), Fault> {
        let to = from.other();
        if self.is_whole(to) {
            let whole = self.rules.iter().enumerate().find(|(_, r)| r.place[to] == Place::Whole);
            return whole.map_or(Ok(()), |rule| whole_of(rule, from, body, context, out));
        }
        let mut writer = Writer::new(out, context.instead);
        for (name, constant) in &self.fixed[to] {
            writer.member(name, context, body, |out| {
                constant.write(out);
                Ok(())
            })?;
        }
        for rule in self.rules.iter().enumerate() {
            self.member(rule, from, body, context, &mut writer)?;
        }
        self.repeated(to, context, body, &mut writer)?;
        for (name, given) in &self.add[to] {
            writer.member(name, context, body, |out| give(given, context, body, out))?;
        }
        self.carry_the_rest(from, body, &mut writer)?;
        writer.end();
        Ok(())
    }

    fn member<'s>(
        &self,
        (number, rule): (usize, &'s Rule),
        from: Side,
        body: &Body<'_, '_>,
        context: &Context<'_>,
        writer: &mut Writer<'_, '_, 's>,
    ) -> Result<(), Fault> {
        let to = from.other();
        let Place::Members { written, .. } = &rule.place[to] else { return Ok(()) };
        if !rule.direction.goes_from(from) {
            return Ok(());
        }
        if let Some((a, b)) = rule.place[from].contradiction(body.object) {
            return Err(Fault::Bad(format!("{a:?} and {b:?} say different things")));
        }
        let Some(value) = body.value(number, &rule.place[from]) else {
            let repeated = |r: &Repeat| r.written && written.contains(&r.member);
            if self.repeats[to].iter().any(repeated) {
                return Ok(());
            }
            return self.absent(rule, from, body, context, writer);
        };
        if rule.leave_out[to].as_ref().is_some_and(|l| l.applies(value, body.object)) {
            return Ok(());
        }
        for name in written {
            writer.member(name, context, body, |out| {
                value::convert(&rule.convert, from, value, context, out)
                    .map_err(|fault| at(fault, rule, from))
            })?;
        }
        Ok(())
    }

    /// Writes what stands for a member that the message does not say.
    fn absent<'s>(
        &self,
        rule: &'s Rule,
        from: Side,
        body: &Body<'_, '_>,
        context: &Context<'_>,
        writer: &mut Writer<'_, '_, 's>,
    ) -> Result<(), Fault> {
        let to = from.other();
        let Place::Members { written, .. } = &rule.place[to] else { return Ok(()) };
        for name in written {
            let known = context.known.iter().find(|(n, _)| n == name).map(|(_, value)| value);
            match (known, &rule.default[to]) {
                (Some(value), _) => writer.member(name, context, body, |out| {
                    out.extend_from_slice(value.as_bytes());
                    Ok(())
                })?,
                (None, Some(given)) => {
                    writer.member(name, context, body, |out| give(given, context, body, out))?;
                }
                (None, None) if rule.optional => {}
                (None, None) => return Err(missing(rule, from)),
            }
        }
        Ok(())
    }

    fn repeated<'s>(
        &'s self,
        to: Side,
        context: &Context<'_>,
        body: &Body<'_, '_>,
        writer: &mut Writer<'_, '_, 's>,
    ) -> Result<(), Fault> {
        for repeat in self.repeats[to].iter().filter(|r| r.written) {
            if !writer.has(repeat.member.as_bytes()) {
                let given = Supplied::Request(repeat.request.clone());
                writer.member(&repeat.member, context, body, |out| {
                    give(&given, context, body, out)
                })?;
            }
        }
        Ok(())
    }

    fn is_reserved(&self, side: Side, key: &[u8]) -> bool {
        steps::count(self.reserved[side].len());
        self.reserved[side].iter().any(|name| json::is(name.as_bytes(), key))
    }

    pub(super) fn knows(&self, side: Side, key: &[u8]) -> bool {
        steps::count(self.own[side].len());
        self.own[side].iter().any(|name| json::is(name.as_bytes(), key))
    }

    /// What the row does not name goes across under its own name, or not at all.
    fn carry_the_rest(
        &self,
        from: Side,
        body: &Body<'_, '_>,
        writer: &mut Writer<'_, '_, '_>,
    ) -> Result<(), Fault> {
        for member in body.rest() {
            if self.is_reserved(from.other(), &member.key) || writer.has(&member.key) {
                let name = String::from_utf8_lossy(&member.key);
                let there = match from.other() {
                    Side::Legacy => "on the legacy side",
                    Side::Mqtt => "on MQTT",
                };
                return Err(Fault::Bad(format!(
                    "{name:?} means something else {there}: name it in the row's `members` or `ignore`"
                )));
            }
            writer.carry(member.raw_key, member.value);
        }
        Ok(())
    }
}

impl LeaveOut {
    fn applies(&self, value: &str, object: &Object<'_>) -> bool {
        let holds =
            |(name, wanted): &(String, Scalar)| object.get(name).is_some_and(|v| wanted.is(v));
        self.value.is(value) && self.when.iter().all(holds)
    }
}

/// A body that is one value on the other side.
fn whole_of(
    (number, rule): (usize, &Rule),
    from: Side,
    body: &Body<'_, '_>,
    context: &Context<'_>,
    out: &mut Vec<u8>,
) -> Result<(), Fault> {
    let value = body.value(number, &rule.place[from]).ok_or_else(|| missing(rule, from))?;
    if let Some(extra) = body.rest().next() {
        let name = String::from_utf8_lossy(&extra.key);
        return Err(Fault::Bad(format!("there is no place for the member {name:?}")));
    }
    value::convert(&rule.convert, from, value, context, out)
}

fn name_of(rule: &Rule, side: Side) -> String {
    rule.place[side].names().next().map_or_else(|| "the value".into(), |n| format!("{n:?}"))
}

fn missing(rule: &Rule, side: Side) -> Fault {
    Fault::Missing(format!("{} is missing", name_of(rule, side)))
}

fn at(fault: Fault, rule: &Rule, side: Side) -> Fault {
    match fault {
        Fault::Bad(why) => Fault::Bad(format!("{}: {why}", name_of(rule, side))),
        other => other,
    }
}
