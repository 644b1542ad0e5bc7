//! Requests and their answers, tied together by type.

use bytes::{Bytes, BytesMut};
use kacrab_protocol::generated as g;

use crate::{ApiKey, Held, WireError};

/// A request message.
pub trait Request: Held + Sized + Send + 'static {
    /// The API.
    const KEY: ApiKey;
    /// Its name, as Kafka's.
    const NAME: &'static str;
    /// The message that answers it.
    type Response: Response;

    /// Reads the message off the front of `body`.
    ///
    /// # Errors
    /// [`WireError::Malformed`] when the bytes do not follow the schema of `version`.
    fn read(body: &mut Bytes, version: i16) -> Result<Self, WireError>;

    /// Writes the message (what a client does; tests and the corpus use it).
    ///
    /// # Errors
    /// [`WireError::Encode`] when a field does not exist in `version`.
    fn write(&self, into: &mut BytesMut, version: i16) -> Result<(), WireError>;
}

/// An answer.
pub trait Response: Sized + Send + 'static {
    /// The API.
    const KEY: ApiKey;
    /// Its name, as Kafka's.
    const NAME: &'static str;

    /// Bytes that [`Response::write`] will write.
    ///
    /// # Errors
    /// [`WireError::Encode`] when a field does not exist in `version`.
    fn bytes(&self, version: i16) -> Result<usize, WireError>;

    /// Writes the message.
    ///
    /// # Errors
    /// [`WireError::Encode`] when a field does not exist in `version`.
    fn write(&self, into: &mut BytesMut, version: i16) -> Result<(), WireError>;

    /// Reads the message (what a client does; tests use it).
    ///
    /// # Errors
    /// [`WireError::Malformed`] when the bytes do not follow the schema of `version`.
    fn read(body: &mut Bytes, version: i16) -> Result<Self, WireError>;
}

/// Reads a whole request: `body` must end where the message does.
///
/// # Errors
/// [`WireError::Malformed`], or [`WireError::Trailing`] when bytes are left over.
pub fn decode<R: Request>(mut body: Bytes, version: i16) -> Result<R, WireError> {
    let request = R::read(&mut body, version)?;
    match body.len() {
        0 => Ok(request),
        left => Err(WireError::Trailing {
            what: R::NAME,
            left,
        }),
    }
}

/// Reads a request as a server does: drops what no handler knows of it, and says how many bytes it keeps beside
/// its frame. Bytes after the request are passed over, as Kafka passes over them: clients that send some exist.
///
/// # Errors
/// [`WireError::Malformed`].
pub fn decode_trimmed<R: Request>(mut body: Bytes, version: i16) -> Result<(R, usize), WireError> {
    let mut request = R::read(&mut body, version)?;
    let held = request.trim();
    Ok((request, held))
}

macro_rules! apis {
    ($($api:ident: $request:ident, $response:ident;)*) => {
        /// Reads a request of any API and writes it again: what fuzzing and the corpus run. `None` for keys that
        /// have no request type here.
        pub fn reencode(key: i16, version: i16, body: Bytes) -> Option<Result<Bytes, WireError>> {
            $(if key == ApiKey::$api as i16 {
                return Some(decode::<g::$request>(body, version).and_then(|request| {
                    let mut again = BytesMut::new();
                    Request::write(&request, &mut again, version)?;
                    Ok(again.freeze())
                }));
            })*
            None
        }

        /// Reads a message of any API, a request or an answer, and gives all its fields in `Debug`'s form and the bytes it is
        /// written as: for tests that compare codecs. `None` for keys that have no message types here.
        pub fn inspect(
            key: i16,
            version: i16,
            mut body: Bytes,
            is_request: bool,
        ) -> Option<Result<(String, Bytes), WireError>> {
            $(if key == ApiKey::$api as i16 {
                let mut again = BytesMut::new();
                let read = if is_request {
                    decode::<g::$request>(body, version).and_then(|message| {
                        Request::write(&message, &mut again, version)?;
                        Ok(format!("{message:?}"))
                    })
                } else {
                    <g::$response as Response>::read(&mut body, version).and_then(|message| {
                        Response::write(&message, &mut again, version)?;
                        Ok(format!("{message:?}"))
                    })
                };
                return Some(read.map(|fields| (fields, again.freeze())));
            })*
            None
        }

        /// Reads a request of any API as a handler gets it and gives it to `look` with the bytes it says it keeps, for tests
        /// that measure. `None` for keys that have no request type here.
        pub fn with_trimmed(
            key: i16,
            version: i16,
            body: Bytes,
            look: &mut dyn FnMut(&dyn std::any::Any, usize),
        ) -> Option<Result<(), WireError>> {
            $(if key == ApiKey::$api as i16 {
                return Some(
                    decode_trimmed::<g::$request>(body, version).map(|(r, held)| look(&r, held)),
                );
            })*
            None
        }

        $(
        impl Request for g::$request {
            const KEY: ApiKey = ApiKey::$api;
            const NAME: &'static str = stringify!($api);
            type Response = g::$response;

            fn read(body: &mut Bytes, version: i16) -> Result<Self, WireError> {
                g::$request::read(body, version)
                    .map_err(|e| WireError::malformed(stringify!($request), e))
            }

            fn write(&self, into: &mut BytesMut, version: i16) -> Result<(), WireError> {
                g::$request::write(self, into, version).map_err(|e| WireError::Encode {
                    what: stringify!($request),
                    version,
                    why: e.to_string(),
                })
            }
        }

        impl Response for g::$response {
            const KEY: ApiKey = ApiKey::$api;
            const NAME: &'static str = stringify!($api);

            fn bytes(&self, version: i16) -> Result<usize, WireError> {
                self.encoded_len(version).map_err(|e| WireError::Encode {
                    what: stringify!($response),
                    version,
                    why: e.to_string(),
                })
            }

            fn write(&self, into: &mut BytesMut, version: i16) -> Result<(), WireError> {
                g::$response::write(self, into, version).map_err(|e| WireError::Encode {
                    what: stringify!($response),
                    version,
                    why: e.to_string(),
                })
            }

            fn read(body: &mut Bytes, version: i16) -> Result<Self, WireError> {
                g::$response::read(body, version)
                    .map_err(|e| WireError::malformed(stringify!($response), e))
            }
        }
    )*};
}

apis! {
    Produce: ProduceRequestData, ProduceResponseData;
    Fetch: FetchRequestData, FetchResponseData;
    ListOffsets: ListOffsetsRequestData, ListOffsetsResponseData;
    Metadata: MetadataRequestData, MetadataResponseData;
    OffsetCommit: OffsetCommitRequestData, OffsetCommitResponseData;
    OffsetFetch: OffsetFetchRequestData, OffsetFetchResponseData;
    FindCoordinator: FindCoordinatorRequestData, FindCoordinatorResponseData;
    JoinGroup: JoinGroupRequestData, JoinGroupResponseData;
    Heartbeat: HeartbeatRequestData, HeartbeatResponseData;
    LeaveGroup: LeaveGroupRequestData, LeaveGroupResponseData;
    SyncGroup: SyncGroupRequestData, SyncGroupResponseData;
    DescribeGroups: DescribeGroupsRequestData, DescribeGroupsResponseData;
    ListGroups: ListGroupsRequestData, ListGroupsResponseData;
    ApiVersions: ApiVersionsRequestData, ApiVersionsResponseData;
    CreateTopics: CreateTopicsRequestData, CreateTopicsResponseData;
    DeleteTopics: DeleteTopicsRequestData, DeleteTopicsResponseData;
    DeleteRecords: DeleteRecordsRequestData, DeleteRecordsResponseData;
    InitProducerId: InitProducerIdRequestData, InitProducerIdResponseData;
    OffsetForLeaderEpoch: OffsetForLeaderEpochRequestData, OffsetForLeaderEpochResponseData;
    DescribeConfigs: DescribeConfigsRequestData, DescribeConfigsResponseData;
    AlterConfigs: AlterConfigsRequestData, AlterConfigsResponseData;
    CreatePartitions: CreatePartitionsRequestData, CreatePartitionsResponseData;
    DeleteGroups: DeleteGroupsRequestData, DeleteGroupsResponseData;
    IncrementalAlterConfigs: IncrementalAlterConfigsRequestData, IncrementalAlterConfigsResponseData;
    OffsetDelete: OffsetDeleteRequestData, OffsetDeleteResponseData;
    DescribeCluster: DescribeClusterRequestData, DescribeClusterResponseData;
    ListConfigResources: ListConfigResourcesRequestData, ListConfigResourcesResponseData;
    DescribeTopicPartitions: DescribeTopicPartitionsRequestData, DescribeTopicPartitionsResponseData;
}
