//! A line from the channel: what it is and where it goes.

use super::rules::Rules;
use super::{Action, Forwarded, Proxy};
use crate::engine::clock::Now;
use crate::engine::frame::Frame;
use crate::engine::legacy::{self, Kind, Message};
use crate::engine::mapping::table::EventRows;
use crate::engine::mapping::{Command, Table};
use crate::engine::name::DomainName;
use crate::engine::refusal::{IgnoreReason, Reason, head};
use crate::engine::status::Spoke;
use bytes::Bytes;
use std::sync::Arc;

/// Where a line goes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Route {
    /// To a domain that is legacy here, word for word.
    Direct(DomainName),
    /// To everyone.
    Everyone,
    /// To MQTT, for a domain or, if its name is none, for nobody.
    Mqtt(Option<DomainName>),
}

/// A line that could be read.
pub(super) struct Read<'l> {
    pub message: Message<'l>,
    pub line: &'l Bytes,
    /// Its sender, if it may speak under that name here.
    pub source: Option<DomainName>,
}

impl Read<'_> {
    /// The sender, or what stands for it in a refusal.
    pub fn from(&self, rules: &Rules) -> DomainName {
        self.source.clone().unwrap_or_else(|| rules.name().clone())
    }

    pub fn with_end(&self) -> Bytes {
        let mut line = Vec::with_capacity(self.line.len() + 1);
        line.extend_from_slice(self.line);
        line.push(b'\n');
        line.into()
    }
}

impl Proxy {
    /// Takes the lines that have come whole, and gives up one that is too long.
    pub(super) fn take_lines(&mut self, now: Now) {
        while let Some(frame) = self.input.next_line() {
            self.take_frame(frame, now);
        }
    }

    pub(super) fn take_frame(&mut self, frame: Frame, now: Now) {
        self.counters.received += 1;
        let half = self.input.take_half();
        match frame {
            Frame::Line(line) if half > 0 => self.line_after(half, line, now),
            Frame::Line(line) => self.line(line, now),
            Frame::TooLong(start) => {
                self.input.note(Spoke::Unreadable, Reason::LineTooLong.as_str(), now);
                let detail = match self.level.filter(|level| *level < self.rules.limits.line) {
                    Some(level) => format!(
                        "all domains together hold more than `limits.memory`: a line may have \
                         {level} bytes for now"
                    ),
                    None => format!("a line may have {} bytes", self.rules.limits.line),
                };
                let from = self.name().clone();
                self.refuse(Reason::LineTooLong, detail, from, head(&start));
            }
        }
    }

    /// The first line after a half that an earlier run had read: the rest of it may have been lost while nobody
    /// had the channel, and then what follows is a line of its own.
    fn line_after(&mut self, half: usize, mut line: Bytes, now: Now) {
        let is_message = |line: &[u8]| legacy::parse(line, self.rules.limits.depth).is_ok();
        if half < line.len() && !is_message(&line) && line.get(half..).is_some_and(is_message) {
            self.counters.received += 1;
            let detail = "the rest of this line was lost while the gateway did not run";
            let half = line.split_to(half);
            self.refuse(Reason::NotJson, detail, self.name().clone(), head(&half));
        }
        self.line(line, now);
    }

    /// What a whole line is, and where it goes.
    pub(super) fn take_line(&mut self, line: Bytes, now: Now) {
        let message = match legacy::parse(&line, self.rules.limits.depth) {
            Ok(message) => message,
            Err((reason, detail)) => return self.no_message(reason, detail, &line, now),
        };
        if let Some(why) = self.is_passed_on(&message, &line, now) {
            return self.ignore(why, &Some(message.source));
        }
        self.input.note(message.kind.into(), &message.name, now);
        if self.input.is_echo(&line, now.monotonic) {
            return self.ignore(IgnoreReason::Echo, &Some(message.source.to_string()));
        }
        let source = DomainName::parse(&message.source).ok();
        if let Some(name) = source.as_ref().filter(|name| self.rules.is_echo_of(name)) {
            return self.ignore(IgnoreReason::Echo, &Some(name.as_str().to_owned()));
        }
        let source = source.filter(|name| self.rules.may_speak_as(name));
        // A program that has not set raw mode has the kernel send back what it is sent.
        if source.is_none() && self.queue.has_written(&line) {
            return self.ignore(IgnoreReason::Echo, &Some(message.source.to_string()));
        }
        let route = self.rules.route(&message.destination);
        let read = Read { message, line: &line, source };
        if !self.is_within_share(&read, now) {
            return self.refuse_over_share(&read, now);
        }
        match (&route, read.message.kind) {
            (Route::Mqtt(_), Kind::Command) => self.ask(&read, &route, now),
            (Route::Mqtt(to), Kind::Response) => self.answer(&read, to.as_ref(), now),
            (_, kind) if read.source.is_none() => match self.fault_before(&read, kind, &route, now)
            {
                Some((reason, detail)) => self.refuse_read(&read, reason, &detail),
                None => self.refuse_spoofed(&read, now),
            },
            (_, Kind::Notification) => self.notification(&read, &route, now),
            (Route::Direct(to), Kind::Command) => self.pass_command(&read, to, now),
            (Route::Direct(to), Kind::Response) => self.pass_response(&read, to, now),
            (Route::Everyone, Kind::Command) => self.ask_everyone(&read, &route, now),
            (Route::Everyone, Kind::Response) => self.answer_everyone(&read),
        }
    }

    /// A line that cannot be read costs itself, but not the whole messages in it.
    fn no_message(&mut self, reason: Reason, detail: String, line: &Bytes, now: Now) {
        self.input.note(Spoke::Unreadable, reason.as_str(), now);
        let torn = reason == Reason::NotJson;
        let pieces = if torn { legacy::pieces(line, self.rules.limits.depth) } else { Vec::new() };
        if pieces.len() <= 1 {
            self.input.draw(now);
            return self.refuse(reason, detail, self.name().clone(), head(line));
        }
        self.counters.received += pieces.len() as u64 - 1;
        for piece in pieces {
            let bytes = line.slice(piece.range);
            if piece.whole {
                self.line(bytes, now);
            } else {
                self.input.draw(now);
                self.refuse(reason, detail.clone(), self.name().clone(), head(&bytes));
            }
        }
    }

    /// What is wrong with a message whatever its sender's name: the first fault that applies counts.
    fn fault_before(
        &self,
        read: &Read<'_>,
        kind: Kind,
        route: &Route,
        now: Now,
    ) -> Option<(Reason, String)> {
        let fault = match (route, kind) {
            (_, Kind::Notification) => self.fault_of_event(read, route, now),
            (Route::Everyone, Kind::Command) => self.request_fault(read, route, now),
            _ => None,
        };
        let direct = !self.rules.is_behind() && *route == Route::Everyone;
        fault.filter(|(reason, _)| !(direct && *reason == Reason::NotMapped))
    }

    pub(super) fn refuse_spoofed(&mut self, read: &Read<'_>, now: Now) {
        let detail = self.rules.spoofs(&read.message.source);
        let from = self.name().clone();
        let named = self.rules.named(&read.message, &detail);
        self.refuse(Reason::SpoofedSource, named, from.clone(), head(read.line));
        if read.message.kind == Kind::Command && !self.rules.is_behind() {
            let told = self.rules.told(&read.message, &detail);
            self.tell_legacy(&from, Reason::SpoofedSource, &told, now);
        }
    }

    /// Hands a line to another legacy domain, word for word; `command` is its row, if it has one.
    fn pass_line(&mut self, read: &Read<'_>, to: &DomainName, command: Option<Arc<Command>>) {
        let is_command = read.message.kind == Kind::Command;
        let (from, line) = (read.from(&self.rules), read.with_end());
        let passed = Forwarded::Line { from, line, command, is_command };
        self.actions.push(Action::Pass(to.clone(), passed));
    }

    fn pass_command(&mut self, read: &Read<'_>, to: &DomainName, now: Now) {
        let command = self.rules.row_of_line(read).cloned();
        if let Some(detail) = self.rules.forbids_line(read, command.as_deref(), to) {
            return self.refuse_request(read, Reason::NotAllowed, &detail, now);
        }
        self.pass_line(read, to, command);
    }

    fn pass_response(&mut self, read: &Read<'_>, to: &DomainName, now: Now) {
        let ended = self.end_direct(read, to, now);
        if let Some(detail) = self.rules.forbids_response(read, to) {
            self.refuse_read(read, Reason::NotAllowed, &detail);
        } else {
            self.pass_line(read, to, None);
            self.mirror(read, to, now);
        }
        if let Some(handler) = ended {
            self.give_next(&handler, now);
        }
    }

    /// A command to everyone: to every legacy domain as it is, and to MQTT.
    fn ask_everyone(&mut self, read: &Read<'_>, route: &Route, now: Now) {
        let row = self.rules.row_of_line(read).map(|row| &**row);
        if let Some(detail) = self.rules.forbids_line(read, row, &DomainName::everyone()) {
            let fault = self.fault_before(read, Kind::Command, route, now);
            let (reason, detail) = fault.unwrap_or((Reason::NotAllowed, detail));
            return self.refuse_request(read, reason, &detail, now);
        }
        self.pass_to_everyone(read);
        self.ask(read, route, now);
    }

    fn answer_everyone(&mut self, read: &Read<'_>) {
        if let Some(detail) = self.rules.forbids_response(read, &DomainName::everyone()) {
            return self.refuse_read(read, Reason::NotAllowed, &detail);
        }
        self.pass_to_everyone(read);
        self.counters.delivered += 1;
    }

    /// Hands a notification to the legacy domains that it is for.
    pub(super) fn pass_notification(&mut self, read: &Read<'_>, route: &Route) {
        match route {
            Route::Direct(to) => self.pass_line(read, to, None),
            Route::Everyone => self.pass_to_everyone(read),
            Route::Mqtt(_) => {}
        }
    }

    /// To every legacy domain of this gateway, the sender included, as the MVP's router does. Behind a
    /// serial line there is none but the channel that it came from.
    fn pass_to_everyone(&mut self, read: &Read<'_>) {
        if !self.rules.is_behind() {
            self.actions.push(Action::PassAll(Forwarded::Copy(read.with_end())));
        }
    }
}

/// The name of the row that has a message, by the look-ups of a proxy.
pub(in crate::engine) fn row_of(
    table: &Table,
    message: &Message<'_>,
    to: Option<&DomainName>,
) -> Option<Arc<str>> {
    let data = message.body.as_object();
    let dialects = match to {
        Some(to) if to.is_everyone() => table.dialects_in_use(),
        Some(to) => vec![table.dialect_of(to)],
        None => vec![table.default_dialect()],
    };
    match message.kind {
        Kind::Command => {
            let mut rows =
                dialects.iter().filter_map(|&d| table.command_named(d, &message.name, data));
            rows.next().map(|c| c.name.clone())
        }
        Kind::Response => {
            let mut rows = dialects.iter().flat_map(|&d| table.answered_by(d, &message.name));
            rows.next().map(|c| c.name.clone())
        }
        Kind::Notification => match table.events_named(&message.name, data) {
            EventRows::Rows(rows) => rows.first().map(|e| e.name.clone()),
            EventRows::NotMapped | EventRows::NoneFits => None,
        },
    }
}
