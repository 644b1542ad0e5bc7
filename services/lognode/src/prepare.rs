//! Preparing the next segment beside the writer: zero-writing 64 MiB in it would stall every append.
//!
//! Zeros are written at a bounded rate, and no longer than the writer can wait. So a slow log, whose latency is its
//! syncs', gets written blocks; a fast one, which syncs megabytes at a time, does not pay for every byte twice.

use std::fmt;
use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc;
use std::thread::JoinHandle;
use std::time::Duration;

use parking_lot::Mutex;
use tidemark_runtime::Tasks;

use crate::disk::Disk;
use crate::segments::{Slot, ZERO_BYTES, prepare};

/// Zeros per second at the most, bytes: half a segment of 64 MiB in one second.
const ZERO_BYTES_PER_S: usize = 32 << 20;
/// Before each write of zeros.
const ZERO_PAUSE: Duration =
    Duration::from_micros((ZERO_BYTES as u64 * 1_000_000) / ZERO_BYTES_PER_S as u64);

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
    /// `None`: jobs run on the caller, without zero-writing (simulation).
    worker: Option<mpsc::SyncSender<Job>>,
    thread: Option<JoinHandle<()>>,
    done: Arc<Mutex<Option<io::Result<Slot>>>>,
    busy: bool,
    /// The writer waits: finish without more zeros.
    hurry: Arc<AtomicBool>,
}

impl Preparer {
    /// With a thread of `tasks` for a disk that blocks; dropping the preparer waits for it.
    pub(crate) fn new(disk: &Arc<dyn Disk>, tasks: &Tasks) -> io::Result<Self> {
        let done: Arc<Mutex<_>> = Arc::default();
        let hurry: Arc<AtomicBool> = Arc::default();
        let (mut worker, mut thread) = (None, None);
        if disk.blocks() {
            let (jobs, queue) = mpsc::sync_channel::<Job>(1);
            let (disk, done, hurry) = (disk.clone(), done.clone(), hurry.clone());
            thread = Some(tasks.spawn_thread("wal-prepare", move || {
                while let Ok(job) = queue.recv() {
                    let go_on = || pause(&hurry);
                    let made = prepare(&*disk, &job.name, job.bytes, job.secret, go_on);
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
            hurry,
        })
    }

    pub(crate) fn is_free(&self) -> bool {
        !self.busy
    }

    pub(crate) fn start(&mut self, job: Job) {
        self.hurry.store(false, Ordering::Relaxed);
        match &self.worker {
            Some(worker) => self.busy = worker.try_send(job).is_ok(),
            None => {
                let made = prepare(&*self.disk, &job.name, job.bytes, job.secret, || false);
                *self.done.lock() = Some(made);
            }
        }
    }

    /// Has the job finish soon.
    pub(crate) fn hurry(&self) {
        self.hurry.store(true, Ordering::Relaxed);
    }

    /// The finished job's result, once.
    pub(crate) fn take(&mut self) -> Option<io::Result<Slot>> {
        let done = self.done.lock().take();
        self.busy &= done.is_none();
        done
    }
}

/// Waits for the next write of zeros; `false`: there is no time for it.
#[expect(
    clippy::disallowed_methods,
    reason = "paces a thread that only a real disk has, and nothing waits for it"
)]
fn pause(hurry: &AtomicBool) -> bool {
    if hurry.load(Ordering::Relaxed) {
        return false;
    }
    std::thread::sleep(ZERO_PAUSE);
    true
}

impl Drop for Preparer {
    fn drop(&mut self) {
        self.hurry();
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
