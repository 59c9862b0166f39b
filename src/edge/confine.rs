//! Confines the gateway, with Landlock, to what its configuration names. Whatever takes the program over
//! can then do no more than the program itself needs.
//!
//! Landlock holds for the thread that asks and for those that it starts from then on. So the gateway asks
//! before there is a runtime, and nothing of it runs outside.

use super::store;
use crate::config::{Address, Channel, Config};
use landlock::{
    ABI, Access as _, AccessFs, AccessNet, BitFlags, LandlockStatus, NetPort, RestrictionStatus,
    Ruleset, RulesetAttr as _, RulesetCreatedAttr as _, RulesetError, Scope, make_bitflags,
    path_beneath_rules,
};
use std::collections::BTreeSet;
use std::net::IpAddr;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};

/// What is asked for: all that Linux 6.12 has. What a kernel lacks of it is left out.
const ASKED: ABI = ABI::V6;

/// What is held to what the configuration names, and since when Landlock can.
const HELD: [(ABI, &str); 5] = [
    (ABI::V1, "files"),
    (ABI::V3, "cutting files off"),
    (ABI::V4, "TCP"),
    (ABI::V5, "devices"),
    (ABI::V6, "signals and abstract sockets"),
];

/// Files are read, in a folder: editors replace them, and a mapping's may be new.
const READ: BitFlags<AccessFs> = make_bitflags!(AccessFs::{ReadFile | ReadDir});
/// Sockets are found. Landlock lets anyone connect to them, and leaves it to their mode.
const FIND: BitFlags<AccessFs> = make_bitflags!(AccessFs::{ReadDir});
/// Files are kept.
const KEEP: BitFlags<AccessFs> = make_bitflags!(AccessFs::{
    ReadFile | WriteFile | Truncate | ReadDir | MakeReg | MakeDir | RemoveFile | RemoveDir
});
/// Sockets are made.
const OFFER: BitFlags<AccessFs> = make_bitflags!(AccessFs::{ReadDir | MakeSock | RemoveFile});
/// A device is used.
const USE: BitFlags<AccessFs> = make_bitflags!(AccessFs::{ReadFile | WriteFile | IoctlDev});

/// Where names are asked for over TCP, when an answer is long.
const DNS: u16 = 53;

/// What the gateway is confined to.
#[derive(Debug, Default)]
pub struct Confined {
    /// The folders of what it may read, by device and number; `None`: it may read anything.
    folders: Option<BTreeSet<(u64, u64)>>,
    /// Why it is not confined.
    why_not: Option<&'static str>,
    /// What is held, and what the kernel cannot hold.
    holds: String,
    lacks: Option<String>,
}

/// Confines the calling thread, and all that it starts, as the configuration says. Must be called before
/// there is any other.
///
/// # Errors
/// The kernel has Landlock and refuses it; and the way out.
pub fn confine(config: &Config) -> Result<Confined, String> {
    let unconfined = |why| Confined { why_not: Some(why), ..Confined::default() };
    if !config.confine {
        return Ok(unconfined("`confine = false`"));
    }
    if let Some(store) = &config.store {
        // A rule needs a folder that is there. What is wrong with this one is told when it is opened.
        let _ = store::make(&store.dir);
    }
    let folders = read(config);
    let known = folders.iter().filter_map(|folder| identity(folder)).collect();
    let mut rules: Vec<_> = folders.into_iter().map(|folder| (folder, READ)).collect();
    rules.extend(others(config));
    let status = restrict(&rules, &ports(config)).map_err(|error| {
        format!(
            "the gateway cannot confine itself: {error}; help: with `confine = false` it does not"
        )
    })?;
    let LandlockStatus::Available { effective_abi, .. } = status.landlock else {
        return Ok(unconfined("the kernel has no Landlock"));
    };
    let (holds, lacks): (Vec<_>, Vec<_>) = HELD.iter().partition(|(abi, _)| *abi <= effective_abi);
    let list = |all: Vec<&(ABI, &'static str)>| {
        all.iter().map(|(_, what)| *what).collect::<Vec<_>>().join(", ")
    };
    let lacks = (!lacks.is_empty()).then(|| list(lacks));
    Ok(Confined { folders: Some(known), why_not: None, holds: list(holds), lacks })
}

impl Confined {
    /// Says in the log what holds.
    pub(super) fn log(&self) {
        match self.why_not {
            Some(why) => tracing::info!(why, "not confined"),
            None => {
                tracing::info!(
                    holds = self.holds,
                    kernel_lacks = self.lacks.as_deref(),
                    "confined"
                );
            }
        }
    }

    /// Whether a file may be read. One that is not there may, if it would be in the right folder.
    #[must_use]
    pub fn reaches(&self, file: &Path) -> bool {
        let Some(folders) = &self.folders else { return true };
        let Ok(real) = file.canonicalize().or_else(|_| folder_of(file).canonicalize()) else {
            return true;
        };
        real.ancestors().filter_map(identity).any(|folder| folders.contains(&folder))
    }
}

/// The folders of files that are read, and read again at a reload. This is the place for more of them.
fn read(config: &Config) -> BTreeSet<PathBuf> {
    let mut files = vec![PathBuf::from(&config.source.name)];
    files.extend(config.mappings.iter().map(|mapping| PathBuf::from(&mapping.file)));
    files.extend(config.broker.files().cloned());
    if config.broker.addresses.iter().any(is_looked_up) {
        files.extend(["/etc/hosts", "/etc/resolv.conf"].map(PathBuf::from));
    }
    files.iter().flat_map(|file| folders_of(file)).chain(config.folders.clone()).collect()
}

/// The folders of a file and of what it leads to, step by step, for each may be replaced. What a link leads to
/// may appear later (DHCP makes the resolver's): then it is the folder above that is there.
fn folders_of(file: &Path) -> BTreeSet<PathBuf> {
    const LINKS: usize = 40;
    let mut all = BTreeSet::from([folder_of(file).to_owned()]);
    let mut at = file.to_owned();
    for _ in 0..LINKS {
        let Ok(target) = at.read_link() else { break };
        at = folder_of(&at).join(target);
        let there = at.ancestors().skip(1).find(|folder| folder.is_dir());
        // Of a link that leads nowhere at all, everything would be above.
        all.extend(there.filter(|folder| folder.parent().is_some()).map(Path::to_owned));
    }
    all.extend(file.canonicalize().ok().map(|real| folder_of(&real).to_owned()));
    all
}

/// Everything else that is used, and for what. This is the place for more of it.
fn others(config: &Config) -> Vec<(PathBuf, BitFlags<AccessFs>)> {
    let mut all = vec![(config.state_dir.clone(), KEEP)];
    for channel in &config.channels {
        match channel {
            Channel::Unix(pattern) => {
                all.extend(with_above(folder_of(pattern)).map(|folder| (folder, FIND)));
            }
            Channel::Serial(port, _) => {
                all.extend(places_of(port).into_iter().map(|place| (place, USE)));
            }
        }
    }
    if let Some(socket) = &config.control {
        all.push((folder_of(socket).to_owned(), OFFER));
    }
    if let Some(file) = &config.metrics {
        all.push((folder_of(file).to_owned(), KEEP));
    }
    let relays = config.observe.iter().map(|observe| &observe.relay).chain(&config.dom0);
    all.extend(relays.map(|relay| (relay.clone(), OFFER)));
    if let Some(store) = &config.store {
        all.push((store.dir.clone(), KEEP));
        all.push((store::BOOT_ID.into(), READ));
    }
    all
}

/// A folder, and the one above, in which it may be made anew; not if that is the root of all.
fn with_above(folder: &Path) -> impl Iterator<Item = PathBuf> {
    let real = folder.canonicalize().ok();
    let above = real.as_deref().and_then(Path::parent).filter(|above| above.parent().is_some());
    [folder.to_owned()].into_iter().chain(above.map(Path::to_owned)).collect::<Vec<_>>().into_iter()
}

/// Where a port is, or may be made anew: the device, and the folder that it is in. Of all that is in `/dev` the
/// gateway needs that one device: another in its place is out of reach, which its status says. One that is not
/// there may come in any folder that its path leads through.
fn places_of(port: &Path) -> BTreeSet<PathBuf> {
    let Ok(real) = port.canonicalize() else { return folders_of(port) };
    let folder = Some(folder_of(&real)).filter(|folder| *folder != Path::new("/dev"));
    folder.map(Path::to_owned).into_iter().chain([port.to_owned()]).collect()
}

/// The TCP ports to which the gateway connects.
fn ports(config: &Config) -> BTreeSet<u16> {
    // Who observes has no broker.
    let brokers = config.broker.addresses.iter().filter(|_| config.observe.is_none());
    let mut ports = BTreeSet::new();
    for broker in brokers {
        if let Address::Tcp { port, .. } = broker {
            ports.insert(*port);
        }
        if is_looked_up(broker) {
            ports.insert(DNS);
        }
    }
    ports
}

fn restrict(
    rules: &[(PathBuf, BitFlags<AccessFs>)],
    ports: &BTreeSet<u16>,
) -> Result<RestrictionStatus, RulesetError> {
    let mut ruleset = Ruleset::default()
        .handle_access(AccessFs::from_all(ASKED))?
        .handle_access(AccessNet::from_all(ASKED))?
        .scope(Scope::from_all(ASKED))?
        .create()?;
    for (path, access) in rules {
        ruleset = ruleset.add_rules(path_beneath_rules([path], *access))?;
    }
    for port in ports {
        ruleset = ruleset.add_rule(NetPort::new(*port, AccessNet::ConnectTcp))?;
    }
    // It also gives up for good to gain rights by running another program (no_new_privs).
    ruleset.restrict_self()
}

/// Whether a broker's host is a name, which has to be looked up.
fn is_looked_up(broker: &Address) -> bool {
    matches!(broker, Address::Tcp { host, .. } if host.parse::<IpAddr>().is_err())
}

/// The folder that a file is in, or would be.
fn folder_of(file: &Path) -> &Path {
    let folder = file.parent().filter(|folder| !folder.as_os_str().is_empty());
    folder.unwrap_or(Path::new("."))
}

/// What Landlock knows a folder by: another that takes its place is another.
fn identity(path: &Path) -> Option<(u64, u64)> {
    path.metadata().ok().map(|found| (found.dev(), found.ino()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::load_file;
    use std::fs;
    use std::io::ErrorKind::PermissionDenied;
    use std::net::{TcpListener, TcpStream};
    use std::process::Command;
    use tempfile::TempDir;

    /// A folder with a configuration in `etc`, which reaches its broker there, and room around it.
    fn setting(url: &str) -> TempDir {
        let place = tempfile::tempdir().unwrap();
        for folder in ["etc", "state", "run/sockets", "elsewhere"] {
            fs::create_dir_all(place.path().join(folder)).unwrap();
        }
        let text = format!(
            "mappings = [\"{}/mappings/psec.toml\"]\nstate_dir = \"../state\"\n[broker]\n\
             url = \"{url}\"\n[store]\ndir = \"../store\"\n\
             [[channel]]\nunix = \"{}/run/sockets/*-msg.sock\"\n",
            env!("CARGO_MANIFEST_DIR"),
            place.path().display()
        );
        fs::write(place.path().join("etc/passerelle.toml"), text).unwrap();
        for file in ["etc/more.toml", "elsewhere/more.toml"] {
            fs::write(place.path().join(file), "text").unwrap();
        }
        place
    }

    /// Does something in a thread that is confined; not at all where the kernel has no Landlock.
    fn confined(place: &Path, what: impl FnOnce(&Path, &Confined) + Send) {
        let config = load_file(&place.join("etc/passerelle.toml")).unwrap();
        let thread = || {
            let confined = confine(&config).unwrap();
            match confined.why_not {
                Some(why) => eprintln!("skipped: {why}"),
                None => what(place, &confined),
            }
        };
        std::thread::scope(|scope| scope.spawn(thread).join().unwrap());
    }

    #[test]
    fn what_is_not_named_is_refused_to_every_thread() {
        let place = setting("unix:/absent/mqtt.sock");
        confined(place.path(), |place, _| {
            let at = |path: &str| place.join(path);
            let [inside, outside, link] =
                ["etc/more.toml", "elsewhere/more.toml", "etc/link.toml"].map(at);
            let refused = |done: std::io::Result<()>| {
                done.is_err_and(|error| error.kind() == PermissionDenied)
            };
            let may = {
                let place = place.to_owned();
                move || {
                    fs::read(&inside).unwrap();
                    let (new, kept) = (place.join("state/kept.new"), place.join("state/kept"));
                    fs::write(&new, "text").unwrap();
                    fs::write(&new, "less").unwrap();
                    fs::rename(new, kept).unwrap();
                    fs::read_dir(place.join("run/sockets")).unwrap();
                    fs::read_dir(place.join("run")).unwrap();
                    let (log, left) = (place.join("store/vm-gui@"), place.join("store/vm-gui@0"));
                    fs::create_dir(&log).unwrap();
                    fs::write(log.join("1.log"), "text").unwrap();
                    fs::rename(log, &left).unwrap();
                    fs::remove_dir_all(left).unwrap();
                    assert!(store::boot_id().is_ok());
                    assert!(refused(fs::read(&outside).map(drop)));
                    assert!(refused(fs::write(&inside, "text")));
                    assert!(refused(fs::write(place.join("run/sockets/vm-gui-msg.sock"), "")));
                    assert!(refused(fs::read_dir(place.join("elsewhere")).map(drop)));
                    // Before Linux 5.19 nothing may change its folder at all, which is another error.
                    fs::rename(place.join("state/kept"), &outside).unwrap_err();
                    assert!(refused(Command::new("/bin/true").status().map(drop)));
                }
            };
            assert!(refused(std::os::unix::fs::symlink(at("elsewhere/more.toml"), link)));
            may();
            let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
            runtime.block_on(async { tokio::task::spawn_blocking(may).await }).unwrap();
        });
    }

    #[test]
    fn of_tcp_only_the_brokers_port_is_left() {
        let [broker, other] = [0, 0].map(|_| TcpListener::bind("127.0.0.1:0").unwrap());
        let place = setting(&format!("tcp://{}", broker.local_addr().unwrap()));
        confined(place.path(), |_, confined| {
            // Linux 6.1 of Debian, for one.
            if confined.lacks.as_ref().is_some_and(|lacks| lacks.contains("TCP")) {
                return eprintln!("skipped: the kernel cannot hold TCP");
            }
            TcpStream::connect(broker.local_addr().unwrap()).unwrap();
            let error = TcpStream::connect(other.local_addr().unwrap()).unwrap_err();
            assert_eq!(error.kind(), PermissionDenied);
            let error = TcpListener::bind("127.0.0.1:0").unwrap_err();
            assert_eq!(error.kind(), PermissionDenied);
        });
    }

    #[test]
    fn what_is_out_of_reach_is_known_before_it_is_read() {
        let place = setting("unix:/absent/mqtt.sock");
        let etc = place.path().join("etc");
        std::os::unix::fs::symlink("../elsewhere/more.toml", etc.join("link.toml")).unwrap();
        confined(place.path(), |place, confined| {
            let as_the_kernel_says = |file: &str| {
                let file = place.join(file);
                assert_eq!(confined.reaches(&file), fs::read(&file).is_ok(), "{}", file.display());
                confined.reaches(&file)
            };
            assert!(as_the_kernel_says("etc/more.toml"));
            assert!(!as_the_kernel_says("elsewhere/more.toml"));
            assert!(!as_the_kernel_says("etc/link.toml"));
            assert!(confined.reaches(&place.join("etc/not-yet.toml")));
        });
    }

    #[test]
    fn what_a_link_leads_to_may_appear_later() {
        let place = tempfile::tempdir().unwrap();
        let at = |path: &str| place.path().join(path);
        fs::create_dir_all(at("etc")).unwrap();
        fs::create_dir_all(at("run/dhcp")).unwrap();
        for (link, target) in [("a", "../run/dhcp/a"), ("b", "../run/absent/b"), ("c", "a")] {
            std::os::unix::fs::symlink(target, at("etc").join(link)).unwrap();
        }
        std::os::unix::fs::symlink("/absent/d", at("etc/d")).unwrap();
        let folders = |link: &str| {
            let folders = folders_of(&at("etc").join(link)).into_iter();
            folders.map(|folder| folder.canonicalize().unwrap()).collect::<BTreeSet<_>>()
        };
        let these =
            |all: &[&str]| all.iter().map(|path| at(path).canonicalize().unwrap()).collect();
        assert_eq!(folders("a"), these(&["etc", "run/dhcp"]));
        assert_eq!(folders("b"), these(&["etc", "run"]));
        assert_eq!(folders("c"), these(&["etc", "run/dhcp"]));
        assert_eq!(folders("d"), these(&["etc"]));
    }

    #[test]
    fn whatever_is_read_at_a_reload_is_in_reach_however_it_is_linked() {
        let place = setting("tcp://broker.example:1883");
        let etc = place.path().join("etc");
        fs::rename(etc.join("passerelle.toml"), place.path().join("elsewhere/real.toml")).unwrap();
        std::os::unix::fs::symlink("../elsewhere/real.toml", etc.join("passerelle.toml")).unwrap();
        let config = load_file(&etc.join("passerelle.toml")).unwrap();
        let folders = read(&config);
        let elsewhere = place.path().join("elsewhere").canonicalize().unwrap();
        for folder in [&etc, &elsewhere, Path::new("/etc")] {
            assert!(folders.contains(folder), "{} in {folders:?}", folder.display());
        }
        // The answer to a name may come over TCP.
        assert_eq!(ports(&config), [1883, DNS].into());
    }
}
