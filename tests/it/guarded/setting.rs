//! The setting of the tests that run guarded, too.

pub use crate::setting::Outcome;

use crate::peers::{Broker, Dialect, Dom0, Gateway, Missing};
use crate::setting::{self, PROGRAM, mappings, setting_with};
use std::path::Path;

/// Whether a domain on MQTT has to prove who it is.
pub const PROVES: bool = true;

/// Everyone who has a password.
pub const DOMAINS: [&str; 6] = ["Dom0", "sys-usb", "vm-app", "vm-gui", "vm-scan", "vm-third"];

/// What the tests need, and nothing else.
const RULES: &str = r#"
[[allow]]
from = "vm-gui"
to = "sys-usb"
[[allow]]
from = "vm-scan"
command = "*"
to = "sys-usb"
# A library's application does not say who it is: the broker knows it, and the gateway does not.
[[allow]]
from = "vm-app"
command = "*"
to = "sys-usb"
[[allow]]
from = "mqtt"
command = "*"
to = "sys-usb"
[[allow]]
command = "LISTE_COMPOSANTS"
to = "tous"
[[allow]]
from = "sys-usb"
event = "FICHIER"
[[allow]]
from = "vm-scan"
event = "FICHIER"
[[allow]]
event = "ERREUR"
"#;

fn guarded(gateway: Gateway) -> Gateway {
    let gateway = gateway.with_key("policy = \"deny\"").with(RULES);
    gateway.with_passwords(&DOMAINS).expect("a place for passwords")
}

/// A broker with the ACL that the program writes for a gateway's configuration, and such a gateway.
async fn start(configure: impl Fn(Gateway) -> Gateway) -> Result<Dom0, Missing> {
    let failed = |e: std::io::Error| Missing::new(format!("no configuration: {e}"));
    let folder = tempfile::tempdir().map_err(failed)?;
    let gateway = Gateway::new(Path::new(PROGRAM), mappings(), &folder.path().join("sock"))?;
    let gateway = configure(gateway.on_dom0(folder.path()));
    gateway.write().map_err(failed)?;
    let acl = setting::passerelle(&gateway, "acl", &[]).await;
    let acl = acl.map_err(|e| Missing::new(format!("{e:?}")))?;
    if acl.code != 0 {
        return Err(Missing::new(format!("no ACL: {acl}")));
    }
    let users: Vec<_> = DOMAINS.into_iter().chain(["passerelle"]).collect();
    setting_with(Broker::start_guarded(&acl.out, &users).await?, configure).await
}

/// The seed's mapping alone.
pub async fn setting() -> Result<Dom0, Missing> {
    start(guarded).await
}

/// The same; it can be asked itself.
pub async fn setting_with_control() -> Result<Dom0, Missing> {
    start(|gateway| guarded(gateway).with_control()).await
}

/// The same, with more rules.
pub async fn setting_with_rules(rules: &str) -> Result<Dom0, Missing> {
    start(|gateway| guarded(gateway).with(rules)).await
}

/// The same, with a dialect that a domain speaks.
pub async fn setting_of(domain: &str, dialect: Dialect) -> Result<Dom0, Missing> {
    start(|gateway| guarded(gateway.with_dialect(domain, dialect))).await
}
