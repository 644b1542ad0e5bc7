//! To and from what is stored.

use std::time::Duration;

use tidemark_meta::keys::group::{GroupRow, StoredMember, StoredMembers};

use super::{At, Machine, Member};
use crate::GroupsConfig;
use crate::api::{GroupState, Protocol};

impl Machine {
    /// The group as it was stored. Every member has a whole session from now (K7).
    pub(crate) fn load(
        config: GroupsConfig,
        at: At,
        row: &GroupRow,
        members: StoredMembers,
    ) -> Self {
        let mut machine = Self::new(config);
        machine.since_ms = row.since_ms;
        machine.generation = row.generation;
        machine.announced = row.announced;
        machine.protocol_type.clone_from(&row.protocol_type);
        machine.protocol.clone_from(&row.protocol);
        machine.leader.clone_from(&row.leader);
        for stored in members.0 {
            if let Some(instance) = &stored.instance {
                machine.statics.insert(instance.clone(), stored.id.clone());
            }
            let id = stored.id.clone();
            machine.members.insert(id, member(stored, at));
        }
        if !machine.members.is_empty() {
            machine.state = GroupState::Stable;
        }
        machine
    }

    /// What to store when everything is; without the revision and the chunks.
    pub(crate) fn row(&self) -> GroupRow {
        GroupRow {
            generation: self.generation,
            announced: self.announced,
            protocol_type: self.protocol_type.clone(),
            protocol: self.protocol.clone(),
            leader: self.leader.clone(),
            since_ms: self.since_ms,
            members: u32::try_from(self.members.len()).unwrap_or(u32::MAX),
            ..GroupRow::default()
        }
    }

    /// The announced generation.
    pub(crate) const fn announced(&self) -> i32 {
        self.announced
    }

    /// The members to store.
    pub(crate) fn stored_members(&self) -> StoredMembers {
        let one = |(id, m): (&String, &Member)| StoredMember {
            id: id.clone(),
            instance: m.instance.clone(),
            client_id: m.client_id.clone(),
            client_host: m.client_host.clone(),
            session_timeout_ms: millis(m.session_timeout),
            rebalance_timeout_ms: millis(m.rebalance_timeout),
            protocols: m
                .protocols
                .iter()
                .map(|p| (p.name.clone(), p.metadata.to_vec()))
                .collect(),
            assignment: m.assignment.to_vec(),
        };
        StoredMembers(self.members.iter().map(one).collect())
    }
}

fn member(stored: StoredMember, at: At) -> Member {
    let session_timeout = Duration::from_millis(stored.session_timeout_ms.into());
    Member {
        instance: stored.instance,
        client_id: stored.client_id,
        client_host: stored.client_host,
        session_timeout,
        rebalance_timeout: Duration::from_millis(stored.rebalance_timeout_ms.into()),
        protocols: stored
            .protocols
            .into_iter()
            .map(|(name, metadata)| Protocol {
                name,
                metadata: metadata.into(),
            })
            .collect(),
        assignment: stored.assignment.into(),
        join: None,
        sync: None,
        synced: true,
        new: false,
        deadline: at.now + session_timeout,
    }
}

fn millis(d: Duration) -> u32 {
    u32::try_from(d.as_millis()).unwrap_or(u32::MAX)
}
