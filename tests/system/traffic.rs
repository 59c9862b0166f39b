//! Legacy domains for a machine that has nothing else: `traffic SOCKET NAME` serves, as sys-usb does, and
//! `traffic SOCKET NAME COUNT` says COUNT events and asks sys-usb COUNT times for the files of a disk that is called
//! by the call's number, while gateways come and go. At the end it prints how each ended: a ledger. `traffic SOCKET` is
//! the MVP's program on Dom0: it connects as soon as it can, and stays as long as the gateway does.
//!
//! It needs nothing but the standard library, so that `rustc` alone builds it for any target.

use std::collections::BTreeSet;
use std::fs;
use std::io::{BufRead, BufReader, Error, ErrorKind, Write};
use std::os::unix::net::{UnixListener, UnixStream};
use std::sync::mpsc::{self, Receiver, RecvTimeoutError};
use std::thread;
use std::time::{Duration, Instant};

/// Between two messages, so that an upgrade comes in the middle.
const PACE: Duration = Duration::from_millis(5);
/// After the last message, what is under way has to end.
const END: Duration = Duration::from_secs(90);
/// Calls under way at once.
const OPEN: usize = 20;

fn main() -> Result<(), Error> {
    let mut args = std::env::args().skip(1);
    let usage = || Error::new(ErrorKind::InvalidInput, "usage: traffic SOCKET [NAME [COUNT]]");
    let socket = args.next().ok_or_else(usage)?;
    let Some(name) = args.next() else { return stay(&socket) };
    let count = args.next().map(|n| n.parse::<usize>().map_err(Error::other)).transpose()?;
    let _ = fs::remove_file(&socket);
    let listener = UnixListener::bind(&socket)?;
    match count {
        None => serve(&listener, &name),
        Some(count) => talk(listener, &name, count),
    }
}

fn stay(socket: &str) -> Result<(), Error> {
    let gateway = loop {
        match UnixStream::connect(socket) {
            Ok(gateway) => break gateway,
            Err(_) => thread::sleep(Duration::from_millis(100)),
        }
    };
    BufReader::new(gateway).lines().map_while(Result::ok).for_each(drop);
    Ok(())
}

/// What stands behind a key, as a text. The lines are this program's, or the gateway's: compact JSON.
fn member<'l>(line: &'l str, key: &str) -> Option<&'l str> {
    let (_, rest) = line.split_once(&format!("\"{key}\":\""))?;
    rest.split('"').next()
}

fn serve(listener: &UnixListener, name: &str) -> Result<(), Error> {
    loop {
        let (mut gateway, _) = listener.accept()?;
        for line in BufReader::new(gateway.try_clone()?).lines() {
            let Ok(line) = line else { break };
            let (Some("commande"), Some(asker)) = (member(&line, "type"), member(&line, "source"))
            else {
                continue;
            };
            let (command, data) = match member(&line, "commande") {
                Some("liste_disques") => ("liste_disques", r#"["KEY"]"#.to_owned()),
                Some(_) => {
                    let disk = member(&line, "nom_disque").unwrap_or_default();
                    ("liste_fichiers", format!(r#"{{"disk":"{disk}","files":[]}}"#))
                }
                None => continue,
            };
            let answer = format!(
                r#"{{"type":"reponse","source":"{name}","destination":"{asker}","payload":{{"commande":"{command}","data":{data}}}}}"#
            );
            if writeln!(gateway, "{answer}").is_err() {
                break;
            }
        }
    }
}

/// Whoever connects, one after the other; what they say goes to one place.
fn gateways(listener: UnixListener) -> (Receiver<UnixStream>, Receiver<String>) {
    let (connected, gateways) = mpsc::channel();
    let (said, hears) = mpsc::channel();
    thread::spawn(move || {
        for gateway in listener.incoming().map_while(Result::ok) {
            let Ok(reader) = gateway.try_clone() else { return };
            if connected.send(gateway).is_err() {
                return;
            }
            for line in BufReader::new(reader).lines().map_while(Result::ok) {
                let _ = said.send(line);
            }
        }
    });
    (gateways, hears)
}

/// How the calls ended.
#[derive(Default)]
struct Ledger {
    open: BTreeSet<usize>,
    answered: usize,
    told: usize,
    again: usize,
}

impl Ledger {
    fn hear(&mut self, line: &str) {
        let answer = line.contains(r#""reponse""#).then(|| member(line, "disk")).flatten();
        if let Some(call) = answer.and_then(|disk| disk.strip_prefix("disk-")?.parse().ok()) {
            match self.open.remove(&call) {
                true => self.answered += 1,
                false => self.again += 1,
            }
        } else if line.contains("has not answered") || line.contains("expired") {
            // It does not say which: they are told in the order in which they were made.
            self.told += usize::from(self.open.pop_first().is_some());
        }
    }
}

fn talk(listener: UnixListener, name: &str, count: usize) -> Result<(), Error> {
    let (gateways, hears) = gateways(listener);
    let mut ledger = Ledger::default();
    let mut gateway = gateways.recv().map_err(Error::other)?;
    for n in 1..=count {
        let event = format!(
            r#"{{"type":"notification","source":"{name}","destination":"tous","payload":{{"evenement":"erreur","data":{{"niveau":20,"module":"traffic","message":"event-{n}-"}}}}}}"#
        );
        let call = format!(
            r#"{{"type":"commande","source":"{name}","destination":"sys-usb","payload":{{"commande":"liste_fichiers","arguments":{{"nom_disque":"disk-{n}"}}}}}}"#
        );
        ledger.open.insert(n);
        let both = format!("{event}\n{call}\n");
        // A line that a gateway has not taken in whole goes to the next one.
        while gateway.write_all(both.as_bytes()).is_err() {
            gateway = gateways.recv().map_err(Error::other)?;
        }
        let pause = Instant::now() + PACE;
        loop {
            let more = pause.saturating_duration_since(Instant::now());
            match hears.recv_timeout(if ledger.open.len() > OPEN { END } else { more }) {
                Ok(line) => ledger.hear(&line),
                Err(RecvTimeoutError::Timeout) if ledger.open.len() <= OPEN => break,
                Err(error) => return Err(Error::other(error)),
            }
        }
        while let Ok(next) = gateways.try_recv() {
            gateway = next;
        }
    }
    let limit = Instant::now() + END;
    while !ledger.open.is_empty() {
        match hears.recv_timeout(limit.saturating_duration_since(Instant::now())) {
            Ok(line) => ledger.hear(&line),
            Err(_) => break,
        }
    }
    let Ledger { open, answered, told, again } = ledger;
    let lost = open.len();
    println!(
        "calls={count} answered={answered} told={told} again={again} lost={lost} events={count}"
    );
    // The socket stays, for what is still to be said to this domain.
    if lost == 0 { Ok(()) } else { Err(Error::other(format!("calls were lost: {open:?}"))) }
}
