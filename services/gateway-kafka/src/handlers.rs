//! The APIs served: one file each, one line each in [`TABLE`], in the order of their keys.

mod alter_configs;
mod api_versions;
mod create_partitions;
mod create_topics;
#[cfg(test)]
pub(crate) mod data_path;
mod delete_groups;
mod delete_records;
mod delete_topics;
mod describe_cluster;
mod describe_configs;
mod describe_groups;
mod describe_topic_partitions;
mod fetch;
mod find_coordinator;
mod group;
#[cfg(test)]
mod group_testing;
mod heartbeat;
mod incremental_alter_configs;
mod init_producer_id;
mod join_group;
mod leave_group;
mod list_config_resources;
mod list_groups;
mod list_offsets;
mod metadata;
mod offset_commit;
mod offset_delete;
mod offset_fetch;
mod offset_for_leader_epoch;
mod produce;
mod sync_group;

use tidemark_wire::ApiKey;

use crate::handler::{Entry, entry};

/// Every API served, ascending by key (a test holds that).
pub(crate) static TABLE: &[Entry] = &[
    produce::ENTRY,
    fetch::ENTRY,
    entry::<list_offsets::ListOffsets>(),
    entry::<metadata::Metadata>(),
    entry::<offset_commit::OffsetCommit>(),
    entry::<offset_fetch::OffsetFetch>(),
    entry::<find_coordinator::FindCoordinator>(),
    entry::<join_group::JoinGroup>(),
    entry::<heartbeat::Heartbeat>(),
    entry::<leave_group::LeaveGroup>(),
    entry::<sync_group::SyncGroup>(),
    entry::<describe_groups::DescribeGroups>(),
    entry::<list_groups::ListGroups>(),
    entry::<api_versions::ApiVersions>(),
    entry::<create_topics::CreateTopics>(),
    entry::<delete_topics::DeleteTopics>(),
    entry::<delete_records::DeleteRecords>(),
    entry::<init_producer_id::InitProducerId>(),
    entry::<offset_for_leader_epoch::OffsetForLeaderEpoch>(),
    entry::<describe_configs::DescribeConfigs>(),
    entry::<alter_configs::AlterConfigs>(),
    entry::<create_partitions::CreatePartitions>(),
    entry::<delete_groups::DeleteGroups>(),
    entry::<incremental_alter_configs::IncrementalAlterConfigs>(),
    entry::<offset_delete::OffsetDelete>(),
    entry::<describe_cluster::DescribeCluster>(),
    entry::<list_config_resources::ListConfigResources>(),
    entry::<describe_topic_partitions::DescribeTopicPartitions>(),
];

pub(crate) use api_versions::unsupported_version;

/// Kafka's "authorized operations were not asked for".
pub(crate) const NO_OPERATIONS: i32 = i32::MIN;

/// The entry that serves `key`.
pub(crate) fn find(key: i16) -> Option<&'static Entry> {
    let at = TABLE.binary_search_by_key(&key, |e| e.key as i16).ok()?;
    TABLE.get(at)
}

/// Whether `key` is that of `ApiVersions`, the one API whose unknown versions are answered.
pub(crate) fn is_api_versions(key: i16) -> bool {
    key == ApiKey::ApiVersions as i16
}

#[cfg(test)]
mod tests {
    use tidemark_wire::client_api_info;

    use super::*;

    #[test]
    fn table_is_sorted_and_within_the_generated_codecs() {
        assert!(TABLE.is_sorted_by_key(|e| e.key as i16));
        for e in TABLE {
            let info = client_api_info(e.key);
            let served_min = if e.key == ApiKey::Produce { 3 } else { e.min };
            assert!(
                served_min >= info.min_version && e.max <= info.max_version,
                "{}",
                e.name
            );
        }
    }
}
