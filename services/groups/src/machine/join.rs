//! Joining: who may, under which id, and what it sets off.

use std::time::Duration;

use tidemark_types::limits::{GROUP_PROTOCOLS_MAX, GROUP_STATE_BYTES_MAX, NAME_BYTES_MAX};

use super::member::{Member, protocol_bytes};
use super::{At, Machine, MustStore, Ticket};
use crate::GroupError;
use crate::api::*;

impl Machine {
    /// A member asks to join. The reply comes in this step or a later one. `fresh` is random, for the id of a
    /// new member.
    pub(crate) fn join(&mut self, at: At, ticket: Ticket, request: JoinRequest, fresh: &str) {
        let outcome = self
            .check_join(&request)
            .and_then(|()| match &request.instance_id {
                _ if !request.member_id.is_empty() => self.join_known(at, ticket, request),
                Some(instance) => match self.statics.get(instance).cloned() {
                    Some(old) => {
                        self.replace_static(at, ticket, &old, request, fresh);
                        Ok(())
                    }
                    None => {
                        let id = member_id(instance, fresh);
                        self.add(at, ticket, id, request);
                        Ok(())
                    }
                },
                None => self.join_new(at, ticket, request, fresh),
            });
        if let Err(why) = outcome {
            self.reply_join(ticket, Err(why));
        }
    }

    fn check_join(&mut self, request: &JoinRequest) -> Result<(), GroupError> {
        let (min, max) = (
            self.config.session_timeout_min,
            self.config.session_timeout_max,
        );
        if !(min..=max).contains(&request.session_timeout) {
            return Err(GroupError::InvalidSessionTimeout {
                min_ms: millis(min),
                max_ms: millis(max),
            });
        }
        check_bounds(request)?;
        self.check_room(request)?;
        if !self.fits(request) {
            return Err(GroupError::InconsistentProtocol);
        }
        Ok(())
    }

    /// Bounds on the number of members and on what they take in the store.
    fn check_room(&self, request: &JoinRequest) -> Result<(), GroupError> {
        let max = self.config.members_max;
        let known = match &request.instance_id {
            Some(instance) => self.statics.get(instance),
            None => Some(&request.member_id),
        };
        let member = known.and_then(|id| self.members.get(id));
        let others = self.members.values().filter(|m| m.join.is_some()).count();
        let has_room = match self.state {
            GroupState::PreparingRebalance => {
                member.is_some_and(|m| m.join.is_some()) || others < max
            }
            _ => member.is_some() || self.members.len() < max,
        };
        if !has_room || self.pending.len() > max {
            return Err(GroupError::GroupMaxSizeReached { max });
        }
        let stored: usize = self.members.iter().map(|(id, m)| m.stored_bytes(id)).sum();
        if stored + protocol_bytes(&request.protocols) > GROUP_STATE_BYTES_MAX / 2 {
            let bound = GROUP_STATE_BYTES_MAX / 2;
            return Err(GroupError::OverLimit(format!(
                "its members' metadata would be over {bound} bytes"
            )));
        }
        Ok(())
    }

    /// Whether the member shares the protocol type and a protocol with all others.
    fn fits(&self, request: &JoinRequest) -> bool {
        if request.protocol_type.is_empty() || request.protocols.is_empty() {
            return false;
        }
        let instance = request.instance_id.as_ref();
        let own = instance
            .and_then(|i| self.statics.get(i))
            .unwrap_or(&request.member_id);
        let others = || self.members.iter().filter(|(id, _)| *id != own);
        if self.members.is_empty() {
            return true;
        }
        self.protocol_type.as_deref() == Some(&request.protocol_type)
            && request
                .protocols
                .iter()
                .any(|p| others().all(|(_, m)| m.supports(&p.name)))
    }

    fn join_new(
        &mut self,
        at: At,
        ticket: Ticket,
        request: JoinRequest,
        fresh: &str,
    ) -> Result<(), GroupError> {
        let id = member_id(&request.client_id, fresh);
        if request.requires_known_member_id {
            // KIP-394: a client that never comes back must not hold up the group.
            self.pending
                .insert(id.clone(), at.now + request.session_timeout);
            return Err(GroupError::MemberIdRequired { member_id: id });
        }
        self.add(at, ticket, id, request);
        Ok(())
    }

    fn join_known(
        &mut self,
        at: At,
        ticket: Ticket,
        request: JoinRequest,
    ) -> Result<(), GroupError> {
        let id = request.member_id.clone();
        if request.instance_id.is_none() && self.pending.remove(&id).is_some() {
            self.add(at, ticket, id, request);
            return Ok(());
        }
        self.check_member(&id, request.instance_id.as_deref())?;
        let same = self.members[&id].protocols == request.protocols;
        let leads = self.leader.as_deref() == Some(&id);
        match self.state {
            GroupState::CompletingRebalance if same => {
                // Its answer was lost.
                self.hear_from(&id, at);
                let joined = self.joined(&id, leads);
                self.reply_join(ticket, Ok(joined));
            }
            GroupState::Stable if same && !leads => {
                self.hear_from(&id, at);
                let joined = self.joined(&id, false);
                self.reply_join(ticket, Ok(joined));
            }
            GroupState::Empty | GroupState::Dead => return Err(GroupError::UnknownMemberId),
            _ => {
                self.rejoin(ticket, &id, request);
                self.rebalance_or_complete(at, "a member rejoins");
            }
        }
        Ok(())
    }

    fn rejoin(&mut self, ticket: Ticket, id: &str, request: JoinRequest) {
        let member = self.members.get_mut(id).expect("the caller found it");
        if let Some(older) = member.rejoin(request, ticket) {
            self.reply_join(older, Err(GroupError::RebalanceInProgress));
        }
    }

    fn add(&mut self, at: At, ticket: Ticket, id: String, request: JoinRequest) {
        if self.members.is_empty() {
            self.protocol_type = Some(request.protocol_type.clone());
        }
        if let Some(instance) = &request.instance_id {
            self.statics.insert(instance.clone(), id.clone());
        }
        self.gathered_more = true;
        self.leader.get_or_insert_with(|| id.clone());
        tracing::debug!(
            member = id,
            reason = request.reason.as_deref(),
            "member joins"
        );
        // Before its first answer a member does not know its id: nothing but time can end its wait.
        let deadline = at.now + self.config.new_member_timeout;
        self.members
            .insert(id, Member::joining(request, ticket, deadline));
        self.rebalance_or_complete(at, "a member joins");
    }

    /// A static member came back under its instance id (KIP-345): it takes over the place, and the old one is
    /// fenced. No rebalance while the selected protocol stays.
    fn replace_static(
        &mut self,
        at: At,
        ticket: Ticket,
        old: &str,
        request: JoinRequest,
        fresh: &str,
    ) {
        let instance = request
            .instance_id
            .clone()
            .expect("the caller found it by its instance");
        let can_skip = request.can_skip_assignment;
        let id = member_id(&instance, fresh);
        let leader_before = self.leader.clone().unwrap_or_default();
        let mut member = self.members.remove(old).expect("statics name members");
        if let Some(fenced) = member.join.take() {
            self.reply_join(fenced, Err(GroupError::FencedInstanceId));
        }
        if let Some(fenced) = member.sync.take() {
            self.reply_sync(fenced, Err(GroupError::FencedInstanceId));
        }
        member.rejoin(request, ticket);
        if !member.new {
            member.deadline = at.now + member.session_timeout;
        }
        self.members.insert(id.clone(), member);
        self.statics.insert(instance, id.clone());
        if leader_before == old {
            self.leader = Some(id.clone());
        }
        if self.state != GroupState::Stable || self.select_protocol() != self.protocol {
            self.rebalance_or_complete(at, "a static member came back");
            return;
        }
        let leads = self.leader.as_deref() == Some(&id);
        let mut joined = self.joined(&id, leads && can_skip);
        joined.skip_assignment = leads && can_skip; // KIP-814
        if !can_skip {
            // An older client that leads must not compute an assignment: it is shown its own old id as leader.
            joined.leader = leader_before;
        }
        self.members
            .get_mut(&id)
            .expect("inserted above")
            .join
            .take();
        self.must_store(MustStore::Members);
        self.reply_join(ticket, Ok(joined));
    }

    /// The current generation as a member is told it.
    pub(super) fn joined(&self, id: &str, with_members: bool) -> Joined {
        let protocol = self.protocol.clone().unwrap_or_default();
        let members = if with_members {
            let one = |(id, m): (&String, &Member)| JoinedMember {
                member_id: id.clone(),
                instance_id: m.instance.clone(),
                metadata: m.metadata(&protocol),
            };
            self.members.iter().map(one).collect()
        } else {
            Vec::new()
        };
        Joined {
            generation: self.generation,
            protocol_type: self.protocol_type().to_owned(),
            protocol,
            leader: self.leader.clone().unwrap_or_default(),
            skip_assignment: false,
            member_id: id.to_owned(),
            members,
        }
    }
}

fn check_bounds(request: &JoinRequest) -> Result<(), GroupError> {
    let over = |what: &str| Err(GroupError::OverLimit(what.to_owned()));
    if request.protocols.len() > GROUP_PROTOCOLS_MAX {
        return over("a member may name 64 protocols at the most");
    }
    let names = request.protocols.iter().map(|p| p.name.len());
    let texts = [
        request.protocol_type.len(),
        request.client_id.len(),
        request.instance_id.as_ref().map_or(0, String::len),
    ];
    if names.chain(texts).any(|len| len > NAME_BYTES_MAX) {
        return over("a name of the member is longer than 1024 bytes");
    }
    Ok(())
}

fn member_id(named: &str, fresh: &str) -> String {
    format!("{named}-{fresh}")
}

fn millis(d: Duration) -> u64 {
    u64::try_from(d.as_millis()).unwrap_or(u64::MAX)
}
