//! What a good configuration stands on: the folders and files that the gateway needs when it starts. `check`
//! finds here what `run` would find, as far as that takes no connection.

use super::lock;
use super::memory;
use super::observe;
use super::private;
use super::secrets;
use super::serial::{is_no_port, is_permitted};
use super::tls;
use crate::config::{Channel, Config, STATE_DIR};
use crate::diagnostic::{Finding, Findings};
use rustix::fs::{Access, access};
use std::path::Path;

/// Everything that is missing, or that this user may not use.
#[must_use]
pub fn grounds(config: &Config) -> Vec<Finding> {
    let mut grounds = Grounds { config, found: Findings::default() };
    grounds.secrets();
    grounds.certificates();
    grounds.channels();
    grounds.state_dir();
    grounds.store();
    grounds.found.into_sorted()
}

struct Grounds<'c> {
    config: &'c Config,
    found: Findings,
}

impl Grounds<'_> {
    fn add(&mut self, key: &str, message: impl Into<String>, help: impl Into<String>) {
        let span = self.config.places.value(key).unwrap_or(0..0);
        self.found.add(&self.config.source, span, message, help);
    }

    fn secrets(&mut self) {
        let broker = &self.config.broker;
        let Err(error) = secrets::check(broker, &self.config.state_dir) else { return };
        let (message, help) = error.split_once("; help: ").unwrap_or((&error, "name a good file"));
        let in_all = broker.passwords.as_ref().is_some_and(|file| starts_with(message, file));
        let key = if in_all { "broker.passwords" } else { "broker.password_file" };
        self.add(key, message, help);
    }

    fn certificates(&mut self) {
        if let Err(fault) = tls::connector(&self.config.broker, &self.config.state_dir) {
            self.add(fault.key, fault.message, fault.help);
        }
    }

    fn channels(&mut self) {
        for (at, channel) in self.config.channels.iter().enumerate() {
            match channel {
                Channel::Unix(pattern) => {
                    let folder = folder_of(pattern);
                    let help = "name the folder in which the domains' sockets are";
                    if let Some(why) = unusable(folder, Access::READ_OK | Access::EXEC_OK) {
                        let message = format!("{}: {why}", folder.display());
                        self.add(&format!("channel.{at}.unix"), message, help);
                    }
                }
                Channel::Serial(port, _) => self.serial(&format!("channel.{at}.serial"), port),
            }
        }
    }

    /// One that is not there may come yet.
    fn serial(&mut self, key: &str, port: &Path) {
        let shown = port.display();
        if let Some(kind) = is_no_port(port) {
            let help =
                "name the port of the messages: /dev/hvc2 on most images, /dev/hvc1 on others";
            self.add(key, format!("{shown} is {kind}, and no serial port"), help);
        } else if let Err(error) = port.metadata()
            && error.kind() != std::io::ErrorKind::NotFound
        {
            let help = "name the port itself, or have the link lead to it";
            self.add(key, format!("{shown}: {error}"), help);
        } else if port.exists() && !is_permitted(port) {
            let help = "let the gateway's user read and write it: add it to the group of the port";
            self.add(key, format!("{shown}: this user may not read and write it"), help);
        }
    }

    fn state_dir(&mut self) {
        let folder = &self.config.state_dir;
        if is_made_by_the_service(folder) {
            return;
        }
        if let Some(why) = unusable(folder, Access::WRITE_OK | Access::EXEC_OK) {
            let shown = folder.display();
            let help =
                format!("make it, for the gateway's user: mkdir -p {shown}, or name another");
            self.add("state_dir", format!("{shown}: {why}"), help);
            return;
        }
        if let Err(why) = lock::look(folder) {
            self.add("state_dir", why, "remove it: the gateway makes another");
        }
        let kept = if self.config.observe.is_some() { observe::FILE } else { memory::FILE };
        let file = folder.join(kept);
        if private::is_in_the_way(&file) {
            let message = format!("{}: it is a folder, where a file is to be kept", file.display());
            self.add("state_dir", message, "remove it, and what has its name and `.new`");
        }
    }

    /// The store's folder is made if it is not there.
    fn store(&mut self) {
        let Some(store) = &self.config.store else { return };
        if is_made_by_the_service(&store.dir) {
            return;
        }
        let there = store.dir.ancestors().find(|folder| folder.symlink_metadata().is_ok());
        let folder = there.filter(|folder| !folder.as_os_str().is_empty());
        let folder = folder.unwrap_or(Path::new("."));
        if let Some(why) = unusable(folder, Access::WRITE_OK | Access::EXEC_OK) {
            let help = "name a folder that the gateway's user can make, or write to";
            self.add("store.dir", format!("{}: {why}", folder.display()), help);
        }
    }
}

/// The service makes the folder of the gateway's state, and the gateway what is in it.
fn is_made_by_the_service(folder: &Path) -> bool {
    folder.starts_with(STATE_DIR) && !Path::new(STATE_DIR).exists()
}

fn starts_with(message: &str, file: &Path) -> bool {
    message.starts_with(&file.display().to_string())
}

fn folder_of(file: &Path) -> &Path {
    let folder = file.parent().filter(|folder| !folder.as_os_str().is_empty());
    folder.unwrap_or(Path::new("."))
}

/// Why this user cannot use a folder like that.
fn unusable(folder: &Path, how: Access) -> Option<String> {
    match folder.metadata() {
        Err(error) => Some(error.to_string()),
        Ok(found) if !found.is_dir() => Some("it is no folder".to_owned()),
        Ok(_) => access(folder, how).err().map(|error| std::io::Error::from(error).to_string()),
    }
}
