//! A decorator that makes any engine fail as engines do: seeded, so a run can be repeated.
//!
//! What it never breaks is the seam's contract. A commit that was answered stays; one that was refused does not
//! happen; one in doubt ([`MetaError::MaybeCommitted`]) happens or not, and if late, then before the next read of
//! a key that it wrote (J9).

mod late;
#[cfg(test)]
mod tests;
mod transaction;

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use tidemark_runtime::{Clock, Entropy};

use self::late::LateCommits;
use self::transaction::FaultyTransaction;
use crate::{MetaError, MetaStore, Transaction};

/// What can happen to a commit.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Fault {
    /// Refused with `Conflict`.
    Conflict,
    /// Refused with `Unavailable`.
    Unavailable,
    /// `MaybeCommitted`, and it was not.
    LostCommit,
    /// `MaybeCommitted`, and it was.
    LostReply,
    /// `MaybeCommitted`, and it lands after the answer: at some later time, at the latest when a key that it
    /// wrote is read. As with any engine it may then turn out to conflict.
    Late,
}

/// How often things go wrong, in thousandths of the commits (reads: `unavailable` only).
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
pub struct Faults {
    /// Of [`Fault::Conflict`].
    pub conflict: u16,
    /// Of [`Fault::Unavailable`], for reads too.
    pub unavailable: u16,
    /// Of [`Fault::LostCommit`].
    pub lost_commit: u16,
    /// Of [`Fault::LostReply`].
    pub lost_reply: u16,
    /// Of [`Fault::Late`].
    pub late: u16,
    /// A commit waits up to this long before it is applied, and again before it is answered.
    pub delay_max: Duration,
    /// A late commit lands within this time.
    pub late_max: Duration,
}

impl Faults {
    /// A store on a bad day: of seven commits one goes wrong, in every way there is.
    #[must_use]
    pub const fn stormy() -> Self {
        Self {
            conflict: 30,
            unavailable: 20,
            lost_commit: 30,
            lost_reply: 30,
            late: 30,
            delay_max: Duration::from_millis(5),
            late_max: Duration::from_secs(2),
        }
    }

    fn draw(&self, entropy: &Entropy) -> Option<Fault> {
        let mut draw = entropy.below(1_000);
        for (share, fault) in [
            (self.conflict, Fault::Conflict),
            (self.unavailable, Fault::Unavailable),
            (self.lost_commit, Fault::LostCommit),
            (self.lost_reply, Fault::LostReply),
            (self.late, Fault::Late),
        ] {
            match draw.checked_sub(u64::from(share)) {
                None => return Some(fault),
                Some(left) => draw = left,
            }
        }
        None
    }
}

/// How things stand.
#[derive(Default)]
struct Weather {
    faults: Faults,
    /// For the next commits with writes, before any chance.
    planned: std::collections::VecDeque<Fault>,
    outage: bool,
    /// Counts crashes: transactions from before the last are dead.
    crashes: u64,
}

struct Control {
    clock: Clock,
    entropy: Entropy,
    weather: Mutex<Weather>,
    late: LateCommits,
}

/// A store that fails on purpose. Clones share the faults.
#[derive(Clone)]
pub struct Faulty {
    inner: Arc<dyn MetaStore>,
    control: Arc<Control>,
}

impl fmt::Debug for Faulty {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Faulty({:?})", self.inner)
    }
}

impl Faulty {
    /// Decorates `inner`; without faults until some are set.
    #[must_use]
    pub fn new(inner: Arc<dyn MetaStore>, clock: &Clock, entropy: &Entropy) -> Self {
        let control = Control {
            clock: clock.clone(),
            entropy: entropy.clone(),
            weather: Mutex::default(),
            late: LateCommits::default(),
        };
        Self {
            inner,
            control: Arc::new(control),
        }
    }

    /// Sets how often things go wrong from now on.
    pub fn set_faults(&self, faults: Faults) {
        self.control.weather.lock().faults = faults;
    }

    /// Plans a fault for the next commit that writes and has none planned.
    pub fn plan(&self, fault: Fault) {
        self.control.weather.lock().planned.push_back(fault);
    }

    /// Begins or ends an outage: reads and commits answer `Unavailable`.
    pub fn set_outage(&self, outage: bool) {
        self.control.weather.lock().outage = outage;
    }

    /// Crashes the store and starts it again. What was answered is kept; a commit under way or late has happened
    /// or is lost, by chance. Transactions that began before answer `Unavailable`, their commits in doubt
    /// `MaybeCommitted`.
    pub async fn crash(&self) {
        self.control.weather.lock().crashes += 1;
        self.control.late.crash(&self.control.entropy).await;
    }

    /// Lands every late commit now.
    pub async fn settle(&self) {
        self.control.late.land(|_| true).await;
    }
}

impl MetaStore for Faulty {
    fn begin(&self) -> Box<dyn Transaction> {
        let control = self.control.clone();
        Box::new(FaultyTransaction::new(self.inner.begin(), control))
    }
}

impl Control {
    fn crashes(&self) -> u64 {
        self.weather.lock().crashes
    }

    /// Whether a call of a transaction that began after `crashes` reaches the store.
    fn reachable(&self, crashes: u64) -> Result<(), MetaError> {
        let weather = self.weather.lock();
        let refused = |why: &str| Err(MetaError::Unavailable(why.into()));
        if weather.crashes != crashes {
            return refused("it crashed");
        }
        if weather.outage {
            return refused("an outage");
        }
        Ok(())
    }

    /// The fault of a read, if any.
    fn read_fault(&self) -> Result<(), MetaError> {
        let share = u64::from(self.weather.lock().faults.unavailable);
        if share > 0 && self.entropy.below(1_000) < share {
            return Err(MetaError::Unavailable("a fault was injected".into()));
        }
        Ok(())
    }

    /// The fault of a commit with writes, if any.
    fn commit_fault(&self) -> Option<Fault> {
        let mut weather = self.weather.lock();
        let planned = weather.planned.pop_front();
        planned.or_else(|| weather.faults.draw(&self.entropy))
    }

    async fn delay(&self) {
        let longest = self.weather.lock().faults.delay_max;
        if !longest.is_zero() {
            self.clock.sleep(below(longest, &self.entropy)).await;
        }
    }
}

fn below(longest: Duration, entropy: &Entropy) -> Duration {
    let longest_us = u64::try_from(longest.as_micros()).unwrap_or(u64::MAX);
    Duration::from_micros(entropy.below(longest_us))
}
