//! The configuration's tables, read one by one.

use super::{Channel, Log, SOCKET, STATE_DIR};
use crate::diagnostic::{Findings, Source};
use crate::document::{self, Fields, Text};
use crate::engine::limits::Limits;
use crate::engine::mapping::table::Speaks;
use crate::engine::name::DomainName;
use clap::ValueEnum;
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// Fewer lines a second would leave a kind of them less than one.
const LEAST_RATE: usize = 20;

/// Reads what it is given, and notes what is wrong with it.
pub(super) struct Reader<'f, 's> {
    pub source: &'s Arc<Source>,
    pub found: &'f mut Findings,
}

impl Reader<'_, '_> {
    pub fn add(
        &mut self,
        span: std::ops::Range<usize>,
        message: impl Into<String>,
        help: impl Into<String>,
    ) {
        self.found.add(self.source, span, message, help);
    }

    pub fn name(&mut self, text: &Text) -> Option<DomainName> {
        match DomainName::parse(&text.text) {
            Ok(name) => Some(name),
            Err(error) => {
                self.add(text.span.clone(), error.to_string(), "write another name");
                None
            }
        }
    }

    /// The name of a domain, which is not one that means something else.
    fn domain(&mut self, text: &Text) -> Option<DomainName> {
        let name = self.name(text)?;
        if let Some(meaning) = name.meaning() {
            let message = format!("no domain can have the name {name}: it is {meaning}");
            self.add(text.span.clone(), message, "write another name");
        }
        Some(name)
    }

    pub fn instance(&mut self, fields: &mut Fields<'_>) -> String {
        let Some(text) = fields.text("instance", self.found) else { return "dom0".into() };
        self.name(&text);
        text.text
    }

    pub fn state_dir(&mut self, fields: &mut Fields<'_>) -> PathBuf {
        let Some(text) = fields.text("state_dir", self.found) else { return STATE_DIR.into() };
        if text.text.is_empty() {
            let help = format!("name a folder, or leave it out for {STATE_DIR}");
            self.add(text.span, "`state_dir` is empty", help);
        }
        let folder = Path::new(&self.source.name).parent().unwrap_or(Path::new(""));
        folder.join(text.text)
    }

    /// A socket's path is bounded by the system.
    pub fn short_enough(&mut self, path: &Path, text: &Text) {
        if path.as_os_str().len() > SOCKET_PATH {
            let message = format!("a socket's path has {SOCKET_PATH} bytes at most");
            self.add(text.span.clone(), message, "name a shorter path, such as a link's");
        }
    }

    pub fn dialects(&mut self, fields: &mut Fields<'_>) -> (Speaks, Vec<Text>) {
        let mut speaks = Speaks::default();
        let mut spoken = Vec::new();
        let Some((table, _)) = fields.table("dialects", self.found) else {
            return (speaks, spoken);
        };
        for (key, value) in table.iter() {
            let what = "a dialect's name";
            let Some(name) = document::text(self.source, value, what, self.found) else { continue };
            spoken.push(name.clone());
            if key.get_ref() == "default" {
                speaks.default = Some(name.text);
            } else {
                let text = Text { text: key.get_ref().to_string(), span: key.span() };
                let dom0 = text.text.eq_ignore_ascii_case("dom0");
                if let Some(domain) = if dom0 { self.name(&text) } else { self.domain(&text) } {
                    speaks.domains.insert(domain, name.text);
                }
            }
        }
        (speaks, spoken)
    }

    pub fn channels(&mut self, fields: &mut Fields<'_>) -> Vec<Channel> {
        let mut channels = Vec::new();
        let mut all = fields.tables("channel", "a channel", self.found);
        for channel in &mut all {
            channels.extend(self.channel(channel));
        }
        let serial = channels.iter().any(|c| matches!(c, Channel::Serial(..)));
        if all.is_empty() {
            let help =
                "add [[channel]] with `unix = \"/var/run/*-msg.sock\"`, or `serial` and `local`";
            self.add(0..0, "no channel is named", help);
        } else if serial && all.len() > 1 {
            let span = all.get(1).map_or(0..0, Fields::span);
            let help = "keep the one with `serial`, or those with `unix`";
            self.add(span, "a serial line is the only channel of its gateway", help);
        }
        for channel in all {
            channel.finish(self.found);
        }
        channels
    }

    fn channel(&mut self, fields: &mut Fields<'_>) -> Option<Channel> {
        let unix = fields.text("unix", self.found);
        let serial = fields.text("serial", self.found);
        let local = fields.texts("local", self.found);
        match (unix, serial) {
            (Some(unix), None) => {
                let path = PathBuf::from(&unix.text);
                let file = path.file_name().and_then(|n| n.to_str()).unwrap_or_default();
                let folder = path.parent().and_then(Path::to_str).unwrap_or_default();
                if !file.ends_with(SOCKET) || folder.contains('*') || file.matches('*').count() > 1
                {
                    let message = format!("{:?} names no domains' sockets", unix.text);
                    let help = "write a path that ends with -msg.sock, with one `*` at most, in the file's name";
                    self.add(unix.span.clone(), message, help);
                }
                if let Some(name) = file.strip_suffix(SOCKET).filter(|name| !name.contains('*')) {
                    let _ = self.domain(&Text { text: name.to_owned(), span: unix.span.clone() });
                }
                if let Some(local) = local.first() {
                    self.add(
                        local.span.clone(),
                        "`local` belongs to a serial line",
                        "leave it out",
                    );
                }
                Some(Channel::Unix(path))
            }
            (None, Some(serial)) => {
                if local.is_empty() {
                    let help = "add `local = [\"this domain's name\"]`";
                    self.add(
                        fields.span(),
                        "a serial line needs to know who is on this side",
                        help,
                    );
                }
                let local = local.iter().filter_map(|t| self.domain(t)).collect();
                Some(Channel::Serial(serial.text.into(), local))
            }
            _ => {
                let help = "write `unix = \"/var/run/*-msg.sock\"`, or `serial = \"the message port\"` and `local`";
                self.add(fields.span(), "a channel is `unix` or `serial`", help);
                None
            }
        }
    }

    pub fn limits(&mut self, fields: &mut Fields<'_>) -> Limits {
        let mut limits = Limits::default();
        let Some(mut table) = fields.fields("limits", self.found) else { return limits };
        for (key, place) in [
            ("line", &mut limits.line),
            ("queue", &mut limits.queue),
            ("outbox", &mut limits.outbox),
            ("memory", &mut limits.memory),
            ("mirror_size", &mut limits.mirror_size),
        ] {
            if let Some(size) = self.size(&mut table, key) {
                *place = size;
            }
        }
        for (key, place) in [
            ("depth", &mut limits.depth),
            ("rate", &mut limits.rate),
            ("pace", &mut limits.pace),
            ("calls", &mut limits.calls),
        ] {
            let Some(number) = table.number(key, self.found) else { continue };
            match usize::try_from(number) {
                Ok(number) if number > 0 => *place = number,
                _ => {
                    let help = "write 1 or more, or leave it out for the default";
                    self.add(table.span_of(key), format!("`{key}` cannot be {number}"), help);
                }
            }
        }
        for (key, place) in [
            ("stuck", &mut limits.stuck),
            ("away", &mut limits.away),
            ("remember", &mut limits.remember),
        ] {
            *place = table.duration(key, self.found).unwrap_or(*place);
        }
        limits.heal = table.duration_or_zero("heal", self.found).unwrap_or(limits.heal);
        limits.mirror = table.flag("mirror", self.found).unwrap_or(limits.mirror);
        table.finish(self.found);
        limits
    }

    /// A number of bytes: `1048576`, `"64 KiB"`, `"16 MiB"`.
    pub fn size(&mut self, fields: &mut Fields<'_>, key: &'static str) -> Option<usize> {
        let value = fields.get(key)?;
        let size = match value.get_ref().as_str() {
            Some(text) => parse_size(text),
            None => document::integer(value.get_ref()).and_then(|n| usize::try_from(n).ok()),
        };
        if size.is_none_or(|s| s == 0) {
            let way = format!("write `{key} = \"16 MiB\"`, \"64 KiB\", or a number of bytes");
            fields.wrong_kind(key, value, "a size", way, self.found);
        }
        size
    }

    pub fn log(&mut self, fields: &mut Fields<'_>) -> Log {
        let mut log = Log::default();
        let Some(mut table) = fields.fields("log", self.found) else { return log };
        if let Some(level) = table.text("level", self.found) {
            log.level = self.one_of(&level, "log level").unwrap_or(log.level);
        }
        if let Some(format) = table.text("format", self.found) {
            log.format = self.one_of(&format, "log format").unwrap_or(log.format);
        }
        if let Some(rate) = table.number("rate", self.found) {
            match usize::try_from(rate) {
                Ok(rate) if rate >= LEAST_RATE => log.rate = rate,
                _ => {
                    let help =
                        format!("write {LEAST_RATE} or more, or leave it out for {}", log.rate);
                    self.add(table.span_of("rate"), format!("`rate` cannot be {rate}"), help);
                }
            }
        }
        table.finish(self.found);
        log
    }

    /// What has such a name.
    fn one_of<T: ValueEnum>(&mut self, name: &Text, what: &str) -> Option<T> {
        let value = T::from_str(&name.text, false).ok();
        if value.is_none() {
            let values = T::value_variants().iter().filter_map(T::to_possible_value);
            let names: Vec<_> = values.map(|value| value.get_name().to_owned()).collect();
            let help = format!("the {what}s are {}", names.join(", "));
            self.add(name.span.clone(), format!("there is no {what} {:?}", name.text), help);
        }
        value
    }
}

/// The most bytes that a path may have in a socket's address: 108 with the NUL at its end.
const SOCKET_PATH: usize = 107;

fn parse_size(text: &str) -> Option<usize> {
    let digits = text.trim_end_matches(|c: char| c.is_ascii_alphabetic()).trim_end();
    let unit = match text.get(digits.len()..)?.trim() {
        "" | "B" => 1,
        "KiB" => 1024,
        "MiB" => 1024 * 1024,
        "GiB" => 1024 * 1024 * 1024,
        _ => return None,
    };
    digits.parse::<usize>().ok()?.checked_mul(unit)
}
