//! Makes the next segment beside the writer: reserving its space and syncing its name in it would stall every append.

use std::fmt;
use std::io;
use std::sync::Arc;
use std::sync::mpsc;
use std::thread::JoinHandle;

use parking_lot::Mutex;
use tidemark_runtime::Tasks;

use crate::disk::Disk;
use crate::segments::{Slot, prepare};

/// One segment to prepare.
#[derive(Debug)]
pub(crate) struct Job {
    pub(crate) name: String,
    pub(crate) bytes: u64,
    pub(crate) secret: u64,
}

/// At most one job at a time.
pub(crate) struct Preparer {
    disk: Arc<dyn Disk>,
    /// `None`: jobs run on the caller (simulation).
    worker: Option<mpsc::SyncSender<Job>>,
    thread: Option<JoinHandle<()>>,
    done: Arc<Mutex<Option<io::Result<Slot>>>>,
    busy: bool,
}

impl Preparer {
    /// With a thread of `tasks` for a disk that blocks; dropping the preparer waits for it.
    pub(crate) fn new(disk: &Arc<dyn Disk>, tasks: &Tasks) -> io::Result<Self> {
        let done: Arc<Mutex<_>> = Arc::default();
        let (mut worker, mut thread) = (None, None);
        if disk.blocks() {
            let (jobs, queue) = mpsc::sync_channel::<Job>(1);
            let (disk, done) = (disk.clone(), done.clone());
            thread = Some(tasks.spawn_thread("wal-prepare", move || {
                while let Ok(job) = queue.recv() {
                    let made = prepare(&*disk, &job.name, job.bytes, job.secret);
                    *done.lock() = Some(made);
                }
            })?);
            worker = Some(jobs);
        }
        Ok(Self {
            disk: disk.clone(),
            worker,
            thread,
            done,
            busy: false,
        })
    }

    pub(crate) fn is_free(&self) -> bool {
        !self.busy
    }

    pub(crate) fn start(&mut self, job: Job) {
        match &self.worker {
            Some(worker) => self.busy = worker.try_send(job).is_ok(),
            None => {
                let made = prepare(&*self.disk, &job.name, job.bytes, job.secret);
                *self.done.lock() = Some(made);
            }
        }
    }

    /// The finished job's result, once.
    pub(crate) fn take(&mut self) -> Option<io::Result<Slot>> {
        let done = self.done.lock().take();
        self.busy &= done.is_none();
        done
    }
}

impl Drop for Preparer {
    fn drop(&mut self) {
        self.worker = None;
        if let Some(thread) = self.thread.take() {
            // Its panic was seen and passed on by the task set.
            let _ = thread.join();
        }
    }
}

impl fmt::Debug for Preparer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Preparer")
    }
}
