//! The gateway ends or is killed, its disk is full, its clock jumps.

use super::peers::Missing;
use super::world::{Account, Setting, World};
use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::Command;
use tempfile::TempDir;

/// It ends (SIGTERM), and is started again.
pub async fn ended(setting: Setting, times: u32) -> Result<Account, Missing> {
    let mut world = World::start(&setting).await?;
    for _ in 0..times {
        world.some_more().await?;
        world.end_gateway().await?;
    }
    world.some_more().await?;
    world.end().await
}

/// It is killed, and started again; now and then while the broker has stopped.
pub async fn killed(setting: Setting, times: u32) -> Result<Account, Missing> {
    let mut world = World::start(&setting).await?;
    for time in 0..times {
        world.some_more().await?;
        let alone = time % 3 == 2;
        if alone {
            world.broker.freeze()?;
            world.some_more_from_legacy().await?;
        }
        world.kill_gateway().await?;
        if alone {
            world.broker.thaw()?;
        }
    }
    world.some_more().await?;
    world.end().await
}

/// Its disk is full while the broker is away, and has room again.
pub async fn disk_full(setting: Setting, times: u32) -> Result<Option<Account>, Missing> {
    let Some(disk) = Disk::new()? else { return Ok(None) };
    let store = format!("[store]\ndir = \"{}\"\n", disk.path().display());
    let tables = format!("{store}[limits]\noutbox = \"8 KiB\"\n");
    let mut world = World::start(&Setting { tables, ..setting }).await?;
    for _ in 0..times {
        world.tap.shut().await?;
        world.some_more_from_legacy().await?;
        let filler = disk.fill()?;
        world.more_from_legacy(600).await?;
        fs::remove_file(filler).map_err(|e| Missing::new(e.to_string()))?;
        world.some_more_from_legacy().await?;
        world.tap.open()?;
        world.some_more().await?;
    }
    if !world.gateway.log().contains("the store takes nothing") {
        return Err(Missing::new("the disk was never full"));
    }
    world.end().await.map(Some)
}

/// What the gateway logs when it has loaded its configuration anew.
const RELOADED: &str = "\"reloaded\"";

/// Its clock jumps by a day, to and fro.
pub async fn clock(setting: Setting, times: u32) -> Result<Option<Account>, Missing> {
    let Some(clock) = Clock::new(&setting.program)? else { return Ok(None) };
    // Its clock is a file, which it could not read.
    let (program, key) = (clock.program(), "confine = false");
    let mut world = World::start(&Setting { program, key, ..setting }).await?;
    for time in 0..times {
        world.some_more().await?;
        clock.step(["+1d", "+0", "-1d", "+0"].get(usize::try_from(time).unwrap_or(0) % 4))?;
        // So that its log has this day.
        world.gateway.reload()?;
        world.gateway.logged(RELOADED, usize::try_from(time).unwrap_or(0) + 1).await?;
    }
    world.some_more().await?;
    let told = world.gateway.log();
    let day =
        told.lines().filter_map(|line| line.get(22..24)).collect::<std::collections::BTreeSet<_>>();
    if day.len() < 3 {
        return Err(Missing::new(format!("the clock did not jump: {day:?}")));
    }
    world.end().await.map(Some)
}

/// A small disk of its own, if this machine lets us have one.
struct Disk(TempDir);

impl Disk {
    fn new() -> Result<Option<Self>, Missing> {
        let disk = Self(tempfile::tempdir().map_err(|e| Missing::new(e.to_string()))?);
        let mut mount = Command::new("mount");
        mount.args(["-t", "tmpfs", "-o", "size=256k", "tmpfs"]).arg(disk.path());
        Ok(mount.output().is_ok_and(|done| done.status.success()).then_some(disk))
    }

    fn path(&self) -> &Path {
        self.0.path()
    }

    /// Takes all the room that there is.
    fn fill(&self) -> Result<PathBuf, Missing> {
        use std::io::Write as _;
        let path = self.path().join("filler");
        let mut file = fs::File::create(&path).map_err(|e| Missing::new(e.to_string()))?;
        while file.write_all(&[0; 512]).is_ok() {}
        Ok(path)
    }
}

impl Drop for Disk {
    fn drop(&mut self) {
        // A directory that stays is the machine's to clear.
        let _ = Command::new("umount").arg("-l").arg(self.path()).status();
    }
}

/// The wall clock of one program, which `libfaketime` shows it; its other clocks are the machine's.
struct Clock(TempDir);

/// Where Debian's package `libfaketime` has it, for the kinds of machines.
const LIBRARIES: [&str; 2] = [
    "/usr/lib/x86_64-linux-gnu/faketime/libfaketimeMT.so.1",
    "/usr/lib/aarch64-linux-gnu/faketime/libfaketimeMT.so.1",
];

impl Clock {
    fn new(program: &Path) -> Result<Option<Self>, Missing> {
        let Some(library) = LIBRARIES.iter().find(|path| Path::new(path).exists()) else {
            return Ok(None);
        };
        let clock = Self(tempfile::tempdir().map_err(|e| Missing::new(e.to_string()))?);
        clock.step(Some(&"+0"))?;
        let text = format!(
            "#!/bin/sh
export LD_PRELOAD={library} FAKETIME_TIMESTAMP_FILE={} FAKETIME_NO_CACHE=1
export FAKETIME_DONT_FAKE_MONOTONIC=1
exec {} \"$@\"
",
            clock.0.path().join("offset").display(),
            program.display()
        );
        let path = clock.program();
        fs::write(&path, text)
            .and_then(|()| fs::set_permissions(&path, fs::Permissions::from_mode(0o755)))
            .map_err(|e| Missing::new(e.to_string()))?;
        Ok(Some(clock))
    }

    /// The gateway, with this clock.
    fn program(&self) -> PathBuf {
        self.0.path().join("passerelle")
    }

    /// From now on it is so much later than it is.
    fn step(&self, offset: Option<&&str>) -> Result<(), Missing> {
        let (new, path) = (self.0.path().join("new"), self.0.path().join("offset"));
        fs::write(&new, offset.copied().unwrap_or("+0"))
            .and_then(|()| fs::rename(new, path))
            .map_err(|e| Missing::new(e.to_string()))
    }
}
