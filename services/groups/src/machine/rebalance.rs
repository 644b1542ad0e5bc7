//! From one generation to the next, and everything that time brings about.

use std::collections::BTreeMap;
use std::time::Duration;

use super::{At, Machine, MustStore, Timer};
use crate::GroupError;
use crate::api::GroupState;

/// A client may ask for no time at all; a rebalance that everybody misses must still not spin.
const REBALANCE_MIN: Duration = Duration::from_secs(1);

impl Machine {
    /// When [`Machine::tick`] has something to do, unless a call comes first.
    pub(crate) fn next_deadline(&self) -> Option<Duration> {
        let timer = self.timer.map(Timer::at);
        let members = self.members.values().map(|m| m.deadline);
        members
            .chain(self.pending.values().copied())
            .chain(timer)
            .min()
    }

    /// Does what is due.
    pub(crate) fn tick(&mut self, at: At) {
        self.expire_members(at);
        let pending = self.pending.len();
        self.pending.retain(|_, lapses| *lapses > at.now);
        if self.pending.len() < pending {
            self.complete_if_all_joined(at);
        }
        match self.timer {
            Some(timer) if timer.at() <= at.now => {
                self.timer = None;
                self.timer_fired(timer, at);
            }
            _ => {}
        }
    }

    fn expire_members(&mut self, at: At) {
        let due = |m: &super::Member| m.deadline <= at.now;
        let (waiting, silent): (Vec<_>, Vec<_>) = self
            .members
            .iter()
            .filter(|(_, m)| due(m))
            .map(|(id, m)| (id.clone(), m.is_waiting()))
            .partition(|(_, waits)| *waits);
        for (id, _) in waiting {
            self.hear_from(&id, at);
        }
        for (id, _) in silent {
            tracing::info!(member = id, "member expires");
            self.remove(&id, &GroupError::UnknownMemberId);
            self.rebalance_or_complete(at, "a member expired");
        }
    }

    fn timer_fired(&mut self, timer: Timer, at: At) {
        match timer {
            Timer::Gather { left, .. } if self.gathered_more && !left.is_zero() => {
                self.gathered_more = false;
                let delay = self.config.initial_rebalance_delay.min(left);
                self.timer = Some(Timer::Gather {
                    at: at.now + delay,
                    left: left - delay,
                });
            }
            Timer::Gather { .. } | Timer::Join { .. } => self.complete_join(at),
            Timer::Sync { .. } => {
                let late = self.members.iter().filter(|(_, m)| !m.synced);
                let late: Vec<_> = late.map(|(id, _)| id.clone()).collect();
                for id in &late {
                    tracing::info!(member = id, "member did not sync in time");
                    self.remove(id, &GroupError::UnknownMemberId);
                }
                if !late.is_empty() {
                    self.prepare_rebalance(at, "members did not sync in time");
                }
            }
        }
    }

    /// After the set of members or one of them changed.
    pub(super) fn rebalance_or_complete(&mut self, at: At, reason: &str) {
        match self.state {
            GroupState::PreparingRebalance => self.complete_if_all_joined(at),
            GroupState::Dead => {}
            _ => self.prepare_rebalance(at, reason),
        }
    }

    fn prepare_rebalance(&mut self, at: At, reason: &str) {
        tracing::debug!(generation = self.generation, reason, "group rebalances");
        self.cancel_syncs(at);
        let timeout = self.rebalance_timeout();
        let gathers = self.state == GroupState::Empty;
        self.timer = Some(if gathers {
            let delay = self.config.initial_rebalance_delay.min(timeout);
            self.gathered_more = false;
            Timer::Gather {
                at: at.now + delay,
                left: timeout - delay,
            }
        } else {
            Timer::Join {
                at: at.now + timeout,
            }
        });
        self.enter(GroupState::PreparingRebalance, at);
        self.complete_if_all_joined(at);
    }

    /// Members that wait for the assignment of a generation that will not get one must rejoin.
    fn cancel_syncs(&mut self, at: At) {
        let waiting: Vec<_> = self
            .members
            .values_mut()
            .filter_map(|m| {
                let ticket = m.sync.take()?;
                m.deadline = at.now + m.session_timeout;
                Some(ticket)
            })
            .collect();
        for ticket in waiting {
            self.reply_sync(ticket, Err(GroupError::RebalanceInProgress));
        }
    }

    pub(super) fn complete_if_all_joined(&mut self, at: At) {
        let gathers = matches!(self.timer, Some(Timer::Gather { .. }));
        let all = self.pending.is_empty() && self.members.values().all(|m| m.join.is_some());
        let nobody = self.members.is_empty() && self.pending.is_empty();
        if self.state == GroupState::PreparingRebalance && (all && !gathers || nobody) {
            self.complete_join(at);
        }
    }

    /// The next generation begins with whoever joined, and with static members that did not: their place is
    /// kept until their session ends (KIP-345).
    fn complete_join(&mut self, at: At) {
        self.timer = None;
        let gone = self
            .members
            .iter()
            .filter(|(_, m)| m.join.is_none() && m.instance.is_none());
        let gone: Vec<_> = gone.map(|(id, _)| id.clone()).collect();
        for id in gone {
            tracing::info!(member = id, "member did not rejoin in time");
            self.remove(&id, &GroupError::UnknownMemberId);
        }
        if !self.members.is_empty() && !self.elect_leader() {
            // Static members only, and none is back: they have the same time again.
            self.timer = Some(Timer::Join {
                at: at.now + self.rebalance_timeout(),
            });
            return;
        }
        self.generation = self.generation.max(self.announced).saturating_add(1);
        self.announced = self.generation;
        self.protocol = self.select_protocol();
        if self.members.is_empty() {
            self.leader = None;
            self.enter(GroupState::Empty, at);
            self.must_store(MustStore::Members);
            return;
        }
        self.enter(GroupState::CompletingRebalance, at);
        self.timer = Some(Timer::Sync {
            at: at.now + self.rebalance_timeout(),
        });
        self.must_store(MustStore::Announcement);
        self.answer_joins(at);
    }

    fn answer_joins(&mut self, at: At) {
        let mut answers = Vec::new();
        for (id, member) in &mut self.members {
            member.new = false;
            member.synced = false;
            member.deadline = at.now + member.session_timeout;
            if let Some(ticket) = member.join.take() {
                answers.push((ticket, id.clone()));
            }
        }
        for (ticket, id) in answers {
            let joined = self.joined(&id, self.leader.as_deref() == Some(&id));
            self.reply_join(ticket, Ok(joined));
        }
    }

    /// Keeps the leader if it joined, else takes the first that did. `false`: nobody joined.
    fn elect_leader(&mut self) -> bool {
        let joined = |id: &String| self.members.get(id).is_some_and(|m| m.join.is_some());
        if self.leader.as_ref().is_some_and(joined) {
            return true;
        }
        let mut members = self.members.iter();
        match members.find(|(_, m)| m.join.is_some()) {
            Some((id, _)) => {
                self.leader = Some(id.clone());
                true
            }
            None => false,
        }
    }

    /// Of the protocols every member knows, the one that most members like best; the first by name of equals.
    pub(super) fn select_protocol(&self) -> Option<String> {
        let common = |name: &str| self.members.values().all(|m| m.supports(name));
        let first = self.members.values().next()?;
        let candidates: Vec<_> = first
            .protocols
            .iter()
            .map(|p| p.name.as_str())
            .filter(|name| common(name))
            .collect();
        let mut votes = BTreeMap::<&str, usize>::new();
        for member in self.members.values() {
            let mut likes = member.protocols.iter().map(|p| p.name.as_str());
            if let Some(best) = likes.find(|name| candidates.contains(name)) {
                *votes.entry(best).or_default() += 1;
            }
        }
        let most = votes.values().copied().max()?;
        votes
            .into_iter()
            .find(|(_, n)| *n == most)
            .map(|(name, _)| name.to_owned())
    }

    fn rebalance_timeout(&self) -> Duration {
        let timeouts = self.members.values().map(|m| m.rebalance_timeout);
        timeouts.max().unwrap_or_default().max(REBALANCE_MIN)
    }
}

impl Timer {
    pub(super) const fn at(self) -> Duration {
        match self {
            Self::Gather { at, .. } | Self::Join { at } | Self::Sync { at } => at,
        }
    }
}
