//! What the page says, in each language.

use crate::cmd::Language;

/// The words of a language.
pub struct Words {
    pub lang: &'static str,
    pub title: &'static str,
    pub eyebrow: &'static str,
    pub ready: &'static str,
    pub speaking: fn(usize) -> String,
    pub too_soon: &'static str,
    pub stopped: &'static str,
    pub unknown: &'static str,
    pub ready_why: fn(&str) -> String,
    pub not_ready_why: fn(&str) -> String,
    pub watched: fn(&str, &str) -> String,
    pub moved: &'static str,
    pub of: &'static str,
    pub last_day: &'static str,
    pub refused: &'static str,
    pub uncovered: &'static str,
    pub not_observed: &'static str,
    pub domains: &'static str,
    pub domain: &'static str,
    pub state: &'static str,
    pub since: &'static str,
    pub last_legacy: &'static str,
    pub never: &'static str,
    pub messages: &'static str,
    pub published: &'static str,
    pub still_says: &'static str,
    pub more: fn(usize) -> String,
    pub no_domains: &'static str,
    pub traffic: &'static str,
    pub traffic_note: &'static str,
    pub no_traffic: &'static str,
    pub legacy: &'static str,
    pub legacy_domains: &'static str,
    pub mqtt_domains: &'static str,
    pub each_day: &'static str,
    pub each_hour: &'static str,
    pub coverage: &'static str,
    pub coverage_note: fn(&str) -> String,
    pub all_covered: &'static str,
    pub message: &'static str,
    pub from_to: &'static str,
    pub count: &'static str,
    pub why: &'static str,
    pub legacy_only: &'static str,
    pub refusals: &'static str,
    pub reason: &'static str,
    pub no_refusals: &'static str,
    pub attention: &'static str,
    pub no_gateway: &'static str,
    pub of_then: &'static str,
    pub footer: fn(&str, Option<&str>) -> String,
    pub states: [(&'static str, &'static str); 8],
    pub faults: [(&'static str, &'static str); 5],
    pub reasons: [(&'static str, &'static str); 18],
    separator: char,
    date: fn(&str) -> String,
}

impl Words {
    pub fn of(language: Language) -> &'static Self {
        match language {
            Language::En => &ENGLISH,
            Language::Fr => &FRENCH,
        }
    }

    /// A number with its digits in threes.
    pub fn number(&self, n: u64) -> String {
        let digits = n.to_string();
        let mut out = String::new();
        for (at, digit) in digits.chars().enumerate() {
            if at > 0 && (digits.len() - at).is_multiple_of(3) {
                out.push(self.separator);
            }
            out.push(digit);
        }
        out
    }

    /// A moment, from RFC 3339; what is none stays as it is.
    pub fn moment(&self, rfc3339: &str) -> String {
        match (humantime::parse_rfc3339(rfc3339), rfc3339.get(..10), rfc3339.get(11..16)) {
            (Ok(_), Some(day), Some(minute)) => format!("{} {minute} UTC", (self.date)(day)),
            _ => crate::printable::text(rfc3339).into_owned(),
        }
    }
}

/// What a name means in a list; without one, the name.
pub fn meaning<'w>(list: &'w [(&'static str, &'static str)], name: &'w str) -> &'w str {
    list.iter().find(|(known, _)| *known == name).map_or(name, |(_, meaning)| meaning)
}

fn plural(n: usize, one: &str, many: &str) -> String {
    format!("{n} {}", if n == 1 { one } else { many })
}

const ENGLISH: Words = Words {
    lang: "en",
    title: "Migration report",
    eyebrow: "Migration to MQTT",
    ready: "The gateway can go",
    speaking: |n| {
        format!(
            "Not yet: {} still speak{} legacy",
            plural(n, "domain", "domains"),
            if n == 1 { "s" } else { "" }
        )
    },
    too_soon: "Not yet: it has not watched for long enough",
    stopped: "Not yet: the gateway does not run",
    unknown: "It cannot be told yet",
    ready_why: |span| format!("No domain has spoken legacy for {span}."),
    not_ready_why: |span| {
        format!(
            "It can go once no domain has spoken legacy for {span}, watched by a gateway that runs."
        )
    },
    watched: |since, span| format!("It watches since {since}, and has watched for {span}."),
    moved: "Domains on MQTT",
    of: "of",
    last_day: "Legacy messages, last 24 h",
    refused: "Refused messages",
    uncovered: "Kinds without a row",
    not_observed: "not observed",
    domains: "Domains",
    domain: "Domain",
    state: "State",
    since: "since",
    last_legacy: "Last legacy",
    never: "never",
    messages: "Messages",
    published: "Own MQTT",
    still_says: "What it says in legacy",
    more: |n| format!("and {n} more"),
    no_domains: "No domain has been here yet.",
    traffic: "Traffic",
    traffic_note: "What domains say over their channels. What a domain says straight to the broker does not pass here.",
    no_traffic: "Nothing has been counted yet.",
    legacy: "legacy",
    legacy_domains: "from legacy domains",
    mqtt_domains: "from domains on MQTT",
    each_day: "messages a day, UTC",
    each_hour: "messages an hour, UTC",
    coverage: "Not covered by the mapping",
    coverage_note: |since| format!("Of what was observed since {since}."),
    all_covered: "Every message that was observed has a row.",
    message: "Message",
    from_to: "From, to",
    count: "Count",
    why: "Why",
    legacy_only: "only legacy domains would see it",
    refusals: "Refused",
    reason: "Reason",
    no_refusals: "Nothing has been refused.",
    attention: "Needs a person",
    no_gateway: "The gateway cannot be asked:",
    of_then: "The gateway itself cannot be asked: this is what the broker has of it.",
    footer: |made, since| match since {
        Some(since) => format!(
            "Made {made}. Counts of messages and refusals begin with the gateway, {since}; the traffic is remembered for 90 days."
        ),
        None => format!("Made {made}."),
    },
    states: [
        ("absent", "not there"),
        ("silent", "silent"),
        ("legacy", "legacy"),
        ("mqtt", "MQTT"),
        ("contested", "contested"),
        ("waiting_for_connect", "MQTT, not connected"),
        ("unavailable", "unavailable"),
        ("observing", "observing"),
    ],
    faults: [
        ("memory", "Who speaks legacy cannot be remembered."),
        ("other_gateway", "Another gateway has the same name."),
        ("reload", "The last reload was refused."),
        ("sockets", "A folder of sockets cannot be watched."),
        ("store", "The store takes nothing."),
    ],
    reasons: [
        ("not_json", "not JSON"),
        ("not_an_envelope", "no message of the protocol"),
        ("line_too_long", "too long"),
        ("unknown_type", "an unknown type"),
        ("not_mapped", "no row of the mapping has it"),
        ("missing_argument", "a member is absent"),
        ("bad_value", "a value that the row does not take"),
        ("spoofed_source", "the sender claims to be somebody else"),
        ("bad_name", "a name that no domain can have"),
        ("no_such_domain", "nobody carries it out"),
        ("domain_stuck", "the domain takes nothing"),
        ("expired", "nobody answered in time"),
        ("no_pending_call", "an answer to nothing that was asked"),
        ("retained_request", "a request that the broker had kept"),
        ("rate_limited", "more than the domain may send"),
        ("not_allowed", "the policy forbids it"),
        ("store_full", "no room to keep it"),
        ("broker_refused", "the broker does not take it"),
    ],
    separator: ',',
    date: str::to_owned,
};

const FRENCH: Words = Words {
    lang: "fr",
    title: "Rapport de migration",
    eyebrow: "Migration vers MQTT",
    ready: "La passerelle peut partir",
    speaking: |n| {
        format!(
            "Pas encore : {} encore le protocole du MVP",
            plural(n, "domaine parle", "domaines parlent")
        )
    },
    too_soon: "Pas encore : l'observation est trop courte",
    stopped: "Pas encore : la passerelle ne tourne pas",
    unknown: "On ne peut pas encore le dire",
    ready_why: |span| {
        format!("Aucun domaine n'a parlé le protocole du MVP depuis {}.", french_span(span))
    },
    not_ready_why: |span| {
        format!(
            "Elle peut partir quand aucun domaine n'aura parlé le protocole du MVP pendant {}, une passerelle étant à l'écoute.",
            french_span(span)
        )
    },
    watched: |since, span| format!("Elle écoute depuis le {since}, soit {}.", french_span(span)),
    moved: "Domaines sur MQTT",
    of: "sur",
    last_day: "Messages MVP, dernières 24 h",
    refused: "Messages refusés",
    uncovered: "Types sans ligne",
    not_observed: "non observé",
    domains: "Domaines",
    domain: "Domaine",
    state: "État",
    since: "depuis le",
    last_legacy: "Dernier message MVP",
    never: "jamais",
    messages: "Messages",
    published: "MQTT propre",
    still_says: "Ce qu'il dit en MVP",
    more: |n| format!("et {n} de plus"),
    no_domains: "Aucun domaine n'est encore venu.",
    traffic: "Trafic",
    traffic_note: "Ce que les domaines disent sur leurs canaux. Ce qu'un domaine dit directement au broker ne passe pas ici.",
    no_traffic: "Rien n'a encore été compté.",
    legacy: "MVP",
    legacy_domains: "de domaines MVP",
    mqtt_domains: "de domaines sur MQTT",
    each_day: "messages par jour, UTC",
    each_hour: "messages par heure, UTC",
    coverage: "Non couvert par la correspondance",
    coverage_note: |since| format!("De ce qui a été observé depuis le {since}."),
    all_covered: "Chaque message observé a une ligne.",
    message: "Message",
    from_to: "De, vers",
    count: "Nombre",
    why: "Pourquoi",
    legacy_only: "seuls des domaines MVP le verraient",
    refusals: "Refusés",
    reason: "Raison",
    no_refusals: "Rien n'a été refusé.",
    attention: "Demande une intervention",
    no_gateway: "La passerelle ne peut pas être interrogée :",
    of_then: "La passerelle elle-même ne peut pas être interrogée : voici ce que le broker en sait.",
    footer: |made, since| match since {
        Some(since) => format!(
            "Établi le {made}. Les nombres de messages et de refus commencent avec la passerelle, le {since} ; le trafic est mémorisé pendant 90 jours."
        ),
        None => format!("Établi le {made}."),
    },
    states: [
        ("absent", "absent"),
        ("silent", "silencieux"),
        ("legacy", "MVP"),
        ("mqtt", "MQTT"),
        ("contested", "contesté"),
        ("waiting_for_connect", "MQTT, non connecté"),
        ("unavailable", "indisponible"),
        ("observing", "observation"),
    ],
    faults: [
        ("memory", "Qui parle MVP ne peut pas être mémorisé."),
        ("other_gateway", "Une autre passerelle a le même nom."),
        ("reload", "Le dernier rechargement a été refusé."),
        ("sockets", "Un dossier de sockets ne peut pas être surveillé."),
        ("store", "Le stockage ne prend plus rien."),
    ],
    reasons: [
        ("not_json", "pas du JSON"),
        ("not_an_envelope", "pas un message du protocole"),
        ("line_too_long", "trop long"),
        ("unknown_type", "un type inconnu"),
        ("not_mapped", "aucune ligne de la correspondance ne l'a"),
        ("missing_argument", "un membre manque"),
        ("bad_value", "une valeur que la ligne ne prend pas"),
        ("spoofed_source", "l'émetteur se dit un autre"),
        ("bad_name", "un nom qu'aucun domaine ne peut avoir"),
        ("no_such_domain", "personne ne l'exécute"),
        ("domain_stuck", "le domaine ne prend rien"),
        ("expired", "personne n'a répondu à temps"),
        ("no_pending_call", "une réponse à rien qui ait été demandé"),
        ("retained_request", "une requête que le broker avait gardée"),
        ("rate_limited", "plus que le domaine ne peut envoyer"),
        ("not_allowed", "la politique l'interdit"),
        ("store_full", "pas de place pour le garder"),
        ("broker_refused", "le broker ne le prend pas"),
    ],
    separator: '\u{202f}',
    date: |day| day.split('-').rev().collect::<Vec<_>>().join("/"),
};

/// A time span as `7 days 2h` says it, in French.
fn french_span(span: &str) -> String {
    let unit = |word: &str| match word {
        "day" => "jour".to_owned(),
        "days" => "jours".to_owned(),
        "month" | "months" => "mois".to_owned(),
        "year" => "an".to_owned(),
        "years" => "ans".to_owned(),
        other => other.to_owned(),
    };
    span.split(' ').map(unit).collect::<Vec<_>>().join(" ")
}
