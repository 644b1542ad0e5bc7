//! What an operator may set, with Kafka's names and, unless the reason is given, Kafka's defaults.

use std::time::Duration;

/// Settings and bounds of the coordinator.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct GroupsConfig {
    /// `group.initial.rebalance.delay.ms`: how long an empty group waits for more members before its first
    /// rebalance. Kafka's default is 3 s, for deployments that start many members at once; 250 ms here keeps
    /// a single consumer's start quick and still gathers what starts together.
    pub initial_rebalance_delay: Duration,
    /// `group.min.session.timeout.ms`.
    pub session_timeout_min: Duration,
    /// `group.max.session.timeout.ms`.
    pub session_timeout_max: Duration,
    /// `group.max.size`, members. Kafka has no bound by default; 2,000 keeps a group's state storable.
    pub members_max: usize,
    /// How long a new member's first join may wait before the coordinator forgets it (KIP-394, Kafka's 5 min).
    pub new_member_timeout: Duration,
    /// `offsets.retention.minutes`, 7 days.
    pub offsets_retention: Duration,
    /// `offsets.retention.check.interval.ms`.
    pub sweep_interval: Duration,
    /// How long offset commits of a group are gathered into one transaction (K7).
    pub commit_window: Duration,
    /// Groups of one tenant in the store at the most.
    pub groups_per_tenant_max: u64,
}

impl Default for GroupsConfig {
    fn default() -> Self {
        Self {
            initial_rebalance_delay: Duration::from_millis(250),
            session_timeout_min: Duration::from_secs(6),
            session_timeout_max: Duration::from_secs(30 * 60),
            members_max: 2_000,
            new_member_timeout: Duration::from_secs(5 * 60),
            offsets_retention: Duration::from_secs(7 * 24 * 3600),
            sweep_interval: Duration::from_secs(600),
            commit_window: Duration::from_millis(2),
            groups_per_tenant_max: 100_000,
        }
    }
}
