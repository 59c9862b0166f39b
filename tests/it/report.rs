//! The report, as it is made and as a browser shows it.

use crate::peers::{Broker, DEADLINE, Dom0, Gateway, MqttPeer, mqtt_peer::Message};
use crate::setting::{Outcome, passerelle, setting_with, until};
use flate2::read::ZlibDecoder;
use serde_json::{Value, json};
use std::fs;
use std::io::Read as _;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};
use tokio::process::Command;

/// A name that would be a program if the page took it for HTML, and turn the order of its letters.
const HOSTILE: &str = "<script>document.title='x'</script>\"'&\u{202e}";

/// A moment some days ago, to the hour.
fn days_ago(days: u64, hours: u64) -> String {
    let at = SystemTime::now() - Duration::from_secs((days * 24 + hours) * 3600);
    humantime::format_rfc3339_seconds(at).to_string()
}

/// A migration that has gone on for some weeks: what an earlier run of the gateway has heard.
fn remember(state: &Path) -> Outcome {
    let traffic = |day: u64| json!({"legacy": 5200 - day * 131 + day % 7 * 160, "mqtt": day * 173 + day % 5 * 90});
    let days = (0..28_u64).rev().map(|ago| (days_ago(ago, 0)[..10].to_owned(), traffic(28 - ago)));
    let hours = (0..24_u64)
        .rev()
        .map(|ago| (days_ago(0, ago)[..13].to_owned(), json!({"legacy": 60 + ago, "mqtt": 190})));
    let said = |kind: &str, name: &str, count: u64| json!({"type": kind, "name": name, "count": count, "last": days_ago(0, 2), "watched": 2_000_000});
    let seen = json!({
        "format": 1, "run": "earlier", "watching_since": days_ago(28, 0), "saved": days_ago(0, 0),
        "watched": 28 * 86_400, "monotonic": 0, "set_aside": null, "mqtt": ["vm-scan"],
        "domains": {
            "vm-gui": [said("commande", "liste_disques", 8211), said("commande", "liste_fichiers", 3120), said("commande", "lit_fichier", 512), said("notification", "erreur", 4)],
            "sys-usb": [said("reponse", "liste_disques", 8190)],
        },
        "traffic": {"days": days.collect::<serde_json::Map<_, _>>(), "hours": hours.collect::<serde_json::Map<_, _>>()},
    });
    fs::write(state.join("seen.json"), seen.to_string())?;
    let heard = |name: &str, to: &str, count: u64| {
        let line = json!({"type": "commande", "source": "vm-gui", "destination": to, "payload": {"commande": name, "arguments": {}}});
        json!({"type": "commande", "name": name, "to": to, "verdict": "refused", "row": null, "reason": "not_mapped", "detail": "",
            "count": count, "last": days_ago(1, 0), "example": line.to_string(), "whole": true})
    };
    let messages = [
        heard("scan_fichier", "vm-scan", 31),
        heard("version", "vm-admin", 4),
        heard(HOSTILE, "vm-admin", 1),
        heard("liste_disques", "sys-usb", 212),
    ];
    let book = json!({"version": 1, "since": days_ago(30, 0), "others": 0,
        "domains": {"vm-gui": {"messages": messages, "others": 0, "torn": 0, "unheard": 0, "discarded": 0}}});
    Ok(fs::write(state.join("coverage.json"), book.to_string())?)
}

/// A gateway with two legacy domains and one on MQTT, of which one says something that is refused.
async fn migration() -> Outcome<Dom0> {
    let mut dom0 = setting_with(Broker::start().await?, Gateway::with_control).await?;
    dom0.gateway.terminate()?;
    assert!(dom0.gateway.ended().await?.success());
    remember(&dom0.gateway.state_dir())?;
    dom0.gateway.run()?;
    Ok(dom0)
}

async fn page(dom0: &Dom0, file: &Path, more: &[&str]) -> Outcome<String> {
    let args = [&["-o", file.to_str().unwrap()], more].concat();
    let ended = passerelle(&dom0.gateway, "report", &args).await?;
    assert_eq!(ended.code, 0, "{ended}");
    Ok(fs::read_to_string(file)?)
}

/// The browser, if there is one.
fn browser() -> Option<PathBuf> {
    let folders = std::env::var_os("PATH").unwrap_or_default();
    let names = ["chromium", "chromium-browser", "google-chrome"];
    std::env::split_paths(&folders)
        .flat_map(|folder| names.map(|name| folder.join(name)))
        .find(|program| program.exists())
}

/// What a browser shows of a page: its size, its first pixel, and all of its bytes.
async fn screenshot(
    browser: &Path,
    page: &Path,
    dark: bool,
) -> Outcome<((u32, u32), [u8; 3], Vec<u8>)> {
    let name = if dark { "report-dark.png" } else { "report-light.png" };
    let picture = Path::new(env!("CARGO_TARGET_TMPDIR")).join(name);
    let profile = tempfile::tempdir()?;
    let mut program = Command::new(browser);
    program.args([
        "--headless=new",
        "--no-sandbox",
        "--disable-gpu",
        "--hide-scrollbars",
        "--window-size=1120,1480",
    ]);
    program.arg(format!("--user-data-dir={}", profile.path().display()));
    program.arg(format!("--blink-settings=preferredColorScheme={}", u8::from(!dark)));
    program
        .arg(format!("--screenshot={}", picture.display()))
        .arg(format!("file://{}", page.display()));
    let output = tokio::time::timeout(DEADLINE * 3, program.kill_on_drop(true).output()).await??;
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let png = fs::read(&picture)?;
    let number = |at: usize| u32::from_be_bytes(png[at..at + 4].try_into().unwrap());
    let (mut at, mut packed) = (8, Vec::new());
    while at < png.len() {
        let size = number(at) as usize;
        if &png[at + 4..at + 8] == b"IDAT" {
            packed.extend_from_slice(&png[at + 8..at + 8 + size]);
        }
        at += size + 12;
    }
    let mut pixels = Vec::new();
    ZlibDecoder::new(&*packed).read_to_end(&mut pixels)?;
    // Whatever a line's filter is, nothing is before the first pixel.
    Ok(((number(16), number(20)), [pixels[1], pixels[2], pixels[3]], pixels))
}

#[tokio::test]
async fn a_report_says_how_the_migration_stands_and_a_browser_shows_it() -> Outcome {
    let dom0 = migration().await?;
    let mut gui = dom0.legacy("vm-gui").await?;
    let _usb = dom0.legacy("sys-usb").await?;
    let console = dom0.console("vm-scan").await?;
    let mut scan = MqttPeer::connect(console.port(), "vm-scan", &[]).await?;
    scan.publish(Message::new("business/notification", "{}")).await?;
    for name in [HOSTILE, "version", "version"] {
        gui.ask("vm-admin", name, &json!({}));
    }
    gui.expect("a refusal", |line| line.tells("erreur")).await?;
    let counted = |ended: &crate::setting::Ended| {
        let status: Value = serde_json::from_str(&ended.out).unwrap_or_default();
        let domains = &status["domains"];
        domains["vm-scan"]["mqtt_published"] == 1
            && domains["vm-gui"]["counters"]["refused"]["not_mapped"] == 3
    };
    until(&dom0.gateway, "status", &["--json"], counted).await?;

    let folder = tempfile::tempdir()?;
    let file = folder.path().join("report.html");
    let text = page(&dom0, &file, &[]).await?;
    for part in [
        "Not yet: 2 domains still speak legacy",
        "<b>1 <small>of 3</small></b>",
        "vm-scan</td><td class=\"when\"><span class=\"pill moved\">MQTT",
        "<code>scan_fichier</code>",
        "&lt;script&gt;document.title='x'&lt;/script&gt;&quot;'&amp;\\u{202e}",
        "<code>not_mapped</code>",
        "5,",
    ] {
        assert!(text.contains(part), "{part:?} in {text}");
    }
    // It is one file: nothing is fetched, and nothing runs. What has a row by now is covered.
    for part in [
        "<script",
        "http://",
        "https://",
        "src=",
        "url(",
        "@import",
        "\u{202e}",
        "liste_disques</code><small>commande",
    ] {
        assert!(!text.contains(part), "{part:?} in {text}");
    }
    let french = page(&dom0, &folder.path().join("fr.html"), &["--lang", "fr"]).await?;
    for part in [
        "<html lang=\"fr\">",
        "Pas encore : 2 domaines parlent encore le protocole du MVP",
        "aucune ligne de la correspondance ne l'a",
    ] {
        assert!(french.contains(part), "{part:?} in {french}");
    }
    let soon = page(&dom0, &file, &["--quiet-for", "1s"]).await?;
    assert!(soon.contains("1s"), "{soon}");
    let text = page(&dom0, &file, &[]).await?;
    // For whoever wants to look at it.
    fs::write(Path::new(env!("CARGO_TARGET_TMPDIR")).join("report.html"), text)?;

    let Some(browser) = browser() else {
        eprintln!("skipped: no Chromium is here, and nobody looks at the report");
        return Ok(());
    };
    let (size, light, bright) = screenshot(&browser, &file, false).await?;
    let (_, dark, _) = screenshot(&browser, &file, true).await?;
    assert_eq!((size, light, dark), ((1120, 1480), [0xf6, 0xf7, 0xf7], [0x14, 0x18, 0x1a]));
    let lines = bright.chunks(bright.len() / 1480).collect::<std::collections::BTreeSet<_>>();
    assert!(lines.len() > 300, "{} different lines of 1480", lines.len());
    Ok(())
}
