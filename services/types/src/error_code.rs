//! The public error codes: one small set, each with one mapping to Kafka, one to HTTP and a hint.
//!
//! The same table, for readers outside the code, is `api/errors.toml`; a test keeps the two equal.
//! Kafka numbers are those of `org.apache.kafka.common.protocol.Errors`.

use std::fmt;

macro_rules! codes {
    ($($(#[$doc:meta])* $variant:ident = $name:literal, $kafka:literal, $http:literal, $retriable:literal, $hint:literal;)*) => {
        /// What went wrong, as a client sees it.
        #[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
        #[non_exhaustive]
        pub enum ErrorCode { $($(#[$doc])* #[doc = $hint] $variant,)* }

        impl ErrorCode {
            /// Every code, in the catalogue's order.
            pub const ALL: &'static [Self] = &[$(Self::$variant,)*];

            /// The stable name, as in problem documents and `api/errors.toml`.
            #[must_use]
            pub const fn name(self) -> &'static str {
                match self { $(Self::$variant => $name,)* }
            }

            /// The Kafka error number.
            #[must_use]
            pub const fn kafka(self) -> i16 {
                match self { $(Self::$variant => $kafka,)* }
            }

            /// The HTTP status.
            #[must_use]
            pub const fn http_status(self) -> u16 {
                match self { $(Self::$variant => $http,)* }
            }

            /// Whether the same request may succeed later without being changed.
            #[must_use]
            pub const fn is_retriable(self) -> bool {
                match self { $(Self::$variant => $retriable,)* }
            }

            /// What the caller should do.
            #[must_use]
            pub const fn hint(self) -> &'static str {
                match self { $(Self::$variant => $hint,)* }
            }
        }
    };
}

codes! {
    Unknown = "unknown", -1, 500, false, "An internal error. The server's log names its cause under the request id.";
    OffsetOutOfRange = "offset_out_of_range", 1, 416, false, "Read from an offset between log_start and the high watermark.";
    CorruptBatch = "corrupt_batch", 2, 400, false, "The record batch failed its CRC or structure check: encode it again and resend.";
    UnknownTopicOrPartition = "unknown_topic_or_partition", 3, 404, true, "Check the name and the partition count, or create the topic.";
    LeaderNotAvailable = "leader_not_available", 5, 503, true, "The partition's shard has no owner yet: retry after a backoff.";
    NotLeader = "not_leader", 6, 503, true, "Another gateway owns the partition: refresh the metadata and retry there.";
    RequestTimedOut = "request_timed_out", 7, 504, true, "The outcome was not known in time: retry.";
    MessageTooLarge = "message_too_large", 10, 413, false, "Send smaller batches or raise the topic's max.message.bytes.";
    OffsetMetadataTooLarge = "offset_metadata_too_large", 12, 400, false, "The commit's metadata string is over 4096 bytes: shorten it.";
    NetworkException = "network_exception", 13, 503, true, "The connection to another node broke: retry.";
    CoordinatorLoading = "coordinator_loading", 14, 503, true, "The coordinator is starting: retry after a backoff.";
    CoordinatorNotAvailable = "coordinator_not_available", 15, 503, true, "No coordinator yet: retry after a backoff.";
    NotCoordinator = "not_coordinator", 16, 503, true, "Another gateway coordinates this group: find the coordinator again.";
    InvalidTopicName = "invalid_topic_name", 17, 400, false, "Use 1 to 249 of the characters a-z A-Z 0-9 . _ - and neither \".\" nor \"..\".";
    InvalidRequiredAcks = "invalid_required_acks", 21, 400, false, "acks must be 0, 1 or -1 (all).";
    IllegalGeneration = "illegal_generation", 22, 409, false, "The group has a newer generation: rejoin it.";
    InconsistentGroupProtocol = "inconsistent_group_protocol", 23, 409, false, "The member shares no protocol type or assignor with the group: align partition.assignment.strategy.";
    InvalidGroupId = "invalid_group_id", 24, 400, false, "The group id must be 1 to 1024 bytes.";
    UnknownMemberId = "unknown_member_id", 25, 404, false, "The coordinator does not know this member: rejoin with an empty member id.";
    InvalidSessionTimeout = "invalid_session_timeout", 26, 400, false, "Set session.timeout.ms within the server's group.min and group.max session timeout.";
    RebalanceInProgress = "rebalance_in_progress", 27, 409, true, "The group is rebalancing: rejoin it.";
    InvalidCommitOffsetSize = "invalid_commit_offset_size", 28, 400, false, "The commit is too large to be stored: commit fewer partitions at once.";
    TopicAuthorizationFailed = "topic_authorization_failed", 29, 403, false, "Ask for an ACL on the topic.";
    GroupAuthorizationFailed = "group_authorization_failed", 30, 403, false, "Ask for an ACL on the group.";
    ClusterAuthorizationFailed = "cluster_authorization_failed", 31, 403, false, "Ask for an ACL on the cluster.";
    InvalidTimestamp = "invalid_timestamp", 32, 400, false, "The record's timestamp is outside the topic's message.timestamp bounds.";
    UnsupportedVersion = "unsupported_version", 35, 400, false, "Use an API version the server advertises.";
    TopicAlreadyExists = "topic_already_exists", 36, 409, false, "Choose another name or use the existing topic.";
    InvalidPartitions = "invalid_partitions", 37, 400, false, "The partition count must be at least 1, at most the server's limit, and may only grow.";
    InvalidReplicationFactor = "invalid_replication_factor", 38, 400, false, "Leave the replication factor at -1: the service replicates by durability class.";
    InvalidReplicaAssignment = "invalid_replica_assignment", 39, 400, false, "Leave out manual assignments: the service places partitions itself.";
    InvalidConfig = "invalid_config", 40, 400, false, "Check the configuration's name and value against the documented ones.";
    NotController = "not_controller", 41, 503, true, "Retry: every gateway can serve administration once it reaches the metadata store.";
    InvalidRequest = "invalid_request", 42, 400, false, "The request is malformed or contradicts itself; the message says where.";
    UnsupportedForMessageFormat = "unsupported_for_message_format", 43, 400, false, "Send record batches of message format v2 (Kafka 0.11 or later).";
    PolicyViolation = "policy_violation", 44, 403, false, "A limit of the service or the tenant forbids this; the message names it.";
    OutOfOrderSequence = "out_of_order_sequence", 45, 409, false, "A batch of this producer is missing before this one: the client must reset its producer.";
    DuplicateSequence = "duplicate_sequence", 46, 409, false, "The batch was appended before; its offset is no longer known.";
    InvalidProducerEpoch = "invalid_producer_epoch", 47, 409, false, "A newer producer took over this producer id: stop this one.";
    InvalidTxnState = "invalid_txn_state", 48, 409, false, "The transaction is not in a state that allows this.";
    TransactionalIdAuthorizationFailed = "transactional_id_authorization_failed", 53, 403, false, "Ask for an ACL on the transactional id.";
    StorageError = "storage_error", 56, 503, true, "The log's storage refused or damaged the data; operators find the range in the log and in `tidemark fsck`.";
    UnknownProducerId = "unknown_producer_id", 59, 409, false, "The producer's state has expired: the client must get a new producer id.";
    FetchSessionIdNotFound = "fetch_session_id_not_found", 70, 404, true, "Start a new fetch session.";
    InvalidFetchSessionEpoch = "invalid_fetch_session_epoch", 71, 409, true, "Start a new fetch session.";
    NonEmptyGroup = "non_empty_group", 68, 409, false, "Stop the group's members first.";
    GroupIdNotFound = "group_id_not_found", 69, 404, false, "Check the group id with `tidemark group list`.";
    FencedLeaderEpoch = "fenced_leader_epoch", 74, 409, true, "The client's leader epoch is old: refresh the metadata.";
    UnknownLeaderEpoch = "unknown_leader_epoch", 75, 503, true, "The client's leader epoch is newer than this gateway's: retry.";
    UnsupportedCompression = "unsupported_compression", 76, 400, false, "Use none, gzip, snappy, lz4 or zstd.";
    OffsetNotAvailable = "offset_not_available", 78, 503, true, "The end of the log is not proven yet: retry.";
    MemberIdRequired = "member_id_required", 79, 409, true, "Rejoin with the member id in this answer.";
    GroupMaxSizeReached = "group_max_size_reached", 81, 429, false, "The group is at group.max.size members.";
    FencedInstanceId = "fenced_instance_id", 82, 409, false, "Another member joined with this group.instance.id: stop one of the two.";
    GroupSubscribedToTopic = "group_subscribed_to_topic", 86, 409, false, "The group still subscribes to the topic: unsubscribe first.";
    InvalidRecord = "invalid_record", 87, 400, false, "A record breaks a rule of its topic; the message says which.";
    UnstableOffsetCommit = "unstable_offset_commit", 88, 503, true, "A transaction's offsets are still pending: retry.";
    ThrottlingQuotaExceeded = "throttling_quota_exceeded", 89, 429, true, "Wait as long as the answer says.";
    UnknownTopicId = "unknown_topic_id", 100, 404, true, "Refresh the metadata: the topic was deleted or made again.";
    InconsistentTopicId = "inconsistent_topic_id", 103, 409, true, "Refresh the metadata: the session's topic was made again.";
    ExpectedOffsetMismatch = "expected_offset_mismatch", 42, 412, false, "The partition's next offset is not the expected one: read what came between, then decide.";
    OutcomeUnknown = "outcome_unknown", 7, 504, true, "The append may or may not have happened: retry with the same idempotency key.";
    Overloaded = "overloaded", 7, 503, true, "The service is at a bound: retry after a backoff.";
    InProgress = "in_progress", 42, 409, true, "The same is being done for someone else already: wait until that is done.";
    UnsupportedMediaType = "unsupported_media_type", 42, 415, false, "Send one of the content types the API document lists for this route.";
    NotFound = "not_found", 42, 404, false, "No such route or object: see the API document.";
    MethodNotAllowed = "method_not_allowed", 42, 405, false, "Use a method that the API document lists for this route.";
}

impl fmt::Display for ErrorCode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// An error that has a public code.
pub trait Coded {
    /// The code that clients see.
    fn code(&self) -> ErrorCode;
}

#[cfg(test)]
mod tests {
    use super::*;

    /// `api/errors.toml` as this table would write it.
    fn rendered() -> String {
        let mut out = String::from(
            "# Every error a client can see. Written from services/types/src/error_code.rs; a test keeps the two equal.\n\
             # kafka: number in org.apache.kafka.common.protocol.Errors. retriable: the same request may succeed later.\n",
        );
        for c in ErrorCode::ALL {
            out += &format!(
                "\n[{}]\nkafka = {}\nhttp = {}\nretriable = {}\nhint = {:?}\n",
                c.name(),
                c.kafka(),
                c.http_status(),
                c.is_retriable(),
                c.hint()
            );
        }
        out
    }

    #[test]
    fn catalogue_in_api_equals_the_code() {
        let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../../api/errors.toml");
        if std::env::var_os("TIDEMARK_WRITE").is_some() {
            #[expect(
                clippy::disallowed_methods,
                reason = "a test that rewrites its fixture"
            )]
            std::fs::write(path, rendered()).expect("api/errors.toml is writable");
        }
        let found = std::fs::read_to_string(path).expect("api/errors.toml is in the tree");
        assert_eq!(
            found,
            rendered(),
            "run the test with TIDEMARK_WRITE=1 to rewrite api/errors.toml"
        );
    }

    #[test]
    fn names_are_unique() {
        let names: std::collections::BTreeSet<_> =
            ErrorCode::ALL.iter().map(|c| c.name()).collect();
        assert_eq!(names.len(), ErrorCode::ALL.len());
    }
}
