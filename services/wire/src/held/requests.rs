//! The fields of every request, for [`super::Held`]. Generated messages say nothing about themselves at run time, so they
//! are listed here; each list is matched against its struct without a rest pattern: a field that a new version of the
//! codec brings does not compile until it is here.

use super::Held;
use crate::messages::*;

macro_rules! held {
    ($($module:ident { $($message:ident { $($field:ident),* $(,)? })* })*) => {$($(
        impl Held for $module::$message {
            fn trim(&mut self) -> usize {
                let Self { $($field,)* _unknown_tagged_fields: unknown } = self;
                *unknown = Vec::new();
                0 $(+ $field.trim())*
            }
        }
    )*)*};
}

held! {
    produce_request {
        ProduceRequestData { transactional_id, acks, timeout_ms, topic_data }
        TopicProduceData { name, topic_id, partition_data }
        PartitionProduceData { index, records }
    }
    fetch_request {
        FetchRequestData {
            cluster_id, replica_id, replica_state, max_wait_ms, min_bytes, max_bytes,
            isolation_level, session_id, session_epoch, topics, forgotten_topics_data, rack_id,
        }
        ReplicaState { replica_id, replica_epoch }
        FetchTopic { topic, topic_id, partitions }
        FetchPartition {
            partition, current_leader_epoch, fetch_offset, last_fetched_epoch, log_start_offset,
            partition_max_bytes, replica_directory_id, high_watermark,
        }
        ForgottenTopic { topic, topic_id, partitions }
    }
    list_offsets_request {
        ListOffsetsRequestData { replica_id, isolation_level, topics, timeout_ms }
        ListOffsetsTopic { name, partitions }
        ListOffsetsPartition { partition_index, current_leader_epoch, timestamp }
    }
    metadata_request {
        MetadataRequestData {
            topics, allow_auto_topic_creation, include_cluster_authorized_operations,
            include_topic_authorized_operations,
        }
        MetadataRequestTopic { topic_id, name }
    }
    offset_commit_request {
        OffsetCommitRequestData {
            group_id, generation_id_or_member_epoch, member_id, group_instance_id,
            retention_time_ms, topics,
        }
        OffsetCommitRequestTopic { name, topic_id, partitions }
        OffsetCommitRequestPartition {
            partition_index, committed_offset, committed_leader_epoch, committed_metadata,
        }
    }
    offset_fetch_request {
        OffsetFetchRequestData { group_id, topics, groups, require_stable }
        OffsetFetchRequestTopic { name, partition_indexes }
        OffsetFetchRequestGroup { group_id, member_id, member_epoch, topics }
        OffsetFetchRequestTopics { name, topic_id, partition_indexes }
    }
    find_coordinator_request {
        FindCoordinatorRequestData { key, key_type, coordinator_keys }
    }
    join_group_request {
        JoinGroupRequestData {
            group_id, session_timeout_ms, rebalance_timeout_ms, member_id, group_instance_id,
            protocol_type, protocols, reason,
        }
        JoinGroupRequestProtocol { name, metadata }
    }
    heartbeat_request {
        HeartbeatRequestData { group_id, generation_id, member_id, group_instance_id }
    }
    leave_group_request {
        LeaveGroupRequestData { group_id, member_id, members }
        MemberIdentity { member_id, group_instance_id, reason }
    }
    sync_group_request {
        SyncGroupRequestData {
            group_id, generation_id, member_id, group_instance_id, protocol_type, protocol_name,
            assignments,
        }
        SyncGroupRequestAssignment { member_id, assignment }
    }
    describe_groups_request {
        DescribeGroupsRequestData { groups, include_authorized_operations }
    }
    list_groups_request {
        ListGroupsRequestData { states_filter, types_filter }
    }
    api_versions_request {
        ApiVersionsRequestData { client_software_name, client_software_version }
    }
    create_topics_request {
        CreateTopicsRequestData { topics, timeout_ms, validate_only }
        CreatableTopic { name, num_partitions, replication_factor, assignments, configs }
        CreatableReplicaAssignment { partition_index, broker_ids }
        CreatableTopicConfig { name, value }
    }
    delete_topics_request {
        DeleteTopicsRequestData { topics, topic_names, timeout_ms }
        DeleteTopicState { name, topic_id }
    }
    delete_records_request {
        DeleteRecordsRequestData { topics, timeout_ms }
        DeleteRecordsTopic { name, partitions }
        DeleteRecordsPartition { partition_index, offset }
    }
    init_producer_id_request {
        InitProducerIdRequestData {
            transactional_id, transaction_timeout_ms, producer_id, producer_epoch, enable2_pc,
            keep_prepared_txn,
        }
    }
    offset_for_leader_epoch_request {
        OffsetForLeaderEpochRequestData { replica_id, topics }
        OffsetForLeaderTopic { topic, partitions }
        OffsetForLeaderPartition { partition, current_leader_epoch, leader_epoch }
    }
    describe_configs_request {
        DescribeConfigsRequestData { resources, include_synonyms, include_documentation }
        DescribeConfigsResource { resource_type, resource_name, configuration_keys }
    }
    alter_configs_request {
        AlterConfigsRequestData { resources, validate_only }
        AlterConfigsResource { resource_type, resource_name, configs }
        AlterableConfig { name, value }
    }
    create_partitions_request {
        CreatePartitionsRequestData { topics, timeout_ms, validate_only }
        CreatePartitionsTopic { name, count, assignments }
        CreatePartitionsAssignment { broker_ids }
    }
    delete_groups_request {
        DeleteGroupsRequestData { groups_names }
    }
    incremental_alter_configs_request {
        IncrementalAlterConfigsRequestData { resources, validate_only }
        AlterConfigsResource { resource_type, resource_name, configs }
        AlterableConfig { name, config_operation, value }
    }
    offset_delete_request {
        OffsetDeleteRequestData { group_id, topics }
        OffsetDeleteRequestTopic { name, partitions }
        OffsetDeleteRequestPartition { partition_index }
    }
    describe_cluster_request {
        DescribeClusterRequestData {
            include_cluster_authorized_operations, endpoint_type, include_fenced_brokers,
        }
    }
    list_config_resources_request {
        ListConfigResourcesRequestData { resource_types }
    }
    describe_topic_partitions_request {
        DescribeTopicPartitionsRequestData { topics, response_partition_limit, cursor }
        TopicRequest { name }
        Cursor { topic_name, partition_index }
    }
}
