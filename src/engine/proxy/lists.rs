//! Lists that answers on MQTT have had: what is in none of them is not asked for.

use crate::engine::json::{self, Object};
use crate::engine::mapping::shape::Listed;
use crate::engine::mapping::{Command, Table};
use serde::{Deserialize, Serialize};
use std::collections::{HashMap, HashSet};

/// More than this is no list of names.
const MOST: usize = 4096;

/// The last list of each answer that a row looks into.
#[derive(Debug, Default, Serialize, Deserialize)]
pub(super) struct Lists(
    #[serde(with = "crate::engine::snapshot::pairs")] HashMap<Listed, HashSet<Vec<u8>>>,
);

impl Lists {
    /// A response has come.
    pub fn answered(&mut self, table: &Table, root: &str, payload: &Object<'_>) {
        for listed in looked_into(table).filter(|l| l.root == root) {
            match payload.get(&listed.member).and_then(names) {
                Some(names) => self.0.insert(listed.clone(), names),
                None => self.0.remove(listed),
            };
        }
    }

    /// A notification has come: lists may be another by now.
    pub fn told(&mut self, topic: Option<&String>) {
        self.0.retain(|listed, _| listed.until.as_ref() != topic);
    }

    /// What of a request is in no list, though there is one.
    pub fn fault(&self, row: &Command, arguments: &Object<'_>) -> Option<String> {
        row.request.rules.iter().find_map(|rule| {
            let listed = rule.listed.as_ref()?;
            let name = rule.place.legacy.names().find(|name| arguments.get(name).is_some())?;
            let value = json::decode(arguments.get(name)?)?;
            let Listed { root, member, .. } = listed;
            let known = self.0.get(listed)?.contains(&*value);
            (!known)
                .then(|| format!("{name:?} is none of the {member} of the last answer to {root}"))
        })
    }
}

fn looked_into(table: &Table) -> impl Iterator<Item = &Listed> {
    let rules = table.commands().iter().flat_map(|row| &row.request.rules);
    rules.filter_map(|rule| rule.listed.as_ref())
}

/// The texts of a list; nothing if it is of anything else, or too long.
fn names(list: &str) -> Option<HashSet<Vec<u8>>> {
    let mut names = HashSet::new();
    let name = &mut |item: &str| {
        names.insert(json::decode(item).filter(|_| names.len() < MOST)?.into_owned());
        Some(())
    };
    let whole = json::for_each(list, &mut |item| name(item).ok_or(()));
    (whole == Ok(true)).then_some(names)
}
