//! Writing the body of a message: members, and values that the other side has not.

use super::place::{Layout, Place};
use super::shape::{Context, Fault, Supplied};
use crate::engine::json::{self, Member, Object};
use crate::engine::steps;

/// A body that is read: as it stands, and taken apart if it is an object.
pub(super) struct Body<'b, 'a> {
    pub text: &'a str,
    pub object: &'b Object<'a>,
    pub layout: &'b Layout,
}

impl<'a> Body<'_, 'a> {
    /// The value that a shape's rule of this number reads from there.
    pub fn value(&self, rule: usize, place: &Place) -> Option<&'a str> {
        if *place == Place::Whole {
            return Some(self.text);
        }
        let at = self.layout.read.get(rule).copied().flatten()?;
        self.object.member(at).map(|member| member.value)
    }

    /// The members that the shape does not name.
    pub fn rest(&self) -> impl Iterator<Item = &Member<'a>> {
        self.layout.rest.iter().filter_map(|at| self.object.member(*at))
    }
}

/// Appends a value that does not come from the message's own member.
pub(super) fn give(
    given: &Supplied,
    context: &Context<'_>,
    body: &Body<'_, '_>,
    out: &mut Vec<u8>,
) -> Result<(), Fault> {
    match given {
        Supplied::Constant(constant) => constant.write(out),
        Supplied::Copy(name) => {
            let value = if name == "." { Some(body.text) } else { body.object.get(name) };
            let value = value.ok_or_else(|| Fault::Missing(format!("{name:?} is missing")))?;
            out.extend_from_slice(value.as_bytes());
        }
        Supplied::Request(name) => {
            let values = context.request.ok_or(Fault::NeedsCall)?;
            let value = values.iter().find(|(n, _)| n == name).ok_or(Fault::NeedsCall)?;
            out.extend_from_slice(value.1.as_bytes());
        }
        Supplied::Source => json::push_string(out, context.source),
        Supplied::Now => json::push_string(out, &context.now.rfc3339()),
    }
    Ok(())
}

/// Writes an object, each name once.
pub(super) struct Writer<'o, 'c, 's> {
    out: &'o mut Vec<u8>,
    empty: bool,
    /// What the row has written. What is carried comes from an object and so cannot stand twice: it is
    /// not looked for, or a message of a million members would take a million times as long.
    names: Vec<&'s str>,
    instead: &'c [(String, Supplied)],
}

impl<'o, 'c, 's> Writer<'o, 'c, 's> {
    pub fn new(out: &'o mut Vec<u8>, instead: &'c [(String, Supplied)]) -> Self {
        out.push(b'{');
        Self { out, empty: true, names: Vec::with_capacity(8), instead }
    }

    pub fn has(&self, name: &[u8]) -> bool {
        steps::count(self.names.len());
        self.names.iter().any(|n| json::is(n.as_bytes(), name))
    }

    fn begin(&mut self) {
        if !std::mem::take(&mut self.empty) {
            self.out.push(b',');
        }
    }

    pub fn member(
        &mut self,
        name: &'s str,
        context: &Context<'_>,
        body: &Body<'_, '_>,
        write: impl FnOnce(&mut Vec<u8>) -> Result<(), Fault>,
    ) -> Result<(), Fault> {
        if self.has(name.as_bytes()) {
            return Ok(());
        }
        self.begin();
        self.names.push(name);
        json::push_string(self.out, name);
        self.out.push(b':');
        match self.instead.iter().find(|(n, _)| n == name) {
            Some((_, given)) => give(given, context, body, self.out),
            None => write(self.out),
        }
    }

    pub fn carry(&mut self, raw_key: &str, value: &str) {
        self.begin();
        self.out.extend_from_slice(raw_key.as_bytes());
        self.out.push(b':');
        self.out.extend_from_slice(value.as_bytes());
    }

    pub fn end(self) {
        self.out.push(b'}');
    }
}
