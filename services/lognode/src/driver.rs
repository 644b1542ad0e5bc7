//! Feeds the writer: a bounded queue, and a thread (real disks) or a task (simulated ones) that empties it.
//!
//! # Group commit
//! There is no artificial delay: what queued while the last group was synced forms the next.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use parking_lot::{Condvar, Mutex};
use tidemark_journal::ReplicaError;
use tidemark_runtime::{Clock, ask_for_slices};
use tokio::sync::{Notify, watch};

use crate::request::Request;
use crate::wal::Wal;

/// The writer computes for microseconds between two waits for the disk, and every ack waits for it.
const SLICE: Duration = Duration::from_micros(100);
/// A mark that the full disk refused is tried again after this many times the usual wait.
const MARK_PATIENCE: u32 = 10;

/// Requests that wait for the writer, bounded in bytes and count.
#[derive(Debug)]
pub(crate) struct Queue {
    inner: Mutex<Inner>,
    thread: Condvar,
    task: Notify,
    bytes_max: usize,
    requests_max: usize,
    take_bytes: usize,
}

#[derive(Debug, Default)]
struct Inner {
    requests: VecDeque<Request>,
    bytes: usize,
    closed: bool,
}

/// What the writer finds.
#[derive(Debug)]
enum Next {
    Requests(VecDeque<Request>),
    Nothing,
    Closed,
}

impl Queue {
    pub(crate) fn new(bytes_max: usize, requests_max: usize, take_bytes: usize) -> Self {
        Self {
            inner: Mutex::default(),
            thread: Condvar::new(),
            task: Notify::new(),
            bytes_max,
            requests_max,
            take_bytes,
        }
    }

    /// Puts a request at the end, or refuses it: closed, or over the bound.
    pub(crate) fn push(&self, request: Request) {
        let bytes = request.size().1;
        let mut inner = self.inner.lock();
        let full = inner.requests.len() >= self.requests_max
            || (inner.bytes + bytes > self.bytes_max && !inner.requests.is_empty());
        if inner.closed || full {
            let closed = inner.closed;
            drop(inner);
            let why = if closed {
                "it has stopped"
            } else {
                "its queue is full"
            };
            request.refuse(ReplicaError::Unreachable(why.to_owned()));
            return;
        }
        inner.bytes += bytes;
        inner.requests.push_back(request);
        drop(inner);
        self.thread.notify_one();
        self.task.notify_one();
    }

    /// Lets the writer finish what is queued and stop.
    pub(crate) fn close(&self) {
        self.inner.lock().closed = true;
        self.thread.notify_one();
        self.task.notify_one();
    }

    /// Requests and bytes that wait.
    pub(crate) fn depth(&self) -> (usize, usize) {
        let inner = self.inner.lock();
        (inner.requests.len(), inner.bytes)
    }

    fn next(&self) -> Next {
        self.inner.lock().next(self.take_bytes)
    }

    /// Waits for requests; gives up after `patience`.
    fn wait(&self, patience: Option<Duration>) -> Next {
        let mut inner = self.inner.lock();
        loop {
            match inner.next(self.take_bytes) {
                Next::Nothing => {}
                other => return other,
            }
            match patience {
                None => self.thread.wait(&mut inner),
                Some(patience) => {
                    if self.thread.wait_for(&mut inner, patience).timed_out() {
                        return inner.next(self.take_bytes);
                    }
                }
            }
        }
    }

    fn refuse_rest(&self) {
        let rest = {
            let mut inner = self.inner.lock();
            inner.closed = true;
            inner.bytes = 0;
            std::mem::take(&mut inner.requests)
        };
        for request in rest {
            request.refuse(ReplicaError::Unreachable("it has stopped".to_owned()));
        }
    }
}

impl Inner {
    fn next(&mut self, take_bytes: usize) -> Next {
        if self.requests.is_empty() {
            return if self.closed {
                Next::Closed
            } else {
                Next::Nothing
            };
        }
        let mut taken = 0;
        let mut count = 0;
        for request in &self.requests {
            let bytes = request.size().1;
            if count > 0 && taken + bytes > take_bytes {
                break;
            }
            taken += bytes;
            count += 1;
        }
        self.bytes -= taken;
        Next::Requests(self.requests.drain(..count).collect())
    }
}

/// The writer with its queue. Dropped, also by a panic, it refuses what is left; then the disk is let go, and
/// last `gone` is, which tells: who waited for it may open the disk again.
pub(crate) struct Driver {
    pub(crate) wal: Wal,
    pub(crate) queue: Arc<Queue>,
    #[expect(dead_code, reason = "dropping it is the message")]
    pub(crate) gone: watch::Sender<()>,
}

impl Drop for Driver {
    fn drop(&mut self) {
        self.queue.refuse_rest();
    }
}

impl Driver {
    fn mark_idle(&self) -> Option<Duration> {
        let after = Duration::from_millis(self.wal.config.mark_idle_ms);
        let patience = if self.wal.mark_refused {
            MARK_PATIENCE
        } else {
            1
        };
        self.wal.active.unmarked.then_some(after * patience)
    }

    /// The body of the writer's thread.
    pub(crate) fn run_thread(mut self) {
        ask_for_slices(SLICE);
        loop {
            match self.queue.wait(self.mark_idle()) {
                Next::Requests(mut requests) => self.wal.serve(&mut requests),
                Next::Nothing => self.wal.idle(),
                Next::Closed => break,
            }
        }
        self.wal.idle();
    }

    /// The writer on a runtime, one group per poll.
    pub(crate) async fn run_task(mut self, clock: Clock) {
        loop {
            if self.queue.depth().0 > 0 {
                let stall = self.wal.disk.stall();
                if !stall.is_zero() {
                    clock.sleep(stall).await;
                }
            }
            match self.queue.next() {
                Next::Requests(mut requests) => {
                    self.wal.serve(&mut requests);
                    tokio::task::yield_now().await;
                }
                Next::Closed => break,
                Next::Nothing => match self.mark_idle() {
                    None => self.queue.task.notified().await,
                    Some(after) => tokio::select! {
                        biased;
                        () = self.queue.task.notified() => {}
                        () = clock.sleep(after) => self.wal.idle(),
                    },
                },
            }
        }
        self.wal.idle();
    }
}
