//! Our codec and `kafka-protocol` read each other's requests at every version both have.

use bytes::{Bytes, BytesMut};
use kafka_protocol::messages as theirs;
use kafka_protocol::protocol::{Decodable, Encodable, Message};

use crate::samples;

/// Theirs decodes the body and encodes the same bytes again; `None` for versions it does not have.
fn through<M: Message + Decodable + Encodable>(body: &Bytes, version: i16) -> Option<Bytes> {
    if !(M::VERSIONS.min..=M::VERSIONS.max).contains(&version) {
        return None;
    }
    let mut raw = body.clone();
    let message = M::decode(&mut raw, version).expect("the other codec decodes it");
    assert!(raw.is_empty(), "the other codec reads all of it");
    let mut again = BytesMut::new();
    message.encode(&mut again, version).expect("and encodes it");
    Some(again.freeze())
}

fn through_theirs(key: i16, version: i16, body: &Bytes) -> Option<Bytes> {
    macro_rules! by_key {
        ($($key:literal: $message:ident),* $(,)?) => {
            match key {
                $($key => through::<theirs::$message>(body, version),)*
                _ => None,
            }
        };
    }
    by_key! {
        0: ProduceRequest, 1: FetchRequest, 2: ListOffsetsRequest, 3: MetadataRequest,
        8: OffsetCommitRequest, 9: OffsetFetchRequest, 10: FindCoordinatorRequest,
        11: JoinGroupRequest, 12: HeartbeatRequest, 13: LeaveGroupRequest, 14: SyncGroupRequest,
        15: DescribeGroupsRequest, 16: ListGroupsRequest, 18: ApiVersionsRequest,
        19: CreateTopicsRequest, 20: DeleteTopicsRequest, 21: DeleteRecordsRequest, 22: InitProducerIdRequest,
        23: OffsetForLeaderEpochRequest, 32: DescribeConfigsRequest, 33: AlterConfigsRequest,
        37: CreatePartitionsRequest, 42: DeleteGroupsRequest, 44: IncrementalAlterConfigsRequest,
        47: OffsetDeleteRequest, 60: DescribeClusterRequest, 75: DescribeTopicPartitionsRequest,
    }
}

#[test]
fn requests_pass_through_the_other_codec_unchanged() {
    let mut compared = 0;
    for sample in samples::all() {
        let (key, version) = (sample.key as i16, sample.version);
        let Some(again) = through_theirs(key, version, &sample.body) else {
            continue;
        };
        assert_eq!(again, sample.body, "{:?} version {version}", sample.key);
        let ours = tidemark_wire::reencode(key, version, again);
        assert_eq!(ours.expect("known key").expect("decodes"), sample.body);
        compared += 1;
    }
    assert!(compared > 120, "only {compared} requests were compared");
}
