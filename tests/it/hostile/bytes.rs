//! What a legacy domain may write to its channel.

use super::{Scene, fence, told};
use crate::peers::ERROR;
use crate::peers::legacy::{command, envelope, notification, response};
use crate::setting::Outcome;
use bytes::Bytes;
use serde_json::json;

const MIB: usize = 1 << 20;

#[tokio::test]
async fn a_gibibyte_without_a_newline_is_one_line_too_long() -> Outcome {
    let mut scene = Scene::start().await?;
    let mut hostile = scene.legacy("vm-hostile").await?;
    // As a message begins, and as nothing does. The same MiB over and over is never held whole.
    let piece = Bytes::from(vec![b'x'; MIB]);
    for begins in [&b"{\"type\":\""[..], b""] {
        hostile.raw(begins);
        for _ in 0..4 {
            for _ in 0..256 {
                hostile.raw(piece.clone());
            }
            scene.others.go_on().await?;
        }
        hostile.line("");
    }
    fence_oneself(&mut hostile).await?;
    scene.end(&[("line_too_long", 2)]).await
}

/// What it wrote before has been taken in.
async fn fence_oneself(domain: &mut crate::peers::LegacyDomain) -> Outcome {
    domain.line(&notification(&domain.name, &domain.name, "test", &json!({"own": true})));
    domain.expect("its own line", |l| l.tells("test") && l.data()["own"] == true).await?;
    Ok(())
}

#[tokio::test]
async fn many_who_never_end_their_lines_share_the_memory() -> Outcome {
    let mut scene = Scene::start().await?;
    let piece = Bytes::from(vec![b'x'; MIB]);
    let mut all = Vec::new();
    for n in 0..5 {
        all.push(scene.legacy(&format!("vm-hostile-{n}")).await?);
    }
    // What the first have left behind must not be in the way of those who come after them.
    for _ in 0..3 {
        for hostile in &all {
            for _ in 0..15 {
                hostile.raw(piece.clone());
            }
        }
        scene.others.go_on().await?;
        for hostile in &mut all {
            hostile.line("");
            fence_oneself(hostile).await?;
        }
        eprintln!("peak: {} KiB", scene.dom0.gateway.peak_memory()? >> 10);
    }
    scene.others.go_on().await?;
    let peak = scene.dom0.gateway.peak_memory()?;
    assert!(peak < super::MOST, "{peak} bytes");
    Ok(())
}

#[tokio::test]
async fn a_line_that_is_over_leaves_nothing_behind() -> Outcome {
    let mut scene = Scene::start().await?;
    let piece = Bytes::from(vec![b'x'; MIB]);
    let mut all = Vec::new();
    for n in 0..8 {
        let mut hostile = scene.legacy(&format!("vm-hostile-{n}")).await?;
        for _ in 0..15 {
            hostile.raw(piece.clone());
        }
        hostile.line("");
        fence_oneself(&mut hostile).await?;
        scene.others.go_on().await?;
        all.push(hostile);
        eprintln!("now: {} KiB", scene.dom0.gateway.memory()? >> 10);
    }
    scene.end(&[("not_json", 8)]).await
}

#[tokio::test]
async fn a_large_message_leaves_nothing_behind_in_its_session() -> Outcome {
    let mut scene = Scene::start().await?;
    let message = "x".repeat(12 * MIB);
    let mut all = Vec::new();
    for n in 0..8 {
        let domain = scene.legacy(&format!("vm-large-{n}")).await?;
        domain.line(&notification(
            &domain.name,
            "vm-far",
            "erreur",
            &json!({"niveau": 40, "module": "m", "message": message}),
        ));
        let notice = scene.reader.inbox.next("the large one").await?;
        assert!(notice.payload.len() > message.len());
        scene.others.go_on().await?;
        all.push(domain);
        eprintln!("now: {} KiB", scene.dom0.gateway.memory()? >> 10);
    }
    scene.end(&[]).await
}

const DEEP: usize = 100_000;

/// An array of arrays, and so on.
fn nest() -> String {
    "[".repeat(DEEP) + &"]".repeat(DEEP)
}

#[tokio::test]
async fn json_that_is_nested_very_deep_is_refused_and_brackets_in_a_text_are_not() -> Outcome {
    let mut scene = Scene::start().await?;
    let hostile = scene.legacy("vm-hostile").await?;
    let mut friend = scene.legacy("vm-friend").await?;
    let arguments = format!(r#"{{"commande":"liste_disques","arguments":{{"a":{}}}}}"#, nest());
    let data = format!(r#"{{"commande":"liste_disques","data":{}}}"#, nest());
    let event = format!(r#"{{"evenement":"test","data":{}}}"#, nest());
    let lines = [
        nest(),
        "[".repeat(DEEP),
        "{\"a\":".repeat(DEEP),
        "{\"a\":[".repeat(DEEP / 2) + "0" + &"]}".repeat(DEEP / 2),
        envelope("commande", "vm-hostile", "sys-usb", &arguments),
        envelope("commande", "vm-hostile", "vm-friend", &arguments),
        envelope("reponse", "vm-hostile", "vm-friend", &data),
        envelope("notification", "vm-hostile", "tous", &event),
    ];
    for line in &lines {
        hostile.line(line);
        scene.others.go_on().await?;
    }
    let flat = notification("vm-hostile", "vm-friend", "test", &json!("[{".repeat(DEEP)));
    hostile.line(&flat);
    fence(&hostile, &mut friend).await?;
    assert_eq!(friend.inbox.count(|line| line.text() == flat), 1);
    assert_eq!(friend.inbox.count(|_| true), 1);
    scene.end(&[("not_json", 8)]).await
}

#[tokio::test]
async fn a_key_that_stands_twice_is_refused_where_it_is_read() -> Outcome {
    let mut scene = Scene::start().await?;
    let mut hostile = scene.legacy("vm-hostile").await?;
    let to_mqtt = |payload: &str| envelope("commande", "vm-hostile", "sys-usb", payload);
    let unreadable = [
        r#"{"type":"commande","type":"commande","source":"vm-hostile","destination":"sys-usb","payload":{"commande":"liste_disques","arguments":{}}}"#.to_owned(),
        r#"{"type":"commande","source":"vm-other","source":"vm-hostile","destination":"sys-usb","payload":{"commande":"liste_disques","arguments":{}}}"#.to_owned(),
        r#"{"type":"commande","sourc\u0065":"vm-other","source":"vm-hostile","destination":"sys-usb","payload":{"commande":"liste_disques","arguments":{}}}"#.to_owned(),
        r#"{"type":"commande","source":"vm-hostile","destination":"sys-usb","payload":{},"payload":{"commande":"liste_disques","arguments":{}}}"#.to_owned(),
        to_mqtt(r#"{"commande":"liste_disques","commande":"supprime_fichier","arguments":{}}"#),
        to_mqtt(r#"{"commande":"liste_disques","arguments":{},"arguments":{"a":1}}"#),
    ];
    for line in &unreadable {
        hostile.line(line);
        scene.others.go_on().await?;
    }
    let many = vec![r#""nom_disque":"D""#; 100_000].join(",");
    for arguments in [r#""nom_disque":"D","nom\u005fdisque":"E""#, &many] {
        let payload = format!(r#"{{"commande":"liste_fichiers","arguments":{{{arguments}}}}}"#);
        hostile.line(&to_mqtt(&payload));
        told(&mut hostile, "bad_value").await?;
    }
    let event = r#"{"evenement":"erreur","data":{"niveau":40,"niveau":10,"message":"m"}}"#;
    hostile.line(&envelope("notification", "vm-hostile", "sys-usb", event));
    scene.end(&[("not_an_envelope", 6), ("bad_value", 3)]).await
}

#[tokio::test]
async fn a_number_of_very_many_digits_crosses_digit_by_digit() -> Outcome {
    let mut scene = Scene::start().await?;
    let hostile = scene.legacy("vm-hostile").await?;
    let mut friend = scene.legacy("vm-friend").await?;
    let digits = "1234567890".repeat(1000);
    for number in [digits.clone(), format!("-{digits}.{digits}"), format!("1e{digits}")] {
        let data =
            format!(r#"{{"evenement":"erreur","data":{{"niveau":{number},"message":"m"}}}}"#);
        let line = envelope("notification", "vm-hostile", "tous", &data);
        hostile.line(&line);
        let came = friend.inbox.next("the line").await?;
        assert!(came.bytes == line, "not word for word");
        let heard = scene.reader.expect("it on MQTT", |m| m.topic == ERROR).await?;
        assert!(heard.text().contains(&format!(r#""level":{number},"#)), "{heard:.200}");
        scene.others.go_on().await?;
    }
    scene.end(&[]).await
}

#[tokio::test]
async fn bytes_that_are_no_text_cost_the_line_that_they_are_in() -> Outcome {
    let mut scene = Scene::start().await?;
    let hostile = scene.legacy("vm-hostile").await?;
    let mut friend = scene.legacy("vm-friend").await?;
    let good = command("vm-hostile", "vm-friend", "zzz", &json!({}));
    fence(&hostile, &mut friend).await?;
    let with = |what: &[u8]| {
        let (before, after) = good.split_at(good.find("zzz").unwrap_or_default());
        [before.as_bytes(), what, after.as_bytes(), b"\n"].concat()
    };
    let bad: [&[u8]; 8] = [
        b"\xff",
        b"\xc3",
        b"\xc0\x80",
        b"\xed\xa0\x80",
        b"\xf5\x80\x80\x80",
        b"\0",
        b"\r",
        b"\x7f\x10\0",
    ];
    for bytes in bad {
        hostile.raw(with(bytes));
        scene.others.go_on().await?;
    }
    hostile.raw(&b"\0\n\xfe\xff\0{\n"[..]);
    // White space that JSON has passes as it is; a mark of the byte order costs itself alone.
    let spaced = good.replace(':', "\r:\t");
    hostile.raw(format!("{spaced}\r\n\u{feff}{good}\r\r\n"));
    let lines = [friend.inbox.next("a line").await?, friend.inbox.next("a line").await?];
    assert_eq!(lines.each_ref().map(|line| line.text()), [&*spaced, &*good]);

    // Before its first message a channel may be in the middle of anything.
    let noise = scene.legacy("vm-noise").await?;
    noise.raw(&b"\0\x01\xffnoise\r\n\0\n"[..]);
    noise.line(&response("vm-noise", "vm-friend", "zzz", &json!({})));
    friend.expect("the answer", |line| line.answers("zzz")).await?;
    scene.dom0.gateway.logged("skipped: no lines, and no MQTT domain=vm-noise", 1).await?;
    fence(&hostile, &mut friend).await?;
    assert_eq!(friend.inbox.count(|_| true), 0);
    scene.end(&[("not_json", 11)]).await
}

#[tokio::test]
async fn what_may_begin_mqtt_and_never_does_is_a_line_like_any_other() -> Outcome {
    let mut scene = Scene::start().await?;
    let mut hostile = scene.legacy("vm-hostile").await?;
    let begins = b"\x10\xff\xff\xff\x7f\0\x04MQTT".repeat(MIB / 11);
    hostile.raw(&b"{"[..]);
    for piece in [vec![0x10; MIB], begins] {
        hostile.raw(piece);
        scene.others.go_on().await?;
    }
    hostile.line("");
    fence_oneself(&mut hostile).await?;
    scene.end(&[("not_json", 1)]).await
}
