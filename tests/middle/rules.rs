//! The rules of who is told what, and what the limits promise: one test for each thing that went wrong.

use crate::kit::{Play, command, gateway, name, request};
use std::time::Instant;

#[test]
fn a_message_of_very_many_members_takes_no_longer_for_each_of_them() {
    let members: Vec<_> = (0..200_000).map(|i| format!("\"m{i}\":{i}")).collect();
    let arguments = format!("{{{}}}", members.join(","));
    let mut play = Play::new(&["vm-gui"]);
    let begun = Instant::now();
    let effects = play.line(&command("vm-gui", "sys-usb", "liste_disques", &arguments));
    // Without a scan of all of them for each of them, this is a second or two in a debug build.
    assert!(begun.elapsed().as_secs() < 30, "{:?}", begun.elapsed());
    assert!(effects[0].contains("\"m199999\":199999"));
}
