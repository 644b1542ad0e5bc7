//! A second codec looks at every answer that a handler's test gets: it reads the same bytes and writes them again.
//! (`tidemark-compat` compares the fields of all messages with Apache Kafka's own.)

use bytes::{Bytes, BytesMut};
use kafka_protocol::messages as theirs;
use kafka_protocol::protocol::{Decodable, Encodable, Message};

/// Panics when the second codec reads something else than `body`. Versions it does not have are passed over.
pub(crate) fn answer_passes(key: i16, version: i16, body: &Bytes) {
    macro_rules! by_key {
        ($($key:literal: $message:ident),* $(,)?) => {
            match key {
                $($key => through::<theirs::$message>(body, version),)*
                // kafka-protocol has no later names of ListClientMetricsResources.
                74 => {}
                _ => panic!("API {key} has no second codec"),
            }
        };
    }
    by_key! {
        0: ProduceResponse, 1: FetchResponse, 2: ListOffsetsResponse, 3: MetadataResponse,
        8: OffsetCommitResponse, 9: OffsetFetchResponse, 10: FindCoordinatorResponse,
        11: JoinGroupResponse, 12: HeartbeatResponse, 13: LeaveGroupResponse, 14: SyncGroupResponse,
        15: DescribeGroupsResponse, 16: ListGroupsResponse, 18: ApiVersionsResponse,
        19: CreateTopicsResponse, 20: DeleteTopicsResponse, 21: DeleteRecordsResponse, 22: InitProducerIdResponse,
        23: OffsetForLeaderEpochResponse, 32: DescribeConfigsResponse, 33: AlterConfigsResponse,
        37: CreatePartitionsResponse, 42: DeleteGroupsResponse, 44: IncrementalAlterConfigsResponse,
        47: OffsetDeleteResponse, 60: DescribeClusterResponse, 75: DescribeTopicPartitionsResponse,
    }
}

fn through<M: Message + Decodable + Encodable + std::fmt::Debug>(body: &Bytes, version: i16) {
    if !(M::VERSIONS.min..=M::VERSIONS.max).contains(&version) {
        return;
    }
    let mut raw = body.clone();
    let message = M::decode(&mut raw, version).expect("the other codec decodes the answer");
    assert!(raw.is_empty(), "the other codec reads all of it");
    let mut again = BytesMut::new();
    message.encode(&mut again, version).expect("and encodes it");
    assert_eq!(again, body, "{message:?}");
}
