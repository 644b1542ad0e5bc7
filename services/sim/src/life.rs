//! Whether a process or a machine runs. Everything it does to the outside passes its gate.
//!
//! Tasks cannot be killed or frozen between two polls from outside, but a process acts only through its seams: metadata,
//! log nodes, disk. Behind a closed gate a call neither reaches the other side nor gets its answer, so a process
//! that is dead or paused is one whose calls stand still; what was on its way goes on when it is resumed.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use parking_lot::Mutex;
use tokio::sync::Notify;

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum State {
    Running,
    Paused,
    Dead,
}

/// A life. Clones share it. (No `watch` channel: it wakes many waiters in an order that no seed decides.)
#[derive(Clone, Debug)]
pub(crate) struct Life(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    state: Mutex<State>,
    changed: Notify,
    /// Steps until it dies, once that is planned.
    fuse: Mutex<Option<u64>>,
    steps: AtomicU64,
}

impl Life {
    pub(crate) fn new() -> Self {
        Self(Arc::new(Inner {
            state: Mutex::new(State::Running),
            changed: Notify::new(),
            fuse: Mutex::default(),
            steps: AtomicU64::new(0),
        }))
    }

    pub(crate) fn kill(&self) {
        *self.0.state.lock() = State::Dead;
        self.0.changed.notify_waiters();
    }

    /// It is to die at its next step but `steps`; `None`: it is not.
    pub(crate) fn set_fuse(&self, steps: Option<u64>) {
        *self.0.fuse.lock() = steps;
    }

    /// A moment right before or behind something durable that it does outside of itself.
    pub(crate) fn step(&self) {
        self.0.steps.fetch_add(1, Ordering::Relaxed);
        let mut fuse = self.0.fuse.lock();
        match *fuse {
            Some(0) => {
                *fuse = None;
                drop(fuse);
                self.kill();
            }
            Some(left) => *fuse = Some(left - 1),
            None => {}
        }
    }

    /// Steps so far.
    pub(crate) fn steps(&self) -> u64 {
        self.0.steps.load(Ordering::Relaxed)
    }

    pub(crate) fn pause(&self) {
        self.change(State::Running, State::Paused);
    }

    pub(crate) fn resume(&self) {
        self.change(State::Paused, State::Running);
    }

    fn change(&self, from: State, to: State) {
        let mut state = self.0.state.lock();
        if *state == from {
            *state = to;
            drop(state);
            self.0.changed.notify_waiters();
        }
    }

    fn state(&self) -> State {
        *self.0.state.lock()
    }

    pub(crate) fn is_dead(&self) -> bool {
        self.state() == State::Dead
    }

    pub(crate) fn is_running(&self) -> bool {
        self.state() == State::Running
    }

    pub(crate) fn is_same(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.0, &other.0)
    }

    async fn reaches(&self, wanted: State) {
        loop {
            let mut changed = std::pin::pin!(self.0.changed.notified());
            changed.as_mut().enable();
            if self.state() == wanted {
                return;
            }
            changed.await;
        }
    }

    /// Completes while it runs; never once it is dead.
    pub(crate) async fn gate(&self) {
        self.reaches(State::Running).await;
    }

    /// Completes when it is dead.
    pub(crate) async fn ended(&self) {
        self.reaches(State::Dead).await;
    }
}
