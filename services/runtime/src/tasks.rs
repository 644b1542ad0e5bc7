//! Supervised tasks: named, drained at shutdown, a panic seen and passed on.

use std::collections::BTreeMap;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use futures_util::FutureExt;
use parking_lot::Mutex;
use tokio::sync::watch;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

/// A task that panicked.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("task {task} panicked: {message}")]
pub struct TaskFailure {
    /// The task's name.
    pub task: String,
    /// The panic's message.
    pub message: String,
}

/// Tasks that had not ended when the grace period was over.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("drain tasks: still running after {grace:?}: {}", held_by.join(", "))]
pub struct ShutdownError {
    /// The period waited for.
    pub grace: Duration,
    /// Names of the tasks.
    pub held_by: Vec<String>,
}

/// A task's body. In a box, since a future that is moved into another one has its size in it twice, and there are tens of
/// thousands of connections.
type Boxed = Pin<Box<dyn Future<Output = ()> + Send>>;

/// The tasks of a component. Clones share one set; the first panic in it cancels all of it.
#[derive(Clone)]
pub struct Tasks(Arc<Inner>);

struct Inner {
    tracker: TaskTracker,
    token: CancellationToken,
    running: Mutex<Running>,
    failure: watch::Sender<Option<TaskFailure>>,
    isolated_panics: AtomicU64,
}

#[derive(Default)]
struct Running {
    next: u64,
    names: BTreeMap<u64, String>,
}

impl std::fmt::Debug for Tasks {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Tasks")
    }
}

impl Default for Tasks {
    fn default() -> Self {
        Self::new()
    }
}

impl Tasks {
    /// An empty set.
    #[must_use]
    pub fn new() -> Self {
        Self(Arc::new(Inner {
            tracker: TaskTracker::new(),
            token: CancellationToken::new(),
            running: Mutex::default(),
            failure: watch::channel(None).0,
            isolated_panics: AtomicU64::new(0),
        }))
    }

    /// Starts a task. Its output is dropped; it should watch [`Tasks::stopping`].
    #[expect(clippy::disallowed_methods, reason = "this is the room for spawning")]
    pub fn spawn<F>(&self, name: impl Into<String>, task: F) -> JoinHandle<()>
    where
        F: Future<Output = ()> + Send + 'static,
    {
        tokio::spawn(
            self.0
                .tracker
                .track_future(self.clone().supervised(name.into(), Box::pin(task))),
        )
    }

    /// Starts a task that serves one peer: a panic in it is logged and counted, and ends nothing else.
    /// For tasks whose state nobody shares; all others poison what they owned, so use [`Tasks::spawn`].
    #[expect(clippy::disallowed_methods, reason = "this is the room for spawning")]
    pub fn spawn_isolated<F>(&self, name: impl Into<String>, task: F) -> JoinHandle<()>
    where
        F: Future<Output = ()> + Send + 'static,
    {
        tokio::spawn(
            self.0
                .tracker
                .track_future(self.clone().isolated(name.into(), Box::pin(task))),
        )
    }

    /// Panics of isolated tasks since the set was made.
    #[must_use]
    pub fn isolated_panics(&self) -> u64 {
        self.0.isolated_panics.load(Ordering::Relaxed)
    }

    /// Runs a blocking closure on a thread of the blocking pool and gives its result.
    ///
    /// # Panics
    /// When the closure panicked: the panic goes on here.
    #[expect(clippy::disallowed_methods, reason = "this is the room for spawning")]
    pub async fn spawn_blocking<T: Send + 'static>(f: impl FnOnce() -> T + Send + 'static) -> T {
        match tokio::task::spawn_blocking(f).await {
            Ok(value) => value,
            Err(error) => std::panic::resume_unwind(error.into_panic()),
        }
    }

    /// Starts a named OS thread (one per disk, say). A panic in it counts as a task's.
    ///
    /// # Errors
    /// When the operating system refuses a thread.
    pub fn spawn_thread(
        &self,
        name: impl Into<String>,
        body: impl FnOnce() + Send + 'static,
    ) -> std::io::Result<std::thread::JoinHandle<()>> {
        let name = name.into();
        let tasks = self.clone();
        let token = self.0.tracker.token();
        std::thread::Builder::new()
            .name(name.clone())
            .spawn(move || {
                let _tracked = token;
                let id = tasks.enter(&name);
                let outcome = std::panic::catch_unwind(std::panic::AssertUnwindSafe(body));
                tasks.leave(id, &name, outcome.err());
            })
    }

    /// Completes when the set is shutting down or one of its tasks panicked.
    pub async fn stopping(&self) {
        self.0.token.cancelled().await;
    }

    /// A token that is cancelled when the set stops; children of it can be handed on.
    #[must_use]
    pub fn token(&self) -> CancellationToken {
        self.0.token.clone()
    }

    /// The first panic, if any.
    #[must_use]
    pub fn failure(&self) -> Option<TaskFailure> {
        self.0.failure.borrow().clone()
    }

    /// Asks every task to stop and waits for them.
    ///
    /// # Errors
    /// Names the tasks that were still running after `grace`.
    pub async fn shutdown(&self, grace: Duration) -> Result<(), ShutdownError> {
        self.0.token.cancel();
        self.0.tracker.close();
        if tokio::time::timeout(grace, self.0.tracker.wait())
            .await
            .is_ok()
        {
            return Ok(());
        }
        let held_by = self.0.running.lock().names.values().cloned().collect();
        Err(ShutdownError { grace, held_by })
    }

    async fn supervised(self, name: String, task: Boxed) {
        let id = self.enter(&name);
        let outcome = std::panic::AssertUnwindSafe(task).catch_unwind().await;
        self.leave(id, &name, outcome.err());
    }

    async fn isolated(self, name: String, task: Boxed) {
        let id = self.enter(&name);
        let outcome = std::panic::AssertUnwindSafe(task).catch_unwind().await;
        self.0.running.lock().names.remove(&id);
        if let Err(panic) = outcome {
            self.0.isolated_panics.fetch_add(1, Ordering::Relaxed);
            tracing::error!(task = name, "task panicked alone: {}", message_of(&*panic));
        }
    }

    fn enter(&self, name: &str) -> u64 {
        let mut running = self.0.running.lock();
        let id = running.next;
        running.next += 1;
        running.names.insert(id, name.to_owned());
        id
    }

    fn leave(&self, id: u64, name: &str, panic: Option<Box<dyn std::any::Any + Send>>) {
        self.0.running.lock().names.remove(&id);
        let Some(panic) = panic else { return };
        let message = message_of(&*panic);
        tracing::error!(task = name, "task panicked: {message}");
        self.0.failure.send_if_modified(|first| {
            let is_first = first.is_none();
            if is_first {
                *first = Some(TaskFailure {
                    task: name.to_owned(),
                    message,
                });
            }
            is_first
        });
        self.0.token.cancel();
    }
}

fn message_of(panic: &(dyn std::any::Any + Send)) -> String {
    panic
        .downcast_ref::<&str>()
        .map(|s| (*s).to_owned())
        .or_else(|| panic.downcast_ref::<String>().cloned())
        .unwrap_or_else(|| "no message".to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_panic_is_named_and_stops_the_others() {
        let tasks = Tasks::new();
        let other = tasks.clone();
        tasks.spawn("other", async move { other.stopping().await });
        tasks.spawn("bad", async { panic!("boom") });
        tasks.stopping().await;
        assert_eq!(tasks.failure().unwrap().task, "bad");
        tasks.shutdown(Duration::from_secs(1)).await.unwrap();
    }

    #[tokio::test(start_paused = true)]
    async fn an_isolated_panic_ends_nothing_else() {
        let tasks = Tasks::new();
        let _ = tasks.spawn_isolated("peer", async { panic!("boom") }).await;
        assert_eq!(tasks.isolated_panics(), 1);
        assert_eq!(tasks.failure(), None);
        assert!(!tasks.token().is_cancelled());
        tasks.shutdown(Duration::from_secs(1)).await.unwrap();
    }

    #[tokio::test(start_paused = true)]
    async fn a_hung_drain_names_who_holds_it() {
        let tasks = Tasks::new();
        tasks.spawn("stuck", std::future::pending());
        let err = tasks.shutdown(Duration::from_secs(1)).await.unwrap_err();
        assert_eq!(err.held_by, ["stuck"]);
    }
}
