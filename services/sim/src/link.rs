//! The way from one process to one log node: ordered, slow, sometimes cut. A paused or dead process sends nothing.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use futures_util::future::BoxFuture;
use parking_lot::Mutex;
use tidemark_journal::{
    Append, Appended, DiskUse, ExtentInfo, Fence, Fenced, Frame, OpenExtent, Probe, Probed,
    ReadFrames, Release, Replica, ReplicaError,
};
use tidemark_runtime::{Clock, Entropy, Tasks};
use tidemark_types::NodeId;
use tokio::sync::{mpsc, oneshot};

use crate::life::Life;
use crate::tap::Tap;

/// How a link behaves.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub(crate) struct Weather {
    /// Each way takes up to this long.
    pub(crate) delay_max: Duration,
    /// Of 1000 requests, how many are lost before they arrive; as many replies are lost.
    pub(crate) lost: u64,
    /// Nothing gets through.
    pub(crate) cut: bool,
    /// Each way takes so much longer.
    pub(crate) lag: Duration,
}

impl Weather {
    /// The same ways without losses.
    pub(crate) const fn calm(self) -> Self {
        Self {
            delay_max: self.delay_max,
            lost: 0,
            cut: false,
            lag: Duration::ZERO,
        }
    }
}

type Answer = Result<Appended, ReplicaError>;
type Asked = (Append, oneshot::Sender<Answer>);

/// See the module's documentation. Clones are the same link.
#[derive(Clone, Debug)]
pub(crate) struct Link(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    to: Arc<Tap>,
    life: Life,
    clock: Clock,
    entropy: Entropy,
    weather: Mutex<Weather>,
    appends: mpsc::UnboundedSender<Asked>,
}

impl Link {
    pub(crate) fn new(
        to: &Arc<Tap>,
        life: &Life,
        (clock, entropy): (&Clock, &Entropy),
        weather: Weather,
        tasks: &Tasks,
    ) -> Self {
        let (appends, queue) = mpsc::unbounded_channel();
        let link = Self(Arc::new(Inner {
            to: Arc::clone(to),
            life: life.clone(),
            clock: clock.clone(),
            entropy: entropy.clone(),
            weather: Mutex::new(weather),
            appends,
        }));
        let (sent, answers) = mpsc::unbounded_channel();
        tasks.spawn("link there", link.clone().forward(queue, sent));
        tasks.spawn("link back", link.clone().back(answers));
        link
    }

    pub(crate) fn heal(&self) {
        let mut weather = self.0.weather.lock();
        *weather = weather.calm();
    }

    pub(crate) fn set_cut(&self, cut: bool) {
        self.0.weather.lock().cut = cut;
    }

    pub(crate) fn set_lag(&self, lag: Duration) {
        self.0.weather.lock().lag = lag;
    }

    async fn delay(&self) {
        let Weather { delay_max, lag, .. } = *self.0.weather.lock();
        let us = u64::try_from(delay_max.as_micros()).unwrap_or(u64::MAX);
        let wait = lag + Duration::from_micros(self.0.entropy.below(us));
        if !wait.is_zero() {
            self.0.clock.sleep(wait).await;
        }
    }

    fn loses(&self) -> bool {
        let weather = *self.0.weather.lock();
        weather.cut || (weather.lost > 0 && self.0.entropy.below(1_000) < weather.lost)
    }

    fn lost(&self) -> ReplicaError {
        ReplicaError::Unreachable(format!("the way to log node {} is cut", self.0.to.node()))
    }

    /// Delivers appends in the order they were sent.
    async fn forward(
        self,
        mut queue: mpsc::UnboundedReceiver<Asked>,
        sent: mpsc::UnboundedSender<(BoxFuture<'static, Answer>, oneshot::Sender<Answer>)>,
    ) {
        while let Some((request, reply)) = queue.recv().await {
            self.delay().await;
            self.0.life.gate().await;
            if self.loses() {
                let _ = reply.send(Err(self.lost()));
                continue;
            }
            let _ = sent.send((self.0.to.append(request), reply));
        }
    }

    async fn back(
        self,
        mut answers: mpsc::UnboundedReceiver<(BoxFuture<'static, Answer>, oneshot::Sender<Answer>)>,
    ) {
        while let Some((answer, reply)) = answers.recv().await {
            let answer = answer.await;
            self.delay().await;
            self.0.life.gate().await;
            let answer = if self.loses() {
                Err(self.lost())
            } else {
                answer
            };
            let _ = reply.send(answer);
        }
    }

    async fn call<T>(
        &self,
        request: impl Future<Output = Result<T, ReplicaError>> + Send,
    ) -> Result<T, ReplicaError> {
        self.delay().await;
        self.0.life.gate().await;
        if self.loses() {
            return Err(self.lost());
        }
        let answer = request.await;
        self.delay().await;
        self.0.life.gate().await;
        if self.loses() {
            return Err(self.lost());
        }
        answer
    }
}

#[async_trait]
impl Replica for Link {
    fn node(&self) -> NodeId {
        self.0.to.node()
    }

    async fn open(&self, request: OpenExtent) -> Result<(), ReplicaError> {
        self.call(self.0.to.open(request)).await
    }

    fn append(&self, request: Append) -> BoxFuture<'static, Answer> {
        let (reply, answer) = oneshot::channel();
        let _ = self.0.appends.send((request, reply));
        let lost = self.lost();
        Box::pin(async move { answer.await.unwrap_or(Err(lost)) })
    }

    async fn fence(&self, request: Fence) -> Result<Fenced, ReplicaError> {
        self.call(self.0.to.fence(request)).await
    }

    async fn probe(&self, request: Probe) -> Result<Probed, ReplicaError> {
        self.call(self.0.to.probe(request)).await
    }

    async fn read(&self, request: ReadFrames) -> Result<Vec<Frame>, ReplicaError> {
        self.call(self.0.to.read(request)).await
    }

    async fn release(&self, request: Release) -> Result<(), ReplicaError> {
        self.0.life.step();
        let answer = self.call(self.0.to.release(request)).await;
        self.0.life.step();
        answer
    }

    fn disk_use(&self) -> Option<DiskUse> {
        self.0.to.disk_use()
    }

    async fn extents(&self) -> Result<Vec<ExtentInfo>, ReplicaError> {
        self.call(self.0.to.extents()).await
    }
}
