//! The passwords: the gateway's own, and its domains'.

use crate::config::Broker;
use crate::engine::name::DomainName;
use crate::engine::password::Credentials;
use crate::engine::password::{Logins, Password};
use rustix::process::{DumpableBehavior, geteuid, set_dumpable_behavior};
use std::collections::{BTreeMap, BTreeSet};
use std::fs::File;
use std::io::Read as _;
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _};
use std::path::Path;

/// What others than a file's owner may not: anything, but for its group to read.
const TOO_MUCH: u32 = 0o037;

/// The kernel writes no core dump of this process, and lets no other of its user look into it: both would
/// have passwords.
///
/// # Errors
/// Why the kernel refuses.
pub fn keep_out_of_dumps() -> Result<(), String> {
    set_dumpable_behavior(DumpableBehavior::NotDumpable).map_err(|e| format!("core dumps: {e}"))
}

/// What everyone of this gateway logs in with, from the files that the configuration names.
///
/// # Errors
/// A line that names the file, what is wrong with it and the way out. It never has a password in it.
pub fn read(broker: &Broker, state_dir: &Path) -> Result<Logins, String> {
    let Broker { user, password_file, passwords, .. } = broker;
    let owners = owners(state_dir);
    let domains = passwords.as_deref().map(|path| passwords_of(path, &owners)).transpose()?;
    let password = match (password_file, passwords, user) {
        (Some(path), ..) => Some(password_of(path, &owners)?),
        (None, Some(path), Some(user)) => Some(password_for(user, domains.as_ref(), path)?),
        (None, ..) => None,
    };
    let own = user.clone().map(|user| Credentials { user, password });
    Ok(Logins { own, domains })
}

/// The gateway's own password, among all.
fn password_for(
    user: &str,
    domains: Option<&BTreeMap<String, Password>>,
    path: &Path,
) -> Result<Password, String> {
    let password = domains.and_then(|all| all.get(user).cloned());
    password.ok_or_else(|| {
        format!(
            "{}: no line for {user:?}, the gateway's own user; help: add one, or name its password's file \
             with `password_file`",
            path.display()
        )
    })
}

/// Whether the files with passwords are good.
///
/// # Errors
/// As those of the gateway's start: a line that names the file, what is wrong with it and the way out.
pub fn check(broker: &Broker, state_dir: &Path) -> Result<(), String> {
    read(broker, state_dir).map(drop)
}

/// The domains that have a password.
///
/// # Errors
/// As for [`check`].
pub fn domains(broker: &Broker, state_dir: &Path) -> Result<BTreeSet<DomainName>, String> {
    Ok(read(broker, state_dir)?.domains())
}

/// Who may own a file of passwords, for an owner may write it: root and the gateway's user. That is who runs
/// this, or if root does, who owns the folder of the gateway's memory.
fn owners(state_dir: &Path) -> BTreeSet<u32> {
    let user = geteuid();
    let gateway = state_dir.metadata().ok().filter(|_| user.is_root()).map(|folder| folder.uid());
    [0, user.as_raw()].into_iter().chain(gateway).collect()
}

/// The text of a file with a private key.
///
/// # Errors
/// As for [`check`].
pub(super) fn key(path: &Path, state_dir: &Path) -> Result<String, String> {
    secret(path, &owners(state_dir), "the key")
}

/// The whole of a file that nobody may read but its owner, and its group perhaps; and what is in it.
fn secret(path: &Path, owners: &BTreeSet<u32>, what: &str) -> Result<String, String> {
    let shown = path.display();
    // To open a FIFO would wait for whoever writes to it.
    if path.metadata().is_ok_and(|found| !found.is_file()) {
        return Err(format!("{shown}: it is no regular file; help: write {what} to one"));
    }
    let mut file = File::open(path).map_err(|e| {
        format!("{shown}: {e}; help: make it, readable for the gateway's user alone")
    })?;
    let file_is = file.metadata().map_err(|e| format!("{shown}: {e}"))?;
    let (owner, mode) = (file_is.uid(), file_is.permissions().mode());
    if !owners.contains(&owner) {
        return Err(format!(
            "{shown}: the user {owner} owns it, and may change {what}; help: have it belong to root or to the gateway's user"
        ));
    }
    if mode & TOO_MUCH != 0 {
        let mode = mode & 0o777;
        return Err(format!(
            "{shown}: its mode is {mode:03o}, and others may not read or write {what}; help: chmod 600 {shown}"
        ));
    }
    let mut text = String::new();
    file.read_to_string(&mut text).map_err(|e| format!("{shown}: {e}"))?;
    if text.starts_with('\u{feff}') {
        return Err(format!("{shown}:1: it begins with a byte-order mark; help: save it without"));
    }
    Ok(text)
}

/// A file with a password alone.
fn password_of(path: &Path, owners: &BTreeSet<u32>) -> Result<Password, String> {
    let text = secret(path, owners, "the passwords")?;
    let text = text.trim_end_matches(['\r', '\n']).to_owned();
    Password::parse(text)
        .map_err(|e| format!("{}: {e}; help: write the password alone into it", path.display()))
}

/// A file of lines `name:password`: what `mosquitto_passwd -U` makes a broker's file of, which takes no
/// comments.
fn passwords_of(path: &Path, owners: &BTreeSet<u32>) -> Result<BTreeMap<String, Password>, String> {
    let text = secret(path, owners, "the passwords")?;
    let mut all = BTreeMap::new();
    for (number, line) in text.lines().enumerate() {
        let at = |what: &str, help: &str| {
            format!("{}:{}: {what}; help: {help}", path.display(), number + 1)
        };
        const SHAPE: &str = "write a line for each domain: its name, a colon, its password";
        let (name, password) = line.split_once(':').ok_or_else(|| at("no colon", SHAPE))?;
        if name.is_empty() {
            return Err(at("no name", SHAPE));
        }
        // `Dom0` has one spelling, on the broker too.
        let name = DomainName::parse(name).map_or(name.to_owned(), |n| n.as_str().to_owned());
        let password = Password::parse(password.to_owned()).map_err(|e| at(e, SHAPE))?;
        if all.insert(name, password).is_some() {
            return Err(at("this name has a password already", "remove one of the lines"));
        }
    }
    Ok(all)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs::{self, Permissions};

    fn file(text: &str, mode: u32) -> (tempfile::TempDir, std::path::PathBuf) {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("passwords");
        fs::write(&path, text).unwrap();
        fs::set_permissions(&path, Permissions::from_mode(mode)).unwrap();
        (folder, path)
    }

    #[test]
    fn a_fifo_holds_nobody_up() {
        use rustix::fs::{CWD, FileType, Mode, mknodat};
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("passwords");
        mknodat(CWD, &path, FileType::Fifo, Mode::RUSR | Mode::WUSR, 0).unwrap();
        let read = passwords_of(&path, &owners(&path));
        assert!(read.unwrap_err().contains("no regular file"));
    }

    #[test]
    fn a_file_that_others_may_read_or_write_is_refused() {
        for (mode, good) in [
            (0o600, true),
            (0o400, true),
            (0o640, true),
            (0o644, false),
            (0o620, false),
            (0o660, false),
            (0o604, false),
        ] {
            let (_folder, path) = file("vm-gui:s3cret\n", mode);
            let read = passwords_of(&path, &owners(&path));
            assert_eq!(read.is_ok(), good, "{mode:o}: {read:?}");
        }
    }

    #[test]
    fn a_file_of_another_user_is_refused() {
        let (_folder, path) = file("vm-gui:s3cret\n", 0o600);
        let mine = path.metadata().unwrap().uid();
        assert!(passwords_of(&path, &BTreeSet::from([mine])).is_ok());
        let error = passwords_of(&path, &BTreeSet::from([mine + 1])).unwrap_err();
        assert!(error.contains(&format!("the user {mine} owns it")), "{error}");
        assert!(owners(&path).is_superset(&BTreeSet::from([0, mine])));
    }

    #[test]
    fn what_is_wrong_is_told_with_its_line_and_without_the_secret() {
        for (text, what) in [
            ("vm-a:b\nvm-gui s3cret\n", "passwords:2: no colon; help: write a line"),
            (":s3cret\n", "passwords:1: no name"),
            ("vm-gui:\n", "passwords:1: the password is empty"),
            ("vm-a:b\n\nvm-gui:s3cret\n", "passwords:2: no colon"),
            ("\u{feff}vm-gui:s3cret\n", "passwords:1: it begins with a byte-order mark"),
            ("dom0:a\nvm-gui:s3cret\nDom0:s3cret\n", "passwords:3: this name has a password"),
        ] {
            let (_folder, path) = file(text, 0o600);
            let error = passwords_of(&path, &owners(&path)).unwrap_err();
            assert!(error.contains(what) && !error.contains("s3cret"), "{error}");
        }
        // A password may have colons in it, and spaces around it.
        let (_folder, path) = file("vm-gui: a:b \n", 0o600);
        let read = passwords_of(&path, &owners(&path)).unwrap();
        assert_eq!(read["vm-gui"].reveal(), " a:b ");
    }
}
