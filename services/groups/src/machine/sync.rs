//! Handing out assignments, keeping sessions alive, leaving.

use tidemark_types::Coded;
use tidemark_types::limits::GROUP_STATE_BYTES_MAX;

use super::{At, Machine, MustStore, Ticket, Timer};
use crate::GroupError;
use crate::api::*;

impl Machine {
    /// A member asks for its assignment, the leader brings them. The reply comes in this step or a later one.
    pub(crate) fn sync(&mut self, at: At, ticket: Ticket, request: &SyncRequest) {
        if let Err(why) = self.check_sync(request) {
            self.reply_sync(ticket, Err(why));
            return;
        }
        let id = request.member_id.as_str();
        let leads = self.leader.as_deref() == Some(id);
        let stable = self.state == GroupState::Stable;
        if !stable && leads {
            if let Err(why) = self.assign(request) {
                self.reply_sync(ticket, Err(why));
                return;
            }
            self.enter(GroupState::Stable, at);
            self.must_store(MustStore::Members);
        }
        let member = self.members.get_mut(id).expect("checked above");
        member.synced = true;
        let older = member.sync.replace(ticket);
        if let Some(older) = older {
            self.reply_sync(older, Err(GroupError::RebalanceInProgress));
        }
        if self.state == GroupState::Stable {
            self.answer_syncs(at);
        }
        let all = self.members.values().all(|m| m.synced);
        if all && matches!(self.timer, Some(Timer::Sync { .. })) {
            self.timer = None;
        }
    }

    fn check_sync(&self, request: &SyncRequest) -> Result<(), GroupError> {
        self.check_member(&request.member_id, request.instance_id.as_deref())?;
        self.check_generation(request.generation)?;
        let differs = |asked: &Option<String>, is: &Option<String>| {
            asked.is_some() && asked.as_deref() != is.as_deref()
        };
        if differs(&request.protocol_type, &self.protocol_type)
            || (self.state != GroupState::PreparingRebalance
                && differs(&request.protocol, &self.protocol))
        {
            return Err(GroupError::InconsistentProtocol);
        }
        match self.state {
            GroupState::Empty | GroupState::Dead => Err(GroupError::UnknownMemberId),
            GroupState::PreparingRebalance => Err(GroupError::RebalanceInProgress),
            GroupState::CompletingRebalance | GroupState::Stable => Ok(()),
        }
    }

    /// Takes the leader's assignment: a member it does not name gets an empty one, a name that is no member's
    /// is passed over.
    fn assign(&mut self, request: &SyncRequest) -> Result<(), GroupError> {
        let brought: usize = request.assignments.iter().map(|(_, a)| a.len()).sum();
        let members = self.members.iter();
        let kept: usize = members
            .map(|(id, m)| m.stored_bytes(id) - m.assignment.len())
            .sum();
        if brought + kept > GROUP_STATE_BYTES_MAX {
            return Err(GroupError::OverLimit(format!(
                "its members and assignments would be over {GROUP_STATE_BYTES_MAX} bytes"
            )));
        }
        for member in self.members.values_mut() {
            member.assignment = bytes::Bytes::new();
        }
        for (id, assignment) in &request.assignments {
            if let Some(member) = self.members.get_mut(id) {
                member.assignment = assignment.clone();
            }
        }
        Ok(())
    }

    fn answer_syncs(&mut self, at: At) {
        let protocol_type = self.protocol_type().to_owned();
        let protocol = self.protocol.clone().unwrap_or_default();
        let mut answers = Vec::new();
        for member in self.members.values_mut() {
            if let Some(ticket) = member.sync.take() {
                member.deadline = at.now + member.session_timeout;
                answers.push((ticket, member.assignment.clone()));
            }
        }
        for (ticket, assignment) in answers {
            let synced = Synced {
                protocol_type: protocol_type.clone(),
                protocol: protocol.clone(),
                assignment,
            };
            self.reply_sync(ticket, Ok(synced));
        }
    }

    /// A member says that it lives.
    pub(crate) fn heartbeat(
        &mut self,
        at: At,
        request: &HeartbeatRequest,
    ) -> Result<(), GroupError> {
        self.check_member(&request.member_id, request.instance_id.as_deref())?;
        self.check_generation(request.generation)?;
        self.hear_from(&request.member_id, at);
        match self.state {
            GroupState::Empty | GroupState::Dead => Err(GroupError::UnknownMemberId),
            GroupState::PreparingRebalance => Err(GroupError::RebalanceInProgress),
            GroupState::CompletingRebalance | GroupState::Stable => Ok(()),
        }
    }

    /// Members leave, or an administrator removes static ones.
    pub(crate) fn leave(&mut self, at: At, leaving: Vec<Leaving>) -> Vec<Left> {
        let (mut changed, mut lapsed) = (false, false);
        let mut left = Vec::with_capacity(leaving.len());
        for one in leaving {
            let outcome = if self.pending.remove(&one.member_id).is_some() {
                lapsed = true;
                Ok(())
            } else {
                let outcome = self.leave_one(&one);
                changed |= outcome.is_ok();
                outcome
            };
            left.push(Left {
                member_id: one.member_id,
                instance_id: one.instance_id,
                error: outcome.err().map(|e| e.code()),
            });
        }
        if changed {
            self.rebalance_or_complete(at, "members left");
        } else if lapsed {
            self.complete_if_all_joined(at);
        }
        left
    }

    fn leave_one(&mut self, one: &Leaving) -> Result<(), GroupError> {
        let id = match &one.instance_id {
            // An administrator knows static members by their instance only.
            Some(instance) if one.member_id.is_empty() => self
                .statics
                .get(instance)
                .cloned()
                .ok_or(GroupError::UnknownMemberId)?,
            instance => {
                self.check_member(&one.member_id, instance.as_deref())?;
                one.member_id.clone()
            }
        };
        tracing::debug!(member = id, reason = one.reason.as_deref(), "member leaves");
        self.remove(&id, &GroupError::UnknownMemberId);
        Ok(())
    }
}
