//! A group in memory: its machine, the row it was stored as, and who waits for an answer.

use std::collections::BTreeMap;

use tidemark_meta::keys::group::{GroupRow, StoredMembers};
use tokio::time::Instant;

use super::offsets::Batch;
use super::{Answer, IDLE};
use crate::api::*;
use crate::machine::{At, Machine, MustStore, Reply, Ticket};
use crate::store::Change;
use crate::{GroupError, GroupsConfig};

pub(super) struct Loaded {
    pub(super) machine: Machine,
    /// What is stored; `None`: nothing is.
    pub(super) row: Option<GroupRow>,
    pub(super) batch: Batch,
    tickets: Ticket,
    joins: BTreeMap<Ticket, Answer<Joined>>,
    syncs: BTreeMap<Ticket, Answer<Synced>>,
}

impl Loaded {
    pub(super) fn new(
        config: GroupsConfig,
        at: At,
        row: Option<GroupRow>,
        members: StoredMembers,
    ) -> Self {
        let machine = match &row {
            Some(row) => Machine::load(config, at, row, members),
            None => Machine::new(config),
        };
        Self {
            machine,
            row,
            batch: Batch::default(),
            tickets: 0,
            joins: BTreeMap::new(),
            syncs: BTreeMap::new(),
        }
    }

    /// Whether there is such a group: stored, about to be, or with members.
    pub(super) fn exists(&self) -> bool {
        self.row.is_some() || !self.batch.is_empty() || !self.machine.is_idle()
    }

    pub(super) fn join(
        &mut self,
        at: At,
        request: JoinRequest,
        answer: Answer<Joined>,
        fresh: &str,
    ) {
        self.tickets += 1;
        self.joins.insert(self.tickets, answer);
        self.machine.join(at, self.tickets, request, fresh);
    }

    pub(super) fn sync(&mut self, at: At, request: &SyncRequest, answer: Answer<Synced>) {
        self.tickets += 1;
        self.syncs.insert(self.tickets, answer);
        self.machine.sync(at, self.tickets, request);
    }

    /// The change that stores what a step says must be.
    pub(super) fn change_for(&self, what: MustStore) -> Option<Change> {
        match what {
            MustStore::Nothing => None,
            MustStore::Announcement => Some(Change::Announce(self.machine.announced())),
            MustStore::Members => Some(Change::Members(
                self.machine.row(),
                self.machine.stored_members(),
            )),
        }
    }

    /// Sends replies to whoever still waits.
    pub(super) fn reply(&mut self, replies: Vec<Reply>) {
        for reply in replies {
            match reply {
                Reply::Joined(ticket, joined) => {
                    if let Some(answer) = self.joins.remove(&ticket) {
                        let _ = answer.send(joined);
                    }
                }
                Reply::Synced(ticket, synced) => {
                    if let Some(answer) = self.syncs.remove(&ticket) {
                        let _ = answer.send(synced);
                    }
                }
            }
        }
    }

    pub(super) fn refuse_all(self, why: &GroupError) {
        for answer in self.joins.into_values() {
            let _ = answer.send(Err(why.clone()));
        }
        for answer in self.syncs.into_values() {
            let _ = answer.send(Err(why.clone()));
        }
        self.batch.refuse_all(why);
    }

    pub(super) fn describe(&self) -> Result<GroupDescription, GroupError> {
        if self.exists() {
            Ok(self.machine.describe())
        } else {
            Err(GroupError::NotFound)
        }
    }

    pub(super) fn shown(&self) -> Option<(GroupState, String)> {
        self.exists().then(|| {
            (
                self.machine.state(),
                self.machine.protocol_type().to_owned(),
            )
        })
    }

    /// When a group that nothing happens in may be unloaded: one that does not exist, at once.
    pub(super) fn idle_at(&self, heard: Instant) -> Instant {
        if self.row.is_some() {
            heard + IDLE
        } else {
            heard
        }
    }
}
