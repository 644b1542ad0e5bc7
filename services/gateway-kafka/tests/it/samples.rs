//! Requests with something in every part, at every version that has it.

use bytes::{Bytes, BytesMut};
use tidemark_wire::messages::*;
use tidemark_wire::{ApiKey, KafkaString, KafkaUuid, RawTaggedField, Request};

/// One encoded request.
pub(crate) struct Sample {
    pub(crate) key: ApiKey,
    pub(crate) version: i16,
    pub(crate) body: Bytes,
}

fn s(text: &'static str) -> KafkaString {
    KafkaString::from_static(text)
}

/// Adds `request` at every version that has all the fields it sets.
fn add<R: Request>(into: &mut Vec<Sample>, request: &R) {
    let info = tidemark_wire::client_api_info(R::KEY);
    for version in info.min_version..=info.max_version {
        let mut body = BytesMut::new();
        if request.write(&mut body, version).is_ok() {
            into.push(Sample {
                key: R::KEY,
                version,
                body: body.freeze(),
            });
        }
    }
}

/// Samples of every API.
pub(crate) fn all() -> Vec<Sample> {
    let mut into = Vec::new();
    data_path(&mut into);
    offsets(&mut into);
    groups(&mut into);
    admin(&mut into);
    into
}

/// Requests of many small elements with tagged fields that nobody knows: key, version, body.
pub(crate) fn large() -> Vec<(i16, i16, Bytes)> {
    let unknown = || {
        (100..110)
            .map(|tag| RawTaggedField {
                tag,
                data: Bytes::new(),
            })
            .collect::<Vec<_>>()
    };
    let mut into = Vec::new();
    let partition = fetch_request::FetchPartition {
        _unknown_tagged_fields: unknown(),
        ..Default::default()
    };
    let topic = fetch_request::FetchTopic {
        partitions: vec![partition; 3],
        _unknown_tagged_fields: unknown(),
        ..Default::default()
    };
    let fetch = FetchRequestData {
        topics: vec![topic; 1_500],
        _unknown_tagged_fields: unknown(),
        ..Default::default()
    };
    add(&mut into, &fetch);
    let group = offset_fetch_request::OffsetFetchRequestGroup {
        topics: Some(vec![Default::default(); 5]),
        _unknown_tagged_fields: unknown(),
        ..Default::default()
    };
    let offsets = OffsetFetchRequestData {
        groups: vec![group; 1_500],
        ..Default::default()
    };
    add(&mut into, &offsets);
    let protocol = join_group_request::JoinGroupRequestProtocol {
        _unknown_tagged_fields: unknown(),
        ..Default::default()
    };
    let join = JoinGroupRequestData {
        protocols: vec![protocol; 3_000],
        ..Default::default()
    };
    add(&mut into, &join);
    let into = into.into_iter();
    into.map(|s| (s.key as i16, s.version, s.body)).collect()
}

fn data_path(into: &mut Vec<Sample>) {
    for (name, id) in [("t", KafkaUuid::ZERO), ("", KafkaUuid::from_parts(1, 2))] {
        add(into, &produce(s(name), id));
        add(into, &fetch(s(name), id));
    }
    add(into, &ApiVersionsRequestData::default());
    add(
        into,
        &ApiVersionsRequestData {
            client_software_name: s("client"),
            client_software_version: s("1.0"),
            ..Default::default()
        },
    );
    for topic_id in [KafkaUuid::ZERO, KafkaUuid::from_parts(1, 2)] {
        let name = topic_id.is_nil().then(|| s("t"));
        let topic = MetadataRequestTopic {
            topic_id,
            name,
            ..Default::default()
        };
        add(
            into,
            &MetadataRequestData {
                topics: Some(vec![topic]),
                ..Default::default()
            },
        );
    }
    add(
        into,
        &MetadataRequestData {
            topics: None,
            ..Default::default()
        },
    );
    add(into, &InitProducerIdRequestData::default());
    add(into, &DescribeClusterRequestData::default());
    add(
        into,
        &DescribeTopicPartitionsRequestData {
            topics: vec![describe_topic_partitions_request::TopicRequest {
                name: s("t"),
                ..Default::default()
            }],
            cursor: Some(Box::new(describe_topic_partitions_request::Cursor {
                topic_name: s("t"),
                partition_index: 4,
                ..Default::default()
            })),
            ..Default::default()
        },
    );
}

fn produce(name: KafkaString, topic_id: KafkaUuid) -> ProduceRequestData {
    let partition_data = vec![PartitionProduceData {
        index: 3,
        records: Some(vec![7; 90].into()),
        ..Default::default()
    }];
    ProduceRequestData {
        transactional_id: Some(s("tx")),
        acks: -1,
        timeout_ms: 1_000,
        topic_data: vec![TopicProduceData {
            name,
            topic_id,
            partition_data,
            ..Default::default()
        }],
        ..Default::default()
    }
}

fn fetch(topic: KafkaString, topic_id: KafkaUuid) -> FetchRequestData {
    let partitions = vec![fetch_request::FetchPartition {
        partition: 2,
        fetch_offset: 77,
        partition_max_bytes: 1 << 20,
        ..Default::default()
    }];
    FetchRequestData {
        max_wait_ms: 500,
        min_bytes: 1,
        session_epoch: 0,
        topics: vec![fetch_request::FetchTopic {
            topic,
            topic_id,
            partitions,
            ..Default::default()
        }],
        ..Default::default()
    }
}

fn offsets(into: &mut Vec<Sample>) {
    let partition = list_offsets_request::ListOffsetsPartition {
        partition_index: 1,
        timestamp: -1,
        ..Default::default()
    };
    add(
        into,
        &ListOffsetsRequestData {
            replica_id: -1,
            topics: vec![list_offsets_request::ListOffsetsTopic {
                name: s("t"),
                partitions: vec![partition],
                ..Default::default()
            }],
            ..Default::default()
        },
    );
    let partition = offset_for_leader_epoch_request::OffsetForLeaderPartition {
        partition: 1,
        leader_epoch: 4,
        ..Default::default()
    };
    add(
        into,
        &OffsetForLeaderEpochRequestData {
            topics: vec![offset_for_leader_epoch_request::OffsetForLeaderTopic {
                topic: s("t"),
                partitions: vec![partition],
                ..Default::default()
            }],
            ..Default::default()
        },
    );
    add(
        into,
        &DeleteRecordsRequestData {
            topics: vec![delete_records_request::DeleteRecordsTopic {
                name: s("t"),
                partitions: vec![delete_records_request::DeleteRecordsPartition {
                    partition_index: 1,
                    offset: -1,
                    ..Default::default()
                }],
                ..Default::default()
            }],
            timeout_ms: 1_000,
            ..Default::default()
        },
    );
    add(into, &OffsetCommitRequestData::default());
    add(into, &OffsetFetchRequestData::default());
    add(into, &OffsetDeleteRequestData::default());
}

fn groups(into: &mut Vec<Sample>) {
    add(
        into,
        &FindCoordinatorRequestData {
            key: s("g"),
            ..Default::default()
        },
    );
    add(
        into,
        &FindCoordinatorRequestData {
            coordinator_keys: vec![s("g"), s("h")],
            ..Default::default()
        },
    );
    add(
        into,
        &JoinGroupRequestData {
            group_id: s("g"),
            member_id: s("m"),
            protocol_type: s("consumer"),
            protocols: vec![join_group_request::JoinGroupRequestProtocol {
                name: s("range"),
                metadata: Bytes::from_static(b"abc"),
                ..Default::default()
            }],
            ..Default::default()
        },
    );
    add(
        into,
        &SyncGroupRequestData {
            group_id: s("g"),
            member_id: s("m"),
            assignments: vec![sync_group_request::SyncGroupRequestAssignment {
                member_id: s("m"),
                assignment: Bytes::from_static(b"xyz"),
                ..Default::default()
            }],
            ..Default::default()
        },
    );
    add(into, &HeartbeatRequestData::default());
    add(into, &LeaveGroupRequestData::default());
    add(into, &DescribeGroupsRequestData::default());
    add(into, &ListGroupsRequestData::default());
    add(into, &DeleteGroupsRequestData::default());
}

fn admin(into: &mut Vec<Sample>) {
    add(
        into,
        &CreateTopicsRequestData {
            topics: vec![create_topics_request::CreatableTopic {
                name: s("t"),
                num_partitions: 3,
                replication_factor: -1,
                ..Default::default()
            }],
            ..Default::default()
        },
    );
    add(into, &DeleteTopicsRequestData::default());
    add(into, &CreatePartitionsRequestData::default());
    add(into, &DescribeConfigsRequestData::default());
    add(into, &AlterConfigsRequestData::default());
    add(into, &IncrementalAlterConfigsRequestData::default());
    add(into, &DeleteRecordsRequestData::default());
    add(into, &ListConfigResourcesRequestData::default());
}

#[test]
fn every_version_served_has_a_sample() {
    let samples = all();
    for api in tidemark_gateway_kafka::served_apis() {
        // Produce 0 to 2 are advertised and refused: the generated codec does not know them.
        let from = if api.key == 0 { 3 } else { api.min };
        for version in from..=api.max {
            assert!(
                samples
                    .iter()
                    .any(|s| s.key as i16 == api.key && s.version == version),
                "{} version {version}",
                api.name
            );
        }
    }
}
