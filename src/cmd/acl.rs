//! `passerelle acl`: what the broker is to grant each domain.

use super::{ConfigFile, GOOD, Out, load, trouble};
use crate::config::{Address, Config};
use crate::edge::secrets;
use crate::engine::acl::{Acl, Grants};
use crate::engine::name::DomainName;
use std::collections::BTreeSet;
use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

const MORE: &str = "\
Examples:
  passerelle acl >/etc/mosquitto/passerelle.acl
  passerelle acl --domain vm-log >/etc/mosquitto/passerelle.acl
  passerelle acl --listener

Exit codes:
  0  written
  2  the configuration is wrong or has no `broker.passwords`, or a file cannot be read";

/// Arguments of `acl`.
#[derive(Debug, clap::Args)]
#[command(after_help = MORE)]
pub struct Args {
    #[command(flatten)]
    config: ConfigFile,
    /// One more domain; repeat it for more. Those that the configuration, its mapping and its passwords
    /// name are known
    #[arg(long, value_parser = |name: &str| DomainName::parse(name), value_name = "NAME")]
    domain: Vec<DomainName>,
    /// The listener's part of mosquitto.conf instead of the acl_file
    #[arg(long)]
    listener: bool,
    /// Where the broker has its acl_file and its password_file
    #[arg(long, value_name = "DIR", default_value = "/etc/mosquitto")]
    folder: PathBuf,
}

/// Runs it: 0 if it is written, 2 if the configuration is wrong, everyone logs in as the gateway, or a
/// file cannot be read.
#[must_use]
pub fn run(args: &Args, out: &mut Out) -> ExitCode {
    let config = match load(&args.config, out) {
        Ok(config) => config,
        Err(code) => return code,
    };
    let (Some(user), Some(passwords)) = (&config.broker.user, &config.broker.passwords) else {
        out.complain(format_args!(
            "error: {}: the broker cannot tell the domains apart\nhelp: give each a password, and name the file with `broker.passwords`\n",
            config.source.name
        ));
        return trouble();
    };
    let text = if args.listener {
        listener(&config, &args.folder, passwords)
    } else {
        match domains(&config, user, &args.domain) {
            Ok(domains) => acl(&config, user, &domains),
            Err(error) => {
                out.complain(format_args!("error: {error}\n"));
                return trouble();
            }
        }
    };
    out.say(text);
    GOOD
}

/// Every domain that is named somewhere.
fn domains(
    config: &Config,
    user: &str,
    more: &[DomainName],
) -> Result<BTreeSet<DomainName>, String> {
    let mut domains = config.domains();
    domains.extend(secrets::domains(&config.broker, &config.state_dir)?);
    domains.extend(more.iter().cloned());
    let is_one = |name: &DomainName| name.is_dom0() || name.meaning().is_none();
    domains.retain(|name| is_one(name) && name.as_str() != user);
    Ok(domains)
}

fn acl(config: &Config, user: &str, domains: &BTreeSet<DomainName>) -> String {
    let acl = Acl::new(&config.table, &config.policy, domains);
    let mut text = format!(
        "# Who may do what on the broker, by {} and its mapping. `passerelle acl` has\n# written it: have it write it anew when one of them changes.\n",
        config.source.name
    );
    let mut add = |who: &str, grants: &Grants| {
        let _ = writeln!(text, "\nuser {who}");
        for (access, filter) in grants.lines() {
            let _ = writeln!(text, "topic {} {filter}", access.as_str());
        }
    };
    add(user, &acl.of_gateway(&config.instance));
    for (domain, grants) in acl.of_domains() {
        add(domain.as_str(), &grants);
    }
    text
}

fn listener(config: &Config, folder: &Path, passwords: &Path) -> String {
    let place = |address: &Address| match address {
        Address::Unix(path) => format!("listener 0 {}\n", path.display()),
        Address::Tcp { host, port, tls: false } => format!("listener {port} {host}\n"),
        // Its own certificate, whose authority the gateway's `ca_file` names.
        Address::Tcp { host, port, tls: true } => format!(
            "listener {port} {host}\ncertfile {0}/broker.crt\nkeyfile {0}/broker.key\n",
            folder.display()
        ),
    };
    let places: String = config.broker.addresses.iter().map(place).collect();
    let (config, folder, passwords) = (&config.source.name, folder.display(), passwords.display());
    format!(
        "\
# For mosquitto.conf, in the place of its `listener` and `allow_anonymous`. The two files:
#   passerelle acl --config {config} >{folder}/passerelle.acl
#   install -m 600 -o mosquitto {passwords} {folder}/passerelle.passwd
#   mosquitto_passwd -U {folder}/passerelle.passwd
{places}allow_anonymous false
password_file {folder}/passerelle.passwd
acl_file {folder}/passerelle.acl
"
    )
}
