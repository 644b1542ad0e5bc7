//! A group as a state machine: no I/O, no clock, no randomness.
//!
//! Each call takes the time, changes the state and leaves a [`Step`]: replies to waiting members, and whether
//! the state must be stored before any of them may leave. If it cannot be stored the machine is thrown away
//! and made again from what is stored, so there is nothing to undo.
//!
//! ```text
//! Empty ──join──► PreparingRebalance ──all joined, or time──► CompletingRebalance ──leader's sync──► Stable
//!   ▲                  │        ▲                                     │                               │
//!   └──no member left──┘        └────────── join, leave, expiry ──────┴───────────────────────────────┘
//! ```
//!
//! The rules are those of Kafka's classic groups (KIP-345 static members, KIP-394 member ids, KIP-429
//! cooperative rebalancing, KIP-559, KIP-814), except that a generation's number is stored before it is told,
//! so that no number is ever given twice, and that a generation's members keep all their protocols when stored.

mod commit;
mod join;
mod member;
mod rebalance;
mod stored;
mod sync;

#[cfg(test)]
mod property_tests;

use std::collections::BTreeMap;
use std::time::Duration;

pub(crate) use member::Member;

use crate::api::*;
use crate::{GroupError, GroupsConfig};

/// A moment, on both clocks.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct At {
    /// Monotonic, since any fixed origin. Timeouts are measured on it.
    pub(crate) now: Duration,
    /// Wall time, ms. It is stored.
    pub(crate) wall_ms: i64,
}

/// Names a request that waits for its reply.
pub(crate) type Ticket = u64;

/// A reply to a request that waited.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) enum Reply {
    /// To a join.
    Joined(Ticket, Result<Joined, GroupError>),
    /// To a sync.
    Synced(Ticket, Result<Synced, GroupError>),
}

/// What must be stored before a step's replies may leave.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Default, Debug)]
pub(crate) enum MustStore {
    /// Nothing.
    #[default]
    Nothing,
    /// The announced generation.
    Announcement,
    /// Everything.
    Members,
}

/// What a call asks its caller to do: store, then reply.
#[derive(Clone, PartialEq, Eq, Default, Debug)]
#[must_use]
pub(crate) struct Step {
    pub(crate) store: MustStore,
    pub(crate) replies: Vec<Reply>,
}

/// The one timer of a group's state.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Timer {
    /// An empty group gathers its first members; it may be drawn out by `left` in all.
    Gather { at: Duration, left: Duration },
    /// Members have until then to rejoin.
    Join { at: Duration },
    /// Members have until then to sync.
    Sync { at: Duration },
}

/// A group.
#[derive(Debug)]
pub(crate) struct Machine {
    config: GroupsConfig,
    state: GroupState,
    since_ms: i64,
    generation: i32,
    announced: i32,
    protocol_type: Option<String>,
    protocol: Option<String>,
    leader: Option<String>,
    members: BTreeMap<String, Member>,
    /// Instance id → member id of static members.
    statics: BTreeMap<String, String>,
    /// Member ids given out (KIP-394), with when they lapse.
    pending: BTreeMap<String, Duration>,
    timer: Option<Timer>,
    /// A member came while the group was gathering.
    gathered_more: bool,
    step: Step,
}

impl Machine {
    /// A group that nobody has joined.
    pub(crate) fn new(config: GroupsConfig) -> Self {
        Self {
            config,
            state: GroupState::Empty,
            since_ms: 0,
            generation: 0,
            announced: 0,
            protocol_type: None,
            protocol: None,
            leader: None,
            members: BTreeMap::new(),
            statics: BTreeMap::new(),
            pending: BTreeMap::new(),
            timer: None,
            gathered_more: false,
            step: Step::default(),
        }
    }

    /// What the calls since the last one ask for.
    pub(crate) fn take_step(&mut self) -> Step {
        std::mem::take(&mut self.step)
    }

    /// Where the group is in its life.
    pub(crate) const fn state(&self) -> GroupState {
        self.state
    }

    /// When it reached its stored state, wall ms.
    pub(crate) const fn since_ms(&self) -> i64 {
        self.since_ms
    }

    /// Whether there is nothing to wait for: no members, no ids given out.
    pub(crate) fn is_idle(&self) -> bool {
        self.members.is_empty() && self.pending.is_empty() && self.timer.is_none()
    }

    /// `consumer`, …; empty for a group that only commits offsets.
    pub(crate) fn protocol_type(&self) -> &str {
        self.protocol_type.as_deref().unwrap_or_default()
    }

    /// The group as an administrator sees it.
    pub(crate) fn describe(&self) -> GroupDescription {
        let stable = self.state == GroupState::Stable;
        let protocol = self.protocol.as_deref().filter(|_| stable);
        let members = self.members.iter().map(|(id, m)| MemberDescription {
            member_id: id.clone(),
            instance_id: m.instance.clone(),
            client_id: m.client_id.clone(),
            client_host: m.client_host.clone(),
            metadata: protocol.map(|p| m.metadata(p)).unwrap_or_default(),
            assignment: if stable {
                m.assignment.clone()
            } else {
                bytes::Bytes::new()
            },
        });
        GroupDescription {
            state: self.state,
            protocol_type: self.protocol_type().to_owned(),
            protocol: protocol.unwrap_or_default().to_owned(),
            members: members.collect(),
        }
    }

    fn enter(&mut self, state: GroupState, at: At) {
        self.state = state;
        self.since_ms = at.wall_ms;
    }

    fn must_store(&mut self, what: MustStore) {
        self.step.store = self.step.store.max(what);
    }

    fn reply_join(&mut self, ticket: Ticket, reply: Result<Joined, GroupError>) {
        self.step.replies.push(Reply::Joined(ticket, reply));
    }

    fn reply_sync(&mut self, ticket: Ticket, reply: Result<Synced, GroupError>) {
        self.step.replies.push(Reply::Synced(ticket, reply));
    }

    /// Checks that a request comes from a member, and (KIP-345) from the newest of its instance id.
    fn check_member(&self, id: &str, instance: Option<&str>) -> Result<(), GroupError> {
        if let Some(instance) = instance {
            match self.statics.get(instance) {
                None => return Err(GroupError::UnknownMemberId),
                Some(holder) if holder != id => return Err(GroupError::FencedInstanceId),
                Some(_) => {}
            }
        }
        if self.members.contains_key(id) {
            Ok(())
        } else {
            Err(GroupError::UnknownMemberId)
        }
    }

    fn check_generation(&self, generation: i32) -> Result<(), GroupError> {
        if generation == self.generation {
            Ok(())
        } else {
            Err(GroupError::IllegalGeneration)
        }
    }

    /// Restarts a member's session.
    fn hear_from(&mut self, id: &str, at: At) {
        if let Some(member) = self.members.get_mut(id) {
            member.deadline = at.now + member.session_timeout;
        }
    }

    /// Takes a member out; requests of it that wait get `why`.
    fn remove(&mut self, id: &str, why: &GroupError) -> bool {
        let Some(mut member) = self.members.remove(id) else {
            return false;
        };
        if let Some(ticket) = member.join.take() {
            self.reply_join(ticket, Err(why.clone()));
        }
        if let Some(ticket) = member.sync.take() {
            self.reply_sync(ticket, Err(why.clone()));
        }
        if let Some(instance) = &member.instance {
            self.statics.remove(instance);
        }
        if self.leader.as_deref() == Some(id) {
            self.leader = self.members.keys().next().cloned();
        }
        true
    }
}
