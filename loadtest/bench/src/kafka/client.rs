//! One request after the other: topics, metadata, producer ids, offsets.

use std::collections::BTreeMap;
use std::time::Duration;

use tidemark_runtime::{Clock, Tasks};
use tidemark_wire::Request;
use tidemark_wire::messages as m;
use tokio::sync::mpsc;

use super::conn::{Arrived, Connection, decode};
use crate::LoadError;
use crate::layout::{Layout, Slot};

/// How long a call may take.
const CALL_TIMEOUT: Duration = Duration::from_secs(30);
/// Topics and partitions asked for in one request: Kafka's controller refuses 10,000 partitions at once.
const TOPICS_PER_REQUEST: usize = 100;
const PARTITIONS_PER_REQUEST: usize = 2_000;
const TOPIC_ALREADY_EXISTS: i16 = 36;

/// Where the partitions' leaders are.
#[derive(Clone, Debug, Default)]
pub struct Leaders {
    /// The leader of each slot.
    pub of: Vec<i32>,
    /// Addresses by node.
    pub nodes: BTreeMap<i32, String>,
}

/// A client for calls that are made one at a time.
#[derive(Debug)]
pub struct Client {
    connection: Connection,
    arrived: mpsc::Receiver<Arrived>,
}

impl Client {
    /// Connects.
    ///
    /// # Errors
    /// [`LoadError::Connect`].
    pub async fn connect(address: &str, clock: &Clock, tasks: &Tasks) -> Result<Self, LoadError> {
        let (to, arrived) = Connection::queue();
        let connection = Connection::open(address, 0, to, clock, tasks).await?;
        Ok(Self {
            connection,
            arrived,
        })
    }

    /// Calls and waits for the answer.
    ///
    /// # Errors
    /// When the connection ends, the answer makes no sense, or none comes within 30 s.
    pub async fn call<R: Request>(
        &mut self,
        message: &R,
        version: i16,
    ) -> Result<R::Response, LoadError> {
        let id = self.connection.send(message, version).await?;
        let what = format!("call {}", R::NAME);
        let arrived = tokio::time::timeout(CALL_TIMEOUT, self.arrived.recv()).await;
        let Ok(arrived) = arrived else {
            return Err(LoadError::Late {
                what,
                seconds: CALL_TIMEOUT.as_secs(),
            });
        };
        let came = arrived.map_or_else(|| Err("the connection ended".to_owned()), |a| a.what);
        let (answered, body) = came.map_err(|why| LoadError::broken(&what, why))?;
        if answered != id {
            return Err(LoadError::broken(what, "the answer is another request's"));
        }
        decode::<R::Response>(body, version)
    }

    /// Makes topics; those that exist already are kept.
    ///
    /// # Errors
    /// The first refusal.
    pub async fn create_topics(
        &mut self,
        names: &[String],
        partitions: u32,
        replication: i16,
    ) -> Result<(), LoadError> {
        let num_partitions = i32::try_from(partitions).unwrap_or(i32::MAX);
        let fit = PARTITIONS_PER_REQUEST / (partitions as usize).max(1);
        for names in names.chunks(fit.clamp(1, TOPICS_PER_REQUEST)) {
            let topic = |name: &String| m::create_topics_request::CreatableTopic {
                name: name.clone().into(),
                num_partitions,
                replication_factor: replication,
                ..Default::default()
            };
            let request = m::CreateTopicsRequestData {
                topics: names.iter().map(topic).collect(),
                timeout_ms: 30_000,
                ..Default::default()
            };
            for answer in self.call(&request, 5).await?.topics {
                if !matches!(answer.error_code, 0 | TOPIC_ALREADY_EXISTS) {
                    let message = answer.error_message.map(|m| format!(": {m}"));
                    return Err(refused("create topic", answer.error_code, message));
                }
            }
        }
        Ok(())
    }

    /// Finds the leaders, waiting for those that are not chosen yet.
    ///
    /// # Errors
    /// When a partition has no leader within 30 s.
    pub async fn leaders(&mut self, layout: &Layout) -> Result<Leaders, LoadError> {
        let deadline = Clock::system().now() + CALL_TIMEOUT;
        loop {
            let found = self.leaders_now(layout).await?;
            if let Some(leaders) = found {
                return Ok(leaders);
            }
            if Clock::system().now() > deadline {
                return Err(LoadError::Late {
                    what: "wait for the leaders of all partitions".to_owned(),
                    seconds: CALL_TIMEOUT.as_secs(),
                });
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    }

    async fn leaders_now(&mut self, layout: &Layout) -> Result<Option<Leaders>, LoadError> {
        let topic = |name: &String| m::metadata_request::MetadataRequestTopic {
            name: Some(name.clone().into()),
            ..Default::default()
        };
        let request = m::MetadataRequestData {
            topics: Some(layout.topics().iter().map(topic).collect()),
            allow_auto_topic_creation: false,
            ..Default::default()
        };
        let answer = self.call(&request, 9).await?;
        let mut leaders = Leaders {
            of: vec![-1; layout.slots()],
            nodes: BTreeMap::new(),
        };
        for node in answer.brokers {
            leaders
                .nodes
                .insert(node.node_id, format!("{}:{}", node.host, node.port));
        }
        for topic in answer.topics {
            let name = topic.name.as_ref().map_or("", |n| n.as_str());
            let Some(at) = layout.topics().iter().position(|t| t == name) else {
                continue;
            };
            for partition in topic.partitions {
                let index = usize::try_from(partition.partition_index).unwrap_or(usize::MAX);
                let known = leaders.nodes.contains_key(&partition.leader_id);
                if index < layout.partitions() as usize && partition.error_code == 0 && known {
                    leaders.of[at * layout.partitions() as usize + index] = partition.leader_id;
                }
            }
        }
        Ok((!leaders.of.contains(&-1)).then_some(leaders))
    }

    /// A producer id and its epoch.
    ///
    /// # Errors
    /// When it is refused.
    pub async fn producer_id(&mut self) -> Result<(i64, i16), LoadError> {
        let request = m::InitProducerIdRequestData {
            transaction_timeout_ms: i32::MAX,
            producer_id: -1,
            producer_epoch: -1,
            ..Default::default()
        };
        // Kafka answers "coordinator loading" until it has its first block of ids.
        for _ in 0..100 {
            let answer = self.call(&request, 4).await?;
            match answer.error_code {
                0 => return Ok((answer.producer_id, answer.producer_epoch)),
                14..=16 => tokio::time::sleep(Duration::from_millis(50)).await,
                code => return Err(refused("get a producer id", code, None)),
            }
        }
        Err(refused("get a producer id", 14, None))
    }

    /// The offset behind the last record of each slot.
    ///
    /// # Errors
    /// When a partition's is refused.
    pub async fn ends(&mut self, layout: &Layout, slots: &[Slot]) -> Result<Vec<i64>, LoadError> {
        let mut ends = Vec::with_capacity(slots.len());
        for slot in slots {
            let (topic, index) = layout.place(*slot);
            let partition = m::list_offsets_request::ListOffsetsPartition {
                partition_index: index,
                current_leader_epoch: -1,
                timestamp: -1,
                ..Default::default()
            };
            let request = m::ListOffsetsRequestData {
                replica_id: -1,
                topics: vec![m::list_offsets_request::ListOffsetsTopic {
                    name: layout.topics()[topic].clone().into(),
                    partitions: vec![partition],
                    ..Default::default()
                }],
                ..Default::default()
            };
            let answer = self.call(&request, 6).await?;
            let found = answer.topics.first().and_then(|t| t.partitions.first());
            let found =
                found.ok_or_else(|| LoadError::broken("list offsets", "an empty answer"))?;
            if found.error_code != 0 {
                return Err(refused("list offsets", found.error_code, None));
            }
            ends.push(found.offset);
        }
        Ok(ends)
    }

    /// The address of a group's coordinator; `None` while there is none yet.
    ///
    /// # Errors
    /// When it is refused.
    pub async fn coordinator(&mut self, group: &str) -> Result<Option<String>, LoadError> {
        let request = m::FindCoordinatorRequestData {
            coordinator_keys: vec![group.to_owned().into()],
            ..Default::default()
        };
        let answer = self.call(&request, 4).await?;
        let found = answer.coordinators.into_iter().next();
        let found =
            found.ok_or_else(|| LoadError::broken("find coordinator", "an empty answer"))?;
        match found.error_code {
            0 => Ok(Some(format!("{}:{}", found.host, found.port))),
            14..=16 => Ok(None),
            code => Err(refused("find coordinator", code, None)),
        }
    }

    /// Commits offsets as a simple consumer, without membership.
    ///
    /// # Errors
    /// When one is refused.
    pub async fn commit(
        &mut self,
        group: &str,
        layout: &Layout,
        offsets: &[(Slot, i64)],
    ) -> Result<(), LoadError> {
        use m::offset_commit_request::{OffsetCommitRequestPartition, OffsetCommitRequestTopic};
        let mut topics: BTreeMap<usize, Vec<OffsetCommitRequestPartition>> = BTreeMap::new();
        for (slot, offset) in offsets {
            let (topic, index) = layout.place(*slot);
            topics
                .entry(topic)
                .or_default()
                .push(OffsetCommitRequestPartition {
                    partition_index: index,
                    committed_offset: *offset,
                    committed_leader_epoch: -1,
                    ..Default::default()
                });
        }
        let topics = topics
            .into_iter()
            .map(|(topic, partitions)| OffsetCommitRequestTopic {
                name: layout.topics()[topic].clone().into(),
                partitions,
                ..Default::default()
            });
        let request = m::OffsetCommitRequestData {
            group_id: group.to_owned().into(),
            generation_id_or_member_epoch: -1,
            topics: topics.collect(),
            ..Default::default()
        };
        let answer = self.call(&request, 8).await?;
        let codes = answer
            .topics
            .iter()
            .flat_map(|t| &t.partitions)
            .map(|p| p.error_code);
        // A coordinator that is still loading takes the next commit.
        match codes.into_iter().find(|c| !matches!(c, 0 | 14..=16)) {
            Some(code) => Err(refused("commit offsets", code, None)),
            None => Ok(()),
        }
    }
}

/// A refusal with Kafka's number.
pub(crate) fn refused(what: &str, code: i16, message: Option<String>) -> LoadError {
    LoadError::Refused {
        what: what.to_owned(),
        code: i32::from(code),
        message: message.unwrap_or_default(),
    }
}

/// Says hello, and holds the connection open: an idle client.
///
/// # Errors
/// When the server does not answer.
pub async fn greet(address: &str, clock: &Clock, tasks: &Tasks) -> Result<Client, LoadError> {
    let mut client = Client::connect(address, clock, tasks).await?;
    let hello = m::ApiVersionsRequestData::default();
    let answer = client.call(&hello, 0).await?;
    if answer.error_code != 0 {
        return Err(refused("ask for API versions", answer.error_code, None));
    }
    Ok(client)
}
