//! One member.

use std::time::Duration;

use bytes::Bytes;

use super::Ticket;
use crate::api::{JoinRequest, Protocol};

/// A member of a group.
#[derive(Clone, Debug)]
pub(crate) struct Member {
    pub(super) instance: Option<String>,
    pub(super) client_id: String,
    pub(super) client_host: String,
    pub(super) session_timeout: Duration,
    pub(super) rebalance_timeout: Duration,
    pub(super) protocols: Vec<Protocol>,
    pub(super) assignment: Bytes,
    /// A join that waits.
    pub(super) join: Option<Ticket>,
    /// A sync that waits.
    pub(super) sync: Option<Ticket>,
    /// It has synced in this generation.
    pub(super) synced: bool,
    /// It has not been through a join yet, so it does not know its id and cannot send heartbeats.
    pub(super) new: bool,
    /// When it expires unless it is heard from.
    pub(super) deadline: Duration,
}

impl Member {
    /// A member out of its first join, which waits.
    pub(super) fn joining(request: JoinRequest, ticket: Ticket, deadline: Duration) -> Self {
        Self {
            instance: request.instance_id,
            client_id: request.client_id,
            client_host: request.client_host,
            session_timeout: request.session_timeout,
            rebalance_timeout: request.rebalance_timeout,
            protocols: request.protocols,
            assignment: Bytes::new(),
            join: Some(ticket),
            sync: None,
            synced: false,
            new: true,
            deadline,
        }
    }

    /// Takes over what a newer join says. The join that waited until now, if any.
    pub(super) fn rejoin(&mut self, request: JoinRequest, ticket: Ticket) -> Option<Ticket> {
        self.client_id = request.client_id;
        self.client_host = request.client_host;
        self.session_timeout = request.session_timeout;
        self.rebalance_timeout = request.rebalance_timeout;
        self.protocols = request.protocols;
        self.join.replace(ticket)
    }

    /// Its metadata for a protocol; empty when it does not know it.
    pub(super) fn metadata(&self, protocol: &str) -> Bytes {
        let found = self.protocols.iter().find(|p| p.name == protocol);
        found.map(|p| p.metadata.clone()).unwrap_or_default()
    }

    pub(super) fn supports(&self, protocol: &str) -> bool {
        self.protocols.iter().any(|p| p.name == protocol)
    }

    /// Whether a request of it waits here, so that its silence means nothing.
    pub(super) const fn is_waiting(&self) -> bool {
        !self.new && (self.join.is_some() || self.sync.is_some())
    }

    /// About what it takes in the store, bytes.
    pub(super) fn stored_bytes(&self, id: &str) -> usize {
        let texts = id.len()
            + self.instance.as_ref().map_or(0, String::len)
            + self.client_id.len()
            + self.client_host.len();
        FIXED_BYTES + texts + protocol_bytes(&self.protocols) + self.assignment.len()
    }
}

/// Lengths and numbers of a stored member at the most, bytes.
const FIXED_BYTES: usize = 64;

/// What protocols take in the store at the most, bytes.
pub(super) fn protocol_bytes(protocols: &[Protocol]) -> usize {
    let one = |p: &Protocol| p.name.len() + p.metadata.len() + 8;
    protocols.iter().map(one).sum()
}
