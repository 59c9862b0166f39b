//! Whose a client id on the broker is: whoever connects with it takes over the session that is there.

use crate::engine::name::{DomainName, GATEWAYS};
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, BTreeSet};

/// The client ids that a gateway knows of.
#[derive(Debug, Default, Serialize, Deserialize)]
pub struct Ids {
    /// Every domain that is known of. Its name is its client id, whether it is there or not.
    domains: BTreeSet<DomainName>,
    /// What else a domain's tunnel connects with: one id each, for as long as it may come back with it.
    held: BTreeMap<DomainName, String>,
}

impl Ids {
    /// These domains are known of.
    pub fn know(&mut self, domains: impl IntoIterator<Item = DomainName>) {
        self.domains.extend(domains);
    }

    /// Whether a domain is known of.
    #[must_use]
    pub fn knows(&self, domain: &DomainName) -> bool {
        self.domains.contains(domain)
    }

    /// A domain connects with an id: it is the domain's until it connects with another, or its tunnel is over.
    ///
    /// # Errors
    /// Whose it is, if it is somebody else's.
    pub fn claim(&mut self, who: &DomainName, id: &str) -> Result<(), &'static str> {
        if id == who.as_str() {
            self.held.remove(who);
            return Ok(());
        }
        let name = DomainName::parse(id).ok();
        // `Dom0` has one spelling, and the broker knows of no such thing.
        let is = |test: &dyn Fn(&DomainName) -> bool| name.as_ref().is_some_and(test);
        if id.starts_with(GATEWAYS) {
            return Err("the gateway's own");
        }
        if is(&|name| name.meaning().is_some()) {
            return Err("not a domain's");
        }
        if is(&|name| self.domains.contains(name)) {
            return Err("another domain's");
        }
        if self.held.iter().any(|(other, held)| held == id && other != who) {
            return Err("in use by another domain");
        }
        // The broker chooses one that nobody has.
        if id.is_empty() {
            self.held.remove(who);
        } else {
            self.held.insert(who.clone(), id.to_owned());
        }
        Ok(())
    }

    /// A domain's tunnel is over.
    pub fn release(&mut self, who: &DomainName) {
        self.held.remove(who);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn name(text: &str) -> DomainName {
        DomainName::parse(text).unwrap()
    }

    #[test]
    fn an_id_is_whose_name_it_is_or_whoever_had_it_first() {
        let mut ids = Ids::default();
        ids.know([name("vm-gui"), name("vm-scan"), name("Dom0")]);
        let scan = name("vm-scan");
        for (id, whose) in [
            ("vm-scan", Ok(())),
            ("", Ok(())),
            ("app", Ok(())),
            ("VM-GUI", Ok(())),
            ("vm-gui\u{301}", Ok(())),
            ("Passerelle-dom0", Ok(())),
            ("vm-gui", Err("another domain's")),
            ("Dom0", Err("not a domain's")),
            ("dom0", Err("not a domain's")),
            ("tous", Err("not a domain's")),
            ("mqtt", Err("not a domain's")),
            ("passerelle", Err("not a domain's")),
            ("passerelle-dom0", Err("the gateway's own")),
            ("passerelle-other-channel", Err("the gateway's own")),
            ("passerelle-/", Err("the gateway's own")),
        ] {
            assert_eq!(ids.claim(&scan, id), whose, "{id:?}");
        }
    }

    #[test]
    fn an_id_in_use_is_one_domains_until_that_has_another_or_is_gone() {
        let mut ids = Ids::default();
        let (a, b) = (name("vm-a"), name("vm-b"));
        let taken = Err("in use by another domain");
        assert_eq!(ids.claim(&a, "app"), Ok(()));
        assert_eq!((ids.claim(&b, "app"), ids.claim(&a, "app")), (taken, Ok(())));
        // Refused with one, it keeps the one that it has.
        assert_eq!(ids.claim(&b, "other"), Ok(()));
        assert_eq!((ids.claim(&b, "app"), ids.claim(&a, "other")), (taken, taken));
        for next in ["vm-a", "third", ""] {
            assert_eq!((ids.claim(&a, "app"), ids.claim(&a, next)), (Ok(()), Ok(())));
            assert_eq!((ids.claim(&b, "app"), ids.claim(&b, "vm-b")), (Ok(()), Ok(())), "{next}");
        }
        assert_eq!((ids.claim(&a, "app"), ids.claim(&b, "app")), (Ok(()), taken));
        ids.release(&a);
        assert_eq!(ids.claim(&b, "app"), Ok(()));
    }
}
