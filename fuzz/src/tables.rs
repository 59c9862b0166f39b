//! The mappings that gateways are driven with: every shipped file, alone and together, and rows of
//! kinds that those have not.

use passerelle::diagnostic::Source;
use passerelle::engine::mapping::Table;
use passerelle::engine::mapping::table::Speaks;
use passerelle::engine::name::DomainName;
use std::sync::{Arc, LazyLock};

const PSEC: (&str, &str) = ("psec.toml", include_str!("../../mappings/psec.toml"));
const EXTENDED: (&str, &str) =
    ("psec-extended.toml", include_str!("../../mappings/psec-extended.toml"));
const LIB_2024: (&str, &str) =
    ("psec-lib-2024.toml", include_str!("../../mappings/psec-lib-2024.toml"));
const LIB_1_1: (&str, &str) =
    ("psec-lib-1.1.toml", include_str!("../../mappings/psec-lib-1.1.toml"));
const SAFECOR_1_2: (&str, &str) =
    ("safecor-1.2.toml", include_str!("../../mappings/safecor-1.2.toml"));
const VALUES: (&str, &str) =
    ("values.toml", include_str!("../../fixtures/mappings/valid/values.toml"));
const MULTI_ANSWER: (&str, &str) =
    ("multi-answer.toml", include_str!("../../fixtures/mappings/valid/multi-answer.toml"));
const BUSINESS: (&str, &str) =
    ("business.toml", include_str!("../../fixtures/mappings/valid/business.toml"));
/// The seed's, and rows of every kind that it has not.
const OWN: (&str, &str) =
    ("own.toml", concat!(include_str!("../../mappings/psec.toml"), "\n", include_str!("own.toml")));

/// Files that stand together.
const SETS: [&[(&str, &str)]; 12] = [
    &[PSEC],
    &[PSEC, EXTENDED],
    &[LIB_2024],
    &[LIB_1_1],
    &[PSEC, LIB_2024, LIB_1_1],
    &[PSEC, EXTENDED, LIB_2024, LIB_1_1],
    &[VALUES],
    &[MULTI_ANSWER],
    &[OWN],
    &[BUSINESS],
    &[SAFECOR_1_2],
    &[PSEC, EXTENDED, LIB_2024, LIB_1_1, SAFECOR_1_2],
];

/// A set of files, compiled.
#[derive(Debug, Clone)]
pub struct Mapping {
    /// The files' names.
    pub files: Vec<&'static str>,
    /// The table.
    pub table: Arc<Table>,
}

static ALL: LazyLock<Vec<Mapping>> = LazyLock::new(|| {
    let mut all: Vec<_> = SETS.iter().map(|files| mapping(files, &Speaks::default())).collect();
    // A domain that speaks another dialect than everyone.
    for dialect in ["psec-lib-2024", "psec-lib-1.1"] {
        let mut speaks = Speaks::default();
        let usb = DomainName::parse("sys-usb").expect("a name");
        speaks.domains.insert(usb, dialect.to_owned());
        all.push(mapping(SETS[5], &speaks));
    }
    let mut speaks = Speaks::default();
    let usb = DomainName::parse("sys-usb").expect("a name");
    speaks.domains.insert(usb, "safecor-1.2".to_owned());
    all.push(mapping(SETS[11], &speaks));
    all
});

fn mapping(files: &[(&'static str, &str)], speaks: &Speaks) -> Mapping {
    let source = |(name, text): &(&str, &str)| {
        Arc::new(Source { name: (*name).to_owned(), text: (*text).to_owned() })
    };
    let sources: Vec<_> = files.iter().map(source).collect();
    let table = Table::compile(&sources, speaks).unwrap_or_else(|found| {
        panic!("{}", found.iter().map(ToString::to_string).collect::<String>())
    });
    Mapping { files: files.iter().map(|(name, _)| *name).collect(), table: Arc::new(table) }
}

/// One of all of them.
#[must_use]
pub fn numbered(number: u8) -> &'static Mapping {
    &ALL[usize::from(number) % ALL.len()]
}

/// The mapping of exactly these files, or else the largest.
#[must_use]
pub fn of_files(files: &[&str]) -> &'static Mapping {
    ALL.iter().find(|m| m.files == files).unwrap_or(&ALL[5])
}
