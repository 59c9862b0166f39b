//! Who may say what to whom: rules that allow, and what holds where none does.

use super::mapping::{Command, Event};
use super::name::DomainName;
use serde::{Deserialize, Serialize};
use std::fmt;

/// A text with `*` in it, which stands for any characters or none.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Pattern(String);

impl Pattern {
    /// A pattern as it is written. `Dom0` has one spelling here too.
    #[must_use]
    pub fn new(text: &str) -> Self {
        Self(if text.eq_ignore_ascii_case("dom0") { "Dom0" } else { text }.to_owned())
    }

    /// The text, if nothing in it is left open.
    #[must_use]
    pub fn exact(&self) -> Option<&str> {
        (!self.0.contains('*')).then_some(&self.0)
    }

    /// Whether a text is like it, to the letter.
    #[must_use]
    pub fn matches(&self, text: &str) -> bool {
        let mut parts = self.0.split('*');
        let Some(rest) = parts.next().and_then(|first| text.strip_prefix(first)) else {
            return false;
        };
        let Some(last) = parts.next_back() else { return rest.is_empty() };
        let mut rest = rest;
        for part in parts {
            let Some(at) = rest.find(part) else { return false };
            rest = rest.split_at(at + part.len()).1;
        }
        rest.ends_with(last)
    }
}

/// Where something is said.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct FileLine {
    /// The file, as it was named.
    pub file: String,
    /// The line, counted from 1.
    pub line: usize,
}

impl fmt::Display for FileLine {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.file, self.line)
    }
}

/// What a rule is about.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Subject {
    /// Commands and events.
    Anything,
    /// Commands of such a name.
    Command(Pattern),
    /// Events of such a name.
    Event(Pattern),
}

/// `[[allow]]`
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct AllowRule {
    /// Who says it; `None` is anybody.
    pub from: Option<Pattern>,
    /// What is said.
    pub about: Subject,
    /// Who is told or asked; `None` is anybody, and everyone.
    pub to: Option<Pattern>,
    /// Where it stands.
    pub place: FileLine,
}

impl AllowRule {
    fn allows(&self, from: &DomainName, said: &Said<'_>, to: &DomainName) -> bool {
        let from_them = self.from.as_ref().is_none_or(|p| p.matches(from.as_str()));
        from_them && self.allows_somebody(said, to)
    }

    fn allows_somebody(&self, said: &Said<'_>, to: &DomainName) -> bool {
        let about = match &self.about {
            Subject::Anything => true,
            Subject::Command(name) => !said.is_event && said.is_called(name),
            Subject::Event(name) => said.is_event && said.is_called(name),
        };
        about && self.to.as_ref().is_none_or(|p| p.matches(to.as_str()))
    }

    /// Who else than whom it means may use it on MQTT, if anybody may.
    #[must_use]
    pub fn borrowed_by(&self, names: Names) -> Option<&'static str> {
        let from = self.from.as_ref().map(|Pattern(text)| text.as_str()).filter(|f| *f != "*")?;
        match names {
            Names::Said if from != "mqtt" => Some("whoever says on MQTT that it is such a domain"),
            Names::Proved if from == "mqtt" => {
                Some("every domain that the broker lets publish on the same topic")
            }
            Names::Said | Names::Proved => None,
        }
    }
}

impl fmt::Display for AllowRule {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("[[allow]]")?;
        let (command, event) = match &self.about {
            Subject::Anything => (None, None),
            Subject::Command(name) => (Some(name), None),
            Subject::Event(name) => (None, Some(name)),
        };
        let keys = [
            ("from", self.from.as_ref()),
            ("command", command),
            ("event", event),
            ("to", self.to.as_ref()),
        ];
        for (key, pattern) in keys {
            if let Some(Pattern(text)) = pattern {
                write!(f, " {key} = {text:?}")?;
            }
        }
        Ok(())
    }
}

/// A command or an event, by the names that a rule may call it: the row's, which is `TypeCommande` or
/// `TypeEvenement`, and the one on the legacy wire.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Said<'s> {
    is_event: bool,
    /// The row's name, if it is mapped.
    row: Option<&'s str>,
    legacy: &'s str,
}

impl<'s> Said<'s> {
    /// A command that is mapped.
    #[must_use]
    pub fn command(row: &'s Command) -> Self {
        Self { is_event: false, row: Some(&row.name), legacy: &row.legacy }
    }

    /// A command that no row has.
    #[must_use]
    pub fn unmapped_command(legacy: &'s str) -> Self {
        Self { is_event: false, row: None, legacy }
    }

    /// An event that is mapped.
    #[must_use]
    pub fn event(row: &'s Event) -> Self {
        Self { is_event: true, row: Some(&row.name), legacy: &row.legacy }
    }

    /// An event that no row has.
    #[must_use]
    pub fn unmapped_event(legacy: &'s str) -> Self {
        Self { is_event: true, row: None, legacy }
    }

    fn is_called(&self, name: &Pattern) -> bool {
        name.matches(self.legacy) || self.row.is_some_and(|row| name.matches(row))
    }
}

impl fmt::Display for Said<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.row {
            Some(row) => f.write_str(row),
            None => write!(f, "{:?}", self.legacy),
        }
    }
}

/// What holds where no rule allows.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub enum Otherwise {
    /// `policy = "allow"`: what the mapping has, and anything between legacy domains.
    #[default]
    Allow,
    /// `policy = "deny"`: nothing but answers.
    Deny,
}

/// Whose names on MQTT are believed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub enum Names {
    /// Those that are said: the broker does not tell its users apart, and nothing can be proved.
    #[default]
    Said,
    /// Those that are proved: with `broker.passwords` and the ACL of `passerelle acl`, nobody but a domain and
    /// the gateway publishes on a topic whose last level is the domain's name.
    Proved,
}

/// The policy.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Policy {
    /// Who is who on MQTT.
    pub names: Names,
    /// `policy`
    pub otherwise: Otherwise,
    /// Where that is said, if it is.
    pub place: Option<FileLine>,
    /// `[[allow]]`, in their order.
    pub rules: Vec<AllowRule>,
}

/// What the policy says of a message, and why.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Decision<'p> {
    /// It is allowed by this rule, the first that fits.
    Rule(&'p AllowRule),
    /// No rule fits.
    Otherwise(Otherwise, Option<&'p FileLine>),
}

impl Decision<'_> {
    /// Whether it may go.
    #[must_use]
    pub fn is_allowed(&self) -> bool {
        !matches!(self, Self::Otherwise(Otherwise::Deny, _))
    }
}

impl fmt::Display for Decision<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Rule(rule) => write!(f, "{}: {rule}", rule.place),
            Self::Otherwise(otherwise, place) => {
                let word = if *otherwise == Otherwise::Allow { "allow" } else { "deny" };
                match place {
                    Some(place) => write!(f, "{place}: policy = {word:?}")?,
                    None => write!(f, "policy = {word:?}, the default")?,
                }
                f.write_str(", and no [[allow]] fits")
            }
        }
    }
}

impl Policy {
    /// What holds for something that `from` says to `to`, which may be everyone.
    #[must_use]
    pub fn judge(&self, from: &DomainName, said: &Said<'_>, to: &DomainName) -> Decision<'_> {
        match self.rules.iter().find(|rule| rule.allows(from, said, to)) {
            Some(rule) => Decision::Rule(rule),
            None => Decision::Otherwise(self.otherwise, self.place.as_ref()),
        }
    }

    /// Whether it may go.
    #[must_use]
    pub fn allows(&self, from: &DomainName, said: &Said<'_>, to: &DomainName) -> bool {
        self.is_open() || self.judge(from, said, to).is_allowed()
    }

    /// Whether a notification that somebody has published may go on to everyone. Where names are proved, its
    /// topic proves none, but that its sender is one of those who may publish it.
    #[must_use]
    pub fn allows_published(&self, from: &DomainName, said: &Said<'_>) -> bool {
        let everyone = DomainName::everyone();
        let somebody = || self.rules.iter().any(|rule| rule.allows_somebody(said, &everyone));
        self.allows(from, said, &everyone) || (self.names == Names::Proved && somebody())
    }

    /// Whether an answer may go: it does, where such a call may come the other way, to the one who
    /// answers or to everyone.
    #[must_use]
    pub fn allows_answer(&self, from: &DomainName, said: &Said<'_>, to: &DomainName) -> bool {
        self.allows(to, said, from) || self.allows(to, said, &DomainName::everyone())
    }

    /// Whether everything may go.
    #[must_use]
    pub fn is_open(&self) -> bool {
        self.otherwise == Otherwise::Allow
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_star_stands_for_anything() {
        for (pattern, good, bad) in [
            ("", &[""][..], &["a"][..]),
            ("*", &["", "a", "tous"], &[]),
            ("vm-gui", &["vm-gui"], &["vm-gu", "vm-gui2", "VM-GUI", ""]),
            ("LISTE_*", &["LISTE_", "LISTE_DISQUES"], &["LISTE", "XLISTE_A"]),
            ("*_FICHIER", &["_FICHIER", "LIT_FICHIER"], &["LIT_FICHIERS", "FICHIER"]),
            ("a*b*c", &["abc", "a-b-c", "abbcc", "abcbc"], &["ac", "acb", "ab", "bc"]),
            ("a*a", &["aa", "aba"], &["a", "ab"]),
            ("**a**", &["a", "bab"], &["", "b"]),
            ("DOM0", &["Dom0"], &["DOM0", "dom0"]),
        ] {
            let pattern = Pattern::new(pattern);
            for text in good {
                assert!(pattern.matches(text), "{pattern:?} {text:?}");
            }
            for text in bad {
                assert!(!pattern.matches(text), "{pattern:?} {text:?}");
            }
        }
    }

    fn rule(from: &str, about: Subject, to: &str, line: usize) -> AllowRule {
        let place = FileLine { file: "p.toml".into(), line };
        let pattern = |text: &str| (!text.is_empty()).then(|| Pattern::new(text));
        AllowRule { from: pattern(from), about, to: pattern(to), place }
    }

    #[test]
    fn the_first_rule_that_fits_decides_and_is_named() {
        let lists = Subject::Command(Pattern::new("liste_*"));
        let place = Some(FileLine { file: "p.toml".into(), line: 1 });
        let policy = Policy {
            names: Names::Said,
            otherwise: Otherwise::Deny,
            place,
            rules: vec![
                rule("vm-gui", lists, "sys-usb", 3),
                rule("sys-*", Subject::Event(Pattern::new("*")), "", 7),
                rule("", Subject::Anything, "vm-log", 9),
            ],
        };
        let name = |text: &str| DomainName::parse(text).unwrap();
        let judged = |from: &str, said: Said<'_>, to: &str| {
            let (from, to) = (name(from), name(to));
            let verdict = policy.judge(&from, &said, &to);
            assert_eq!(policy.allows(&from, &said, &to), verdict.is_allowed());
            verdict.to_string()
        };
        let (command, event) = (Said::unmapped_command, Said::unmapped_event);
        let allowed =
            "p.toml:3: [[allow]] from = \"vm-gui\" command = \"liste_*\" to = \"sys-usb\"";
        let denied = "p.toml:1: policy = \"deny\", and no [[allow]] fits";
        let list = command("liste_disques");
        assert_eq!(judged("vm-gui", list, "sys-usb"), allowed);
        for (from, said, to) in [
            ("vm-gui", list, "sys-net"),
            ("vm-gui", list, "tous"),
            ("vm-scan", list, "sys-usb"),
            ("vm-gui", event("liste_disques"), "sys-usb"),
            ("vm-gui", command("lit_fichier"), "sys-usb"),
            ("vm-gui", event("fichier"), "tous"),
        ] {
            assert_eq!(judged(from, said, to), denied, "{from} {said} {to}");
        }
        let event_rule = "p.toml:7: [[allow]] from = \"sys-*\" event = \"*\"";
        assert_eq!(judged("sys-usb", event("fichier"), "tous"), event_rule);
        assert_eq!(judged("mqtt", list, "vm-log"), "p.toml:9: [[allow]] to = \"vm-log\"");
        // An answer goes where the call may come from, and nowhere else.
        let answers = |from: &str, to: &str| policy.allows_answer(&name(from), &list, &name(to));
        assert!(answers("sys-usb", "vm-gui") && !answers("vm-gui", "sys-usb"));
        assert!(!answers("sys-usb", "vm-scan"));
    }

    #[test]
    fn without_a_word_everything_goes() {
        let policy = Policy::default();
        let (a, b) = (DomainName::dom0(), DomainName::everyone());
        let verdict = policy.judge(&a, &Said::unmapped_command("x"), &b);
        assert!(verdict.is_allowed() && policy.is_open());
        assert_eq!(verdict.to_string(), "policy = \"allow\", the default, and no [[allow]] fits");
    }
}
