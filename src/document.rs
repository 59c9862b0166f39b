//! Reading TOML so that every key is asked for, and what is left over is a finding.

use crate::diagnostic::{Findings, Source};
use std::collections::BTreeMap;
use std::ops::Range;
use std::sync::Arc;
use std::time::Duration;
use toml::Spanned;
use toml::de::{DeTable, DeValue};

/// A TOML value with its place.
pub type Value<'d> = Spanned<DeValue<'d>>;

/// What a draft has in the place of what nobody knows.
pub const OPEN: &str = "?";

/// A table that is being read: a key that nobody asked for by the end is unknown.
pub struct Fields<'d> {
    source: &'d Arc<Source>,
    table: &'d DeTable<'d>,
    span: Range<usize>,
    what: String,
    /// What stands in the brackets of its header, `command` of `[[command]]`; a file has none.
    header: String,
    asked: Vec<&'static str>,
}

impl<'d> Fields<'d> {
    /// Reads `table`, which is called `what` in findings ("a command").
    pub fn new(
        source: &'d Arc<Source>,
        table: &'d DeTable<'d>,
        span: Range<usize>,
        what: impl Into<String>,
    ) -> Self {
        Self { source, table, span, what: what.into(), header: String::new(), asked: Vec::new() }
    }

    /// Where the table stands.
    #[must_use]
    pub fn span(&self) -> Range<usize> {
        self.span.clone()
    }

    /// Where everything in the table stands.
    #[must_use]
    pub fn places(&self) -> Places {
        let mut places = Places::default();
        places.walk_table("", self.table);
        places
    }

    /// The place of a key's value, or else the table's.
    #[must_use]
    pub fn span_of(&self, key: &str) -> Range<usize> {
        self.table.get(key).map_or_else(|| self.span(), Spanned::span)
    }

    /// The value of a key, if it is there.
    pub fn get(&mut self, key: &'static str) -> Option<&'d Value<'d>> {
        self.asked.push(key);
        self.table.get(key)
    }

    /// Whether a key is there.
    #[must_use]
    pub fn has(&self, key: &str) -> bool {
        self.table.contains_key(key)
    }

    /// A text, if the key is there.
    pub fn text(&mut self, key: &'static str, found: &mut Findings) -> Option<Text> {
        let value = self.get(key)?;
        text(self.source, value, &format!("`{key}`"), found)
    }

    /// A text that must be there.
    pub fn required(&mut self, key: &'static str, found: &mut Findings) -> Option<Text> {
        if !self.table.contains_key(key) {
            let message = format!("{} has no `{key}`", self.what);
            self.asked.push(key);
            found.add(self.source, self.span.clone(), message, format!("add `{key} = \"...\"`"));
            return None;
        }
        let text = self.filled_in(key, found)?;
        if text.text.is_empty() {
            let message = format!("`{key}` is empty");
            found.add(self.source, text.span.clone(), message, "write a name");
        }
        Some(text)
    }

    /// A text that somebody has to have filled in, if the key is there.
    pub fn filled_in(&mut self, key: &'static str, found: &mut Findings) -> Option<Text> {
        let text = self.text(key, found)?;
        if text.text == OPEN {
            let message = format!("`{key}` is still to be filled in");
            let help =
                "write what it is in the place of \"?\"; a draft says beside it what was heard";
            found.add(self.source, text.span.clone(), message, help);
        }
        Some(text)
    }

    /// `true` or `false`, if the key is there.
    pub fn flag(&mut self, key: &'static str, found: &mut Findings) -> Option<bool> {
        let value = self.get(key)?;
        let flag = value.get_ref().as_bool();
        if flag.is_none() {
            let way = format!("write `{key} = true` or `{key} = false`");
            self.wrong_kind(key, value, "`true` or `false`", way, found);
        }
        flag
    }

    /// A whole number, if the key is there.
    pub fn number(&mut self, key: &'static str, found: &mut Findings) -> Option<u64> {
        let value = self.get(key)?;
        let number = integer(value.get_ref()).and_then(|i| u64::try_from(i).ok());
        if number.is_none() {
            let way = format!("write a number without quotes, such as `{key} = 1`");
            self.wrong_kind(key, value, "a whole number", way, found);
        }
        number
    }

    /// A time span such as `"30s"` or `"10m"`, if the key is there.
    pub fn duration(&mut self, key: &'static str, found: &mut Findings) -> Option<Duration> {
        let span = self.duration_or_zero(key, found)?;
        if span.is_zero() {
            let value = self.get(key)?;
            self.wrong_kind(key, value, "a time span", duration_way(key), found);
        }
        Some(span)
    }

    /// A time span such as `"30s"`, or `"0s"` for none, if the key is there.
    pub fn duration_or_zero(
        &mut self,
        key: &'static str,
        found: &mut Findings,
    ) -> Option<Duration> {
        let value = self.get(key)?;
        let span = value.get_ref().as_str().and_then(|s| humantime::parse_duration(s).ok());
        if span.is_none() {
            let way = duration_way(key);
            self.wrong_kind(key, value, "a time span", way, found);
        }
        span
    }

    /// A list of texts, if the key is there; one text alone is a list of one.
    pub fn texts(&mut self, key: &'static str, found: &mut Findings) -> Vec<Text> {
        let Some(value) = self.get(key) else { return Vec::new() };
        texts(self.source, value, &format!("`{key}`"), found)
    }

    /// A table, if the key is there.
    pub fn table(
        &mut self,
        key: &'static str,
        found: &mut Findings,
    ) -> Option<(&'d DeTable<'d>, Range<usize>)> {
        let value = self.get(key)?;
        let table = value.get_ref().as_table();
        if table.is_none() {
            self.wrong_kind(key, value, "a table", format!("write `{}`", form(key)), found);
        }
        table.map(|t| (t, value.span()))
    }

    /// A table read field by field, if the key is there.
    pub fn fields(&mut self, key: &'static str, found: &mut Findings) -> Option<Fields<'d>> {
        let (table, span) = self.table(key, found)?;
        Some(Fields::new(self.source, table, span, format!("`{key}`")))
    }

    /// The tables of `[[key]]`.
    pub fn tables(
        &mut self,
        key: &'static str,
        what: &str,
        found: &mut Findings,
    ) -> Vec<Fields<'d>> {
        let Some(value) = self.get(key) else { return Vec::new() };
        let dot = if self.header.is_empty() { "" } else { "." };
        let header = format!("{}{dot}{key}", self.header);
        let mut all = Vec::new();
        let items = value.get_ref().as_array().map(|array| array.iter());
        for item in items.unwrap_or_else(|| std::slice::from_ref(value).iter()) {
            match item.get_ref().as_table().filter(|_| value.get_ref().is_array()) {
                Some(table) => {
                    let fields = Fields::new(self.source, table, item.span(), what);
                    all.push(Fields { header: header.clone(), ..fields });
                }
                None => {
                    let way = format!("write `[[{header}]]` above its keys");
                    self.wrong_kind(key, item, "a list of tables", way, found);
                }
            }
        }
        all
    }

    /// Reports that a value is of another kind than `wanted`, and what to write instead.
    pub fn wrong_kind(
        &self,
        key: &str,
        value: &Value<'_>,
        wanted: &str,
        way: impl Into<String>,
        found: &mut Findings,
    ) {
        found.add(self.source, value.span(), format!("`{key}` must be {wanted}"), way);
    }

    /// Ends the reading: what nobody asked for is unknown. Says whether everything was known.
    pub fn finish(self, found: &mut Findings) -> bool {
        let mut known: Vec<_> = self.asked.clone();
        known.sort_unstable();
        known.dedup();
        let mut all = true;
        for (key, _) in self.table.iter().filter(|(k, _)| !known.contains(&k.get_ref().as_ref())) {
            let message = format!("unknown key `{}` in {}", key.get_ref(), self.what);
            let meant = meant(key.get_ref(), &known);
            let meant = meant.map_or(String::new(), |key| format!("do you mean `{key}`? "));
            let help = format!("{meant}the keys of {} are: {}", self.what, known.join(", "));
            found.add(self.source, key.span(), message, help);
            all = false;
        }
        all
    }
}

/// How a time span is written.
fn duration_way(key: &str) -> String {
    format!("write `{key} = \"30s\"`, or the like: \"500ms\", \"10m\", \"12h\", \"7d\"")
}

/// How a table is written, for those that have keys of their own.
fn form(key: &str) -> String {
    match key {
        "add" => "add.mqtt = { name = value }".into(),
        "default" => "default.mqtt = \"for MQTT\", default.legacy = \"for legacy\"".into(),
        "ignore" => "ignore.legacy = [\"name\"]".into(),
        "leave_out" => "leave_out.mqtt = { value = 0 }".into(),
        "members" | "request" | "each" => {
            let members = if key == "members" { "members" } else { &format!("{key}.members") };
            format!("{members} = {{ mqtt_name = \"legacy_name\" }}")
        }
        "values" => "values = { mqtt_value = \"legacy value\" }".into(),
        "when" => "when.mqtt = { name = \"value\" }".into(),
        _ => format!("{key} = {{ name = value }}"),
    }
}

/// The key that was meant by an unknown one: one that is spelt much like it, or what it is called here.
fn meant<'k>(unknown: &str, known: &[&'k str]) -> Option<&'k str> {
    /// How much two words are alike, from 0 to 1, for one to be the other misspelt.
    const ALIKE: f64 = 0.8;
    /// What is written, the key that has to be known for it, and what is meant.
    const CALLED: [(&str, &str, &str); 6] = [
        ("event", "evenement", "evenement"),
        ("notification", "evenement", "evenement"),
        ("response", "reponse", "reponse"),
        ("responses", "answer", "answer"),
        ("answer", "command", "[[command.answer]]"),
        ("announced", "command", "[[command.announced]]"),
    ];
    let called = CALLED.iter().find(|(other, ours, _)| *other == unknown && known.contains(ours));
    let called = called.map(|(.., meant)| *meant);
    let alike = known.iter().map(|key| (strsim::jaro(unknown, key), *key));
    let alike = alike.filter(|(alike, _)| *alike > ALIKE).max_by(|a, b| a.0.total_cmp(&b.0));
    called.or(alike.map(|(_, key)| key))
}

/// Where every key and value of a table stands, by its path (`answer.0.members.disk`): what is found
/// wrong after the reading can still be underlined.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Places(BTreeMap<String, Place>);

/// A key or a list's element: where its name stands (an element's is itself), and its value.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Place {
    key: Range<usize>,
    value: Range<usize>,
    /// The key, and the value if it is a text.
    says: Vec<String>,
}

impl Places {
    /// The value at a path.
    #[must_use]
    pub fn value(&self, path: &str) -> Option<Range<usize>> {
        self.0.get(path).map(|p| p.value.clone())
    }

    /// The last place at or below a path that says `text`, as a key or as a value.
    #[must_use]
    pub fn mention(&self, below: &str, text: &str) -> Option<Range<usize>> {
        let inside = |path: &str| {
            path.strip_prefix(below).is_some_and(|rest| rest.is_empty() || rest.starts_with('.'))
        };
        let said = self.0.iter().filter(|(path, _)| inside(path)).filter_map(|(_, place)| {
            let at = place.says.iter().position(|s| s.trim_end_matches('?') == text)?;
            Some(if at == 0 { place.key.clone() } else { place.value.clone() })
        });
        said.max_by_key(|span| span.start)
    }

    fn walk(&mut self, path: &str, key: &Range<usize>, name: &str, value: &Value<'_>) {
        let mut says = vec![name.to_owned()];
        says.extend(value.get_ref().as_str().map(str::to_owned));
        let place = Place { key: key.clone(), value: value.span(), says };
        self.0.insert(path.to_owned(), place);
        match value.get_ref() {
            DeValue::Table(table) => self.walk_table(&format!("{path}."), table),
            DeValue::Array(array) => {
                for (i, element) in array.iter().enumerate() {
                    self.walk(&format!("{path}.{i}"), &element.span(), "", element);
                }
            }
            _ => {}
        }
    }

    fn walk_table(&mut self, prefix: &str, table: &DeTable<'_>) {
        for (key, value) in table.iter() {
            self.walk(&format!("{prefix}{}", key.get_ref()), &key.span(), key.get_ref(), value);
        }
    }
}

/// A text with its place.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Text {
    /// What it says.
    pub text: String,
    /// Where it stands.
    pub span: Range<usize>,
}

/// Parses a file. Syntax errors are findings; what could be read in spite of them is not used.
pub fn parse<'s>(source: &'s Arc<Source>, found: &mut Findings) -> Option<Spanned<DeTable<'s>>> {
    let (table, errors) = DeTable::parse_recoverable(&source.text);
    for error in &errors {
        let span = error.span().unwrap_or(0..0);
        let message = format!("not TOML: {}", error.message());
        let foreign = source.text.get(span.start..).and_then(|rest| rest.chars().next());
        let help = match foreign.filter(|c| !c.is_ascii() && c.is_alphanumeric()) {
            Some(_) => "a name with other letters than a to z is put in quotes: `\"durée\" = ...`",
            None => "mend the syntax here, or just before it; see toml.io",
        };
        found.add(source, span, message, help);
    }
    errors.is_empty().then_some(table)
}

/// A whole number of any radix.
#[must_use]
pub fn integer(value: &DeValue<'_>) -> Option<i64> {
    let integer = value.as_integer()?;
    i64::from_str_radix(integer.as_str(), integer.radix()).ok()
}

/// A text, or a finding.
pub fn text(
    source: &Arc<Source>,
    value: &Value<'_>,
    what: &str,
    found: &mut Findings,
) -> Option<Text> {
    let Some(text) = value.get_ref().as_str() else {
        found.add(source, value.span(), format!("{what} must be a text"), "put it in quotes");
        return None;
    };
    Some(Text { text: text.to_owned(), span: value.span() })
}

/// A text or a list of texts.
pub fn texts(
    source: &Arc<Source>,
    value: &Value<'_>,
    what: &str,
    found: &mut Findings,
) -> Vec<Text> {
    match value.get_ref().as_array() {
        Some(array) => array.iter().filter_map(|v| text(source, v, what, found)).collect(),
        None => text(source, value, what, found).into_iter().collect(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_place_is_found_by_its_path_or_by_what_it_says() {
        let text = "a.b = [\"x\", { \"y?\" = \"x\" }]\nc = \"x\"\n";
        let source = Arc::new(Source { name: "m.toml".into(), text: text.into() });
        let mut found = Findings::default();
        let table = parse(&source, &mut found);
        let fields = table.as_ref().map(|t| Fields::new(&source, t.get_ref(), 0..0, "a file"));
        let places = fields.map(|f| f.places()).unwrap_or_default();
        let at = |span: Option<Range<usize>>| span.and_then(|s| text.get(s));
        assert_eq!(at(places.value("a.b.0")), Some("\"x\""));
        assert_eq!(places.mention("a", "x").map(|s| s.start), text.find("\"x\" }"));
        assert_eq!(at(places.mention("a.b", "y")), Some("\"y?\""));
        assert_eq!(places.mention("c", "y"), None);
        assert_eq!(places.value("a.c"), None);
    }
}
