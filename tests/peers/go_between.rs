//! Somebody between the broker and its clients, who passes everything on, and can say to a client what no
//! honest broker would.

use super::Missing;
use super::raw_mqtt::{packet, read_packet};
use bytes::Bytes;
use std::collections::HashMap;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use tokio::io::AsyncWriteExt as _;
use tokio::net::{UnixListener, UnixStream};
use tokio::sync::mpsc;
use tokio::task::JoinHandle;

type Clients = Arc<Mutex<HashMap<String, mpsc::Sender<Bytes>>>>;

/// Listens until it is dropped.
pub struct GoBetween {
    clients: Clients,
    task: JoinHandle<()>,
}

impl GoBetween {
    /// Listens on `path`, for the broker on `broker`.
    pub fn start(path: &Path, broker: PathBuf) -> Result<Self, Missing> {
        let listener = UnixListener::bind(path);
        let listener = listener.map_err(|e| Missing::new(format!("{}: {e}", path.display())))?;
        let clients = Clients::default();
        let known = Arc::clone(&clients);
        let task = tokio::spawn(async move {
            while let Ok((client, _)) = listener.accept().await {
                tokio::spawn(serve(client, broker.clone(), Arc::clone(&known)));
            }
        });
        Ok(Self { clients, task })
    }

    /// Says this to the client of this id, between two packets of the broker's. All of it has been handed
    /// over when this returns, or the client has hung up.
    pub async fn say(&self, id: &str, bytes: Bytes) -> Result<(), Missing> {
        let client = self.clients.lock().unwrap_or_else(PoisonError::into_inner).get(id).cloned();
        let client = client.ok_or_else(|| Missing::new(format!("{id} has not connected")))?;
        // Who has hung up hears no more.
        let _ = client.send(bytes).await;
        Ok(())
    }
}

impl Drop for GoBetween {
    fn drop(&mut self) {
        self.task.abort();
    }
}

async fn serve(mut client: UnixStream, broker: PathBuf, known: Clients) -> io::Result<()> {
    let (first, connect) = read_packet(&mut client).await?;
    // After the protocol's name, its level, the flags, the keep-alive and the properties (MQTT 5, 3.1).
    let properties = 11 + usize::from(connect[10]);
    let id = connect.get(properties + 2..).unwrap_or_default();
    let id = id.get(..usize::from(connect[properties + 1])).unwrap_or_default();
    let id = String::from_utf8_lossy(id).into_owned();
    let mut broker = UnixStream::connect(broker).await?;
    broker.write_all(&packet(first, &connect)).await?;
    let (mut from_client, mut to_client) = client.into_split();
    let (mut from_broker, mut to_broker) = broker.into_split();
    let (say, mut said) = mpsc::channel::<Bytes>(1);
    known.lock().unwrap_or_else(PoisonError::into_inner).insert(id, say.clone());
    let pass = async {
        loop {
            let (first, body) = read_packet(&mut from_broker).await?;
            if say.send(packet(first, &body).into()).await.is_err() {
                return io::Result::Ok(());
            }
        }
    };
    let write = async {
        while let Some(bytes) = said.recv().await {
            to_client.write_all(&bytes).await?;
        }
        io::Result::Ok(())
    };
    tokio::select! {
        end = pass => end,
        end = write => end,
        end = tokio::io::copy(&mut from_client, &mut to_broker) => end.map(drop),
    }
}
