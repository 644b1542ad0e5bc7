//! Which offset commits and deletions a group lets through (invariant 12).

use super::{At, Machine};
use crate::GroupError;
use crate::api::*;
use crate::subscription;

impl Machine {
    /// Whether a commit may change the group's offsets. A member's commit is a sign of life.
    pub(crate) fn admit_commit(
        &mut self,
        at: At,
        request: &CommitRequest,
    ) -> Result<(), GroupError> {
        let outside =
            request.generation < 0 && request.member_id.is_empty() && request.instance_id.is_none();
        if self.state == GroupState::Empty {
            // K7: without a generation only into a group without members.
            return match request.generation {
                ..0 => Ok(()),
                _ => Err(GroupError::UnknownMemberId),
            };
        }
        if outside {
            return Err(GroupError::UnknownMemberId);
        }
        self.check_member(&request.member_id, request.instance_id.as_deref())?;
        self.check_generation(request.generation)?;
        if self.state == GroupState::CompletingRebalance {
            return Err(GroupError::RebalanceInProgress);
        }
        self.hear_from(&request.member_id, at);
        Ok(())
    }

    /// Whether offsets may be deleted at all.
    pub(crate) fn admit_offset_delete(&self) -> Result<(), GroupError> {
        if self.members.is_empty() || self.protocol_type() == subscription::CONSUMER {
            Ok(())
        } else {
            Err(GroupError::NonEmpty)
        }
    }

    /// Whether a member subscribes to a topic. A subscription that cannot be read counts as one to everything.
    pub(crate) fn subscribes_to(&self, topic: &str) -> bool {
        self.members.values().any(|member| {
            let metadata = match &self.protocol {
                Some(protocol) => member.metadata(protocol),
                None => member
                    .protocols
                    .first()
                    .map(|p| p.metadata.clone())
                    .unwrap_or_default(),
            };
            subscription::names(&metadata).is_none_or(|topics| topics.contains(&topic))
        })
    }
}
