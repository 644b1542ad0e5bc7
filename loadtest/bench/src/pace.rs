//! When records are to be sent.
//!
//! An open loop's schedule does not know the server: record *i* is due at `start + i / rate`, however long earlier
//! ones took, and its latency counts from then. A server that stalls for a second is charged that second by every
//! record that was due meanwhile (no coordinated omission).

use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::time::Duration;

use rustix::time::{
    Itimerspec, TimerfdClockId, TimerfdFlags, TimerfdTimerFlags, Timespec, timerfd_create,
    timerfd_settime,
};
use tokio::net::unix::pipe;
use tokio::time::Instant;

/// A producer's schedule.
#[derive(Clone, Copy, Debug)]
pub struct Pace {
    start: Instant,
    /// Records a second; `None` for a closed loop.
    rate: Option<f64>,
}

impl Pace {
    /// A schedule of one of `producers` that together make `rate` records a second. Their starts are spread over one
    /// interval, so that they do not all send at the same moment.
    #[must_use]
    pub fn new(start: Instant, rate: Option<f64>, producer: u32, producers: u32) -> Self {
        let rate = rate.map(|all| all / f64::from(producers.max(1)));
        let share = f64::from(producer) / f64::from(producers.max(1));
        let delay = rate.map_or(0.0, |r| share / r);
        Self {
            start: start + Duration::from_secs_f64(delay),
            rate,
        }
    }

    /// When record `index` is due; `None` in a closed loop, where it is due when there is room for it.
    #[must_use]
    pub fn due(&self, index: u64) -> Option<Instant> {
        let rate = self.rate?;
        #[expect(clippy::cast_precision_loss, reason = "exact below 2^53 records")]
        let after = index as f64 / rate;
        Some(self.start + Duration::from_secs_f64(after))
    }
}

/// Wakes at a moment, to the system's precision. The runtime's own timers go by whole milliseconds, which is more than an
/// ack takes: a schedule kept by them would measure them.
#[derive(Debug)]
pub struct Alarm {
    timer: OwnedFd,
    /// The same one, which reads like a pipe.
    rung: pipe::Receiver,
}

impl Alarm {
    /// A timer of the system; must be called inside a runtime.
    ///
    /// # Errors
    /// When the system gives none.
    pub fn new() -> io::Result<Self> {
        let flags = TimerfdFlags::NONBLOCK | TimerfdFlags::CLOEXEC;
        let timer = timerfd_create(TimerfdClockId::Monotonic, flags)?;
        let rung = pipe::Receiver::from_owned_fd_unchecked(timer.try_clone()?)?;
        Ok(Self { timer, rung })
    }

    /// Waits until `due`, seen from `now`. May be given up and asked again.
    ///
    /// # Errors
    /// What the system said.
    pub async fn until(&self, due: Instant, now: Instant) -> io::Result<()> {
        let left = due.saturating_duration_since(now);
        let once = Itimerspec {
            it_interval: Timespec::default(),
            // All zeros would disarm it.
            it_value: Timespec::try_from(left.max(Duration::from_nanos(1)))
                .map_err(io::Error::other)?,
        };
        timerfd_settime(self.timer.as_fd(), TimerfdTimerFlags::empty(), &once)?;
        loop {
            self.rung.readable().await?;
            match self.rung.try_read(&mut [0; 8]) {
                Err(e) if e.kind() == io::ErrorKind::WouldBlock => {}
                other => return other.map(drop),
            }
        }
    }
}

/// Waits until `due`: by `alarm` where there is one, else to the millisecond.
pub async fn sleep_until(alarm: Option<&Alarm>, due: Instant, now: Instant) {
    if let Some(alarm) = alarm
        && alarm.until(due, now).await.is_ok()
    {
        return;
    }
    tokio::time::sleep_until(due).await;
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn the_schedule_goes_on_whatever_the_server_does() {
        let start = tidemark_runtime::Clock::system().now();
        let pace = Pace::new(start, Some(1000.0), 0, 2);
        tokio::time::sleep(Duration::from_secs(5)).await;
        assert_eq!(pace.due(0), Some(start));
        assert_eq!(pace.due(1500), Some(start + Duration::from_secs(3)));
    }

    #[tokio::test(start_paused = true)]
    async fn producers_of_one_rate_take_turns() {
        let start = tidemark_runtime::Clock::system().now();
        let second = Pace::new(start, Some(1000.0), 1, 2);
        assert_eq!(second.due(0), Some(start + Duration::from_millis(1)));
        assert_eq!(Pace::new(start, None, 1, 2).due(7), None);
    }

    #[tokio::test]
    async fn an_alarm_that_was_given_up_rings_at_its_next_time_only() {
        let clock = tidemark_runtime::Clock::system();
        let alarm = Alarm::new().unwrap();
        let start = clock.now();
        let soon = start + Duration::from_millis(1);
        tokio::select! {
            biased;
            () = async { alarm.until(start + Duration::from_secs(3600), start).await.unwrap() } => panic!("too early"),
            () = tokio::time::sleep_until(soon) => {}
        }
        // It has rung, unheard.
        let armed = alarm.until(soon, start);
        tokio::select! {
            biased;
            _ = armed => {}
            () = std::future::ready(()) => {}
        }
        let now = clock.now();
        let due = now + Duration::from_millis(2);
        alarm.until(due, now).await.unwrap();
        assert!(clock.now() >= due);
    }
}
