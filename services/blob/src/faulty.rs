//! A decorator that makes any engine fail as object stores do: seeded, so a run can be repeated.
//!
//! What it never breaks is the seam's contract: an answered put stays, a put that failed for certain never lands, a
//! get is never short. What it does break is what callers must bear: bytes that rotted on their way, and a 404 on an
//! object that was just written.

use std::collections::VecDeque;
use std::fmt;
use std::ops::Range;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use parking_lot::Mutex;
use tidemark_runtime::{Clock, Entropy};
use tokio::time::Instant;

use crate::{BlobError, BlobErrorKind, BlobInfo, BlobKey, BlobStore, List, Page, Put};

/// What can happen to a request.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Fault {
    /// Any: refused with 503 and a time to stay away.
    Throttled,
    /// Any: the connection breaks before the request is sent. Nothing happened.
    Refused,
    /// Any: no answer, ever. A put so hung did nothing.
    Hang,
    /// A get whose connection breaks in the middle of the body; a put likewise, which did nothing but cannot know.
    Reset,
    /// A get whose body is shorter than was promised.
    Truncated,
    /// A get that answers other bytes than were put, and does not notice.
    Rotten,
    /// A get or head that finds nothing, though the object is there.
    NotFound,
    /// A put that happened, answered by an error.
    LostReply,
    /// A put answered by an error that happens later all the same.
    Late,
}

impl Fault {
    const fn hits(self, op: Op) -> bool {
        match self {
            Self::Throttled | Self::Refused | Self::Hang => true,
            Self::Truncated | Self::Rotten => matches!(op, Op::Get),
            Self::Reset => matches!(op, Op::Get | Op::Put),
            Self::NotFound => matches!(op, Op::Get | Op::Head),
            Self::LostReply | Self::Late => matches!(op, Op::Put),
        }
    }
}

#[derive(Clone, Copy)]
enum Op {
    Put,
    Get,
    Head,
    Other,
}

/// How often things go wrong, in thousandths of the requests each can happen to.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
pub struct Faults {
    /// Of [`Fault::Throttled`].
    pub throttled: u16,
    /// Of [`Fault::Refused`].
    pub refused: u16,
    /// Of [`Fault::Hang`].
    pub hang: u16,
    /// Of [`Fault::Reset`].
    pub reset: u16,
    /// Of [`Fault::Truncated`].
    pub truncated: u16,
    /// Of [`Fault::Rotten`].
    pub rotten: u16,
    /// Of [`Fault::NotFound`].
    pub not_found: u16,
    /// Of [`Fault::LostReply`].
    pub lost_reply: u16,
    /// Of [`Fault::Late`].
    pub late: u16,
    /// A request waits up to this long before it is done, and again before it is answered.
    pub delay_max: Duration,
    /// A late put lands within this time.
    pub late_max: Duration,
}

impl Faults {
    /// A store on a bad day: of five requests one goes wrong, in every way there is.
    #[must_use]
    pub const fn stormy() -> Self {
        Self {
            throttled: 60,
            refused: 30,
            hang: 10,
            reset: 30,
            truncated: 20,
            rotten: 10,
            not_found: 10,
            lost_reply: 30,
            late: 30,
            delay_max: Duration::from_millis(50),
            late_max: Duration::from_secs(60),
        }
    }

    /// Every request is answered by 503.
    #[must_use]
    pub fn throttling() -> Self {
        Self {
            throttled: 1_000,
            ..Self::default()
        }
    }

    fn draw(&self, op: Op, entropy: &Entropy) -> Option<Fault> {
        let mut draw = entropy.below(1_000);
        for (share, fault) in [
            (self.throttled, Fault::Throttled),
            (self.refused, Fault::Refused),
            (self.hang, Fault::Hang),
            (self.reset, Fault::Reset),
            (self.truncated, Fault::Truncated),
            (self.rotten, Fault::Rotten),
            (self.not_found, Fault::NotFound),
            (self.lost_reply, Fault::LostReply),
            (self.late, Fault::Late),
        ] {
            if !fault.hits(op) {
                continue;
            }
            match draw.checked_sub(u64::from(share)) {
                None => return Some(fault),
                Some(left) => draw = left,
            }
        }
        None
    }
}

/// Why every request fails.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Outage {
    /// The store cannot be reached.
    Unreachable,
    /// The credentials were revoked.
    Revoked,
    /// The bucket is gone, with its objects for all one can tell.
    NoBucket,
    /// The store has no room: puts are refused, all else works.
    Full,
}

#[derive(Default)]
struct Weather {
    faults: Faults,
    /// For the next requests they can happen to, before any chance.
    planned: VecDeque<Fault>,
    outage: Option<(Outage, Option<Instant>)>,
    /// Puts that were answered by an error and will land.
    late: Vec<(Instant, Put)>,
}

/// A store that fails on purpose. Clones share the faults.
#[derive(Clone)]
pub struct Faulty {
    inner: Arc<dyn BlobStore>,
    clock: Clock,
    entropy: Entropy,
    weather: Arc<Mutex<Weather>>,
}

impl fmt::Debug for Faulty {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Faulty({:?})", self.inner)
    }
}

impl Faulty {
    /// Decorates `inner`; without faults until some are set.
    #[must_use]
    pub fn new(inner: Arc<dyn BlobStore>, clock: &Clock, entropy: &Entropy) -> Self {
        Self {
            inner,
            clock: clock.clone(),
            entropy: entropy.clone(),
            weather: Arc::default(),
        }
    }

    /// Sets how often things go wrong from now on.
    pub fn set_faults(&self, faults: Faults) {
        self.weather.lock().faults = faults;
    }

    /// Plans a fault for the next request it can happen to. Several are taken in their order.
    pub fn plan(&self, fault: Fault) {
        self.weather.lock().planned.push_back(fault);
    }

    /// From now on every request fails: for `time`, or until [`Faulty::heal`].
    pub fn begin_outage(&self, outage: Outage, time: Option<Duration>) {
        let until = time.map(|time| self.clock.now() + time);
        self.weather.lock().outage = Some((outage, until));
    }

    /// Ends faults and outages. Late puts still land.
    pub fn heal(&self) {
        let mut weather = self.weather.lock();
        weather.outage = None;
        weather.planned.clear();
        weather.faults = Faults::default();
    }

    /// Lands every late put now, whenever it was due. How many there were.
    pub async fn settle(&self) -> usize {
        self.land(None).await
    }

    /// Late puts that are due land before anybody looks: no one could tell the difference.
    async fn land(&self, until: Option<Instant>) -> usize {
        let due: Vec<_> = {
            let mut weather = self.weather.lock();
            weather
                .late
                .extract_if(.., |(due, _)| until.is_none_or(|now| *due <= now))
                .collect()
        };
        let landed = due.len();
        for (_, put) in due {
            // It may find its name taken by now: then it does not happen.
            let _ = self.inner.put(put).await;
        }
        landed
    }

    /// What happens to this request; its first wait included.
    async fn meet(&self, op: Op, what: &str) -> Result<Option<Fault>, BlobError> {
        self.delay().await;
        self.land(Some(self.clock.now())).await;
        let fault = self.choose(op, what)?;
        match fault {
            Some(Fault::Throttled) => {
                Err(
                    BlobError::new(BlobErrorKind::Throttled, what, "503 SlowDown")
                        .after(Some(Duration::from_millis(self.entropy.below(1_000)))),
                )
            }
            Some(Fault::Refused) => Err(BlobError::new(
                BlobErrorKind::Unavailable,
                what,
                "connection refused",
            )),
            Some(Fault::Hang) => std::future::pending().await,
            other => Ok(other),
        }
    }

    fn choose(&self, op: Op, what: &str) -> Result<Option<Fault>, BlobError> {
        let mut weather = self.weather.lock();
        if let Some((outage, until)) = weather.outage {
            if until.is_some_and(|until| self.clock.now() >= until) {
                weather.outage = None;
            } else if let Some(error) = outage.error(op, what) {
                return Err(error);
            }
        }
        let planned = weather.planned.iter().position(|fault| fault.hits(op));
        let planned = planned.and_then(|at| weather.planned.remove(at));
        Ok(planned.or_else(|| weather.faults.draw(op, &self.entropy)))
    }

    async fn delay(&self) {
        let max = self.weather.lock().faults.delay_max;
        if !max.is_zero() {
            let us = u64::try_from(max.as_micros()).unwrap_or(u64::MAX);
            self.clock
                .sleep(Duration::from_micros(self.entropy.below(us)))
                .await;
        }
    }

    fn rot(&self, bytes: &Bytes) -> Bytes {
        let mut rotten = bytes.to_vec();
        let at = usize::try_from(self.entropy.below(rotten.len() as u64)).unwrap_or_default();
        if let Some(byte) = rotten.get_mut(at) {
            *byte ^= 1 << self.entropy.below(8);
        }
        rotten.into()
    }
}

impl Outage {
    fn error(self, op: Op, what: &str) -> Option<BlobError> {
        let (kind, why) = match self {
            Self::Unreachable => (BlobErrorKind::Unavailable, "no route to host"),
            Self::Revoked => (BlobErrorKind::Unauthorized, "403 AccessDenied"),
            Self::NoBucket => (BlobErrorKind::NoBucket, "404 NoSuchBucket"),
            Self::Full if matches!(op, Op::Put) => (BlobErrorKind::Full, "507 no room"),
            Self::Full => return None,
        };
        Some(BlobError::new(kind, what, why))
    }
}

#[async_trait]
impl BlobStore for Faulty {
    async fn put(&self, put: Put) -> Result<(), BlobError> {
        let what = format!("put {}", put.key);
        let in_doubt =
            |why| Err(BlobError::new(BlobErrorKind::Unavailable, &what, why).unknown_outcome());
        match self.meet(Op::Put, &what).await? {
            Some(Fault::Reset) => in_doubt("connection reset"),
            Some(Fault::LostReply) => {
                self.inner.put(put).await?;
                in_doubt("500 InternalError")
            }
            Some(Fault::Late) => {
                let mut weather = self.weather.lock();
                let max = u64::try_from(weather.faults.late_max.as_micros()).unwrap_or(u64::MAX);
                let due = self.clock.now() + Duration::from_micros(self.entropy.below(max));
                weather.late.push((due, put));
                in_doubt("504 from a proxy")
            }
            _ => {
                self.inner.put(put).await?;
                self.delay().await;
                Ok(())
            }
        }
    }

    async fn get(&self, key: &BlobKey, range: Range<u64>) -> Result<Bytes, BlobError> {
        let what = format!("get {key}");
        let fault = self.meet(Op::Get, &what).await?;
        let bytes = self.inner.get(key, range).await?;
        self.delay().await;
        match fault {
            Some(Fault::Reset) => Err(BlobError::new(
                BlobErrorKind::Unavailable,
                what,
                "reset in the body",
            )),
            Some(Fault::Truncated) => Err(BlobError::new(
                BlobErrorKind::Corrupt,
                what,
                "the body ended early",
            )),
            Some(Fault::NotFound) => Err(BlobError::new(
                BlobErrorKind::NotFound,
                what,
                "404 NoSuchKey",
            )),
            Some(Fault::Rotten) => Ok(self.rot(&bytes)),
            _ => Ok(bytes),
        }
    }

    async fn head(&self, key: &BlobKey) -> Result<BlobInfo, BlobError> {
        let what = format!("head {key}");
        match self.meet(Op::Head, &what).await? {
            Some(Fault::NotFound) => Err(BlobError::new(
                BlobErrorKind::NotFound,
                what,
                "404 NoSuchKey",
            )),
            _ => self.inner.head(key).await,
        }
    }

    async fn delete(&self, key: &BlobKey) -> Result<(), BlobError> {
        self.meet(Op::Other, &format!("delete {key}")).await?;
        self.inner.delete(key).await?;
        self.delay().await;
        Ok(())
    }

    async fn list(&self, list: List) -> Result<Page, BlobError> {
        self.meet(Op::Other, &format!("list {:?}", list.prefix))
            .await?;
        self.inner.list(list).await
    }
}

#[cfg(test)]
mod tests;
