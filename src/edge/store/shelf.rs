//! A log, unless the disk has it: whoever owns it waits for the disk for a while, and not for ever.

use super::log::StoreLog;
use std::io;
use std::time::Duration;
use tokio::sync::oneshot;
use tokio::task::{JoinHandle, spawn_blocking};
use tokio::time::timeout;

/// How long the disk may take for one thing.
const PATIENCE: Duration = Duration::from_secs(5);

/// A log and who has it.
#[derive(Debug)]
pub(in crate::edge) struct Shelf {
    /// Absent while the disk has it.
    log: Option<StoreLog>,
    /// What took too long. Gives the log, and how it ended.
    away: Option<JoinHandle<(StoreLog, io::Result<()>)>>,
    patience: Duration,
    /// What nobody needs any more, and what the broker has, since the log is away.
    over: Vec<u64>,
    landed: Vec<u64>,
}

impl Shelf {
    pub fn new(log: StoreLog) -> Self {
        let (over, landed) = (Vec::new(), Vec::new());
        Self { log: Some(log), away: None, patience: PATIENCE, over, landed }
    }

    /// The log, unless the disk has it.
    pub fn log(&mut self) -> Option<&mut StoreLog> {
        self.log.as_mut()
    }

    /// The same, to look at.
    pub fn here(&self) -> Option<&StoreLog> {
        self.log.as_ref()
    }

    /// The log, for good.
    pub fn take(&mut self) -> Option<StoreLog> {
        self.log.take()
    }

    /// Whether the disk has it.
    pub fn is_away(&self) -> bool {
        self.away.is_some()
    }

    /// Whether it is neither here nor away: something went wrong that nobody foresaw.
    pub fn is_lost(&self) -> bool {
        self.log.is_none() && self.away.is_none()
    }

    /// As [`StoreLog::over`], now or when the log is back.
    pub fn over(&mut self, n: u64) {
        match &mut self.log {
            Some(log) => log.over(n),
            None => self.over.push(n),
        }
    }

    /// As [`StoreLog::landed`], now or when the log is back.
    pub fn landed(&mut self, n: u64) {
        match &mut self.log {
            Some(log) => log.landed(n),
            None => self.landed.push(n),
        }
    }

    /// Does what waits for the disk.
    ///
    /// # Errors
    /// Those of the work. `TimedOut`: it takes too long; what it gives is lost, [`Shelf::back`] tells how
    /// it ends, and what it read comes again. `ResourceBusy`: something before it still takes too long.
    pub async fn work<T: Send + 'static>(
        &mut self,
        work: impl FnOnce(&mut StoreLog) -> io::Result<T> + Send + 'static,
    ) -> io::Result<T> {
        let Some(mut log) = self.log.take() else { return Err(io::ErrorKind::ResourceBusy.into()) };
        let (give, mut result) = oneshot::channel();
        let mut task = spawn_blocking(move || {
            let before = log.cursor;
            let late = match give.send(work(&mut log)) {
                Ok(()) => Ok(()),
                Err(late) => {
                    log.cursor = before;
                    late.map(drop)
                }
            };
            (log, late)
        });
        if let Ok(done) = timeout(self.patience, &mut task).await {
            self.log = Some(done.map_err(io::Error::other)?.0);
            return result.try_recv().map_err(io::Error::other)?;
        }
        // From here on it is late, unless it has ended in this moment.
        result.close();
        if let Ok(result) = result.try_recv() {
            self.log = Some(task.await.map_err(io::Error::other)?.0);
            return result;
        }
        self.away = Some(task);
        let why = format!("the disk has not answered in {:?}", self.patience);
        Err(io::Error::new(io::ErrorKind::TimedOut, why))
    }

    /// Waits until the disk has given the log back: how what took too long has ended. It may be cancelled.
    ///
    /// # Errors
    /// Those of the work, or it has panicked: then there is no log any more.
    pub async fn back(&mut self) -> io::Result<()> {
        let Some(task) = &mut self.away else { return std::future::pending().await };
        let done = task.await;
        self.away = None;
        let (mut log, late) = done.map_err(io::Error::other)?;
        self.landed.drain(..).for_each(|n| log.landed(n));
        self.over.drain(..).for_each(|n| log.over(n));
        self.log = Some(log);
        late
    }
}

#[cfg(test)]
mod tests {
    use super::super::budget::Budget;
    use super::*;
    use std::sync::mpsc;

    /// A disk that answers when it is told to.
    #[tokio::test]
    async fn a_disk_that_hangs_is_given_up_and_gives_the_log_back() {
        let folder = tempfile::tempdir().expect("a folder");
        let share = Budget::new(1024 * 1024).share();
        let (log, _) = StoreLog::open(&folder.path().join("log"), share, None).expect("a log");
        let mut shelf = Shelf::new(log);
        assert_eq!(shelf.work(|_| Ok(7)).await.expect("a disk"), 7);
        let (answer, answered) = mpsc::channel();
        shelf.patience = Duration::from_millis(1);
        let hangs = shelf.work(move |_| answered.recv().map_err(io::Error::other));
        let error = hangs.await.expect_err("it takes too long");
        assert_eq!(error.kind(), io::ErrorKind::TimedOut);
        let busy = shelf.work(|_| Ok(())).await.expect_err("it is away");
        assert_eq!(busy.kind(), io::ErrorKind::ResourceBusy);
        shelf.landed(1);
        shelf.over(2);
        answer.send(()).expect("it waits");
        shelf.back().await.expect("it ends well");
        assert!(!shelf.is_away() && shelf.log().is_some_and(|log| log.is_dirty()));
    }
}
