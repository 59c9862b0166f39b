//! What is recorded where everyone has a password.

use super::setting::{Outcome, setting_with_control};
use crate::peers::{Dialect, Disks, MqttServer, secret_of};
use crate::recording::{Recorder, replay};
use serde_json::json;

#[tokio::test]
async fn no_password_is_in_a_recording_and_the_same_comes_of_it() -> Outcome {
    let mut setting = setting_with_control().await?;
    let mut gui = setting.legacy("vm-gui").await?;
    let console = setting.console("sys-usb").await?;
    let recorder = Recorder::start(&setting.gateway, "recording").await?;
    // Its CONNECT is given the channel's password.
    let disks = Disks::new()?;
    let _usb = MqttServer::start(console.port(), "sys-usb", Dialect::Psec, disks).await?;
    gui.call("sys-usb", "liste_disques", &json!({}), "liste_disques").await?;
    let file = recorder.ended(&mut setting.gateway).await?;
    let text = std::fs::read_to_string(&file)?;
    for user in ["sys-usb", "vm-gui", "passerelle"] {
        assert!(!text.contains(&secret_of(user)), "{user}");
    }
    let replayed = replay(&file, &[]).await?;
    assert_eq!(replayed.code, 0, "{replayed}");
    Ok(())
}
