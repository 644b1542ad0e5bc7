//! DeleteRecords: where a partition begins from now on (KIP-107, KIP-204; K3).

#[cfg(test)]
mod tests;

use tidemark_types::{Coded, ErrorCode, Offset, PartitionIndex};
use tidemark_wire::messages::delete_records_request::{DeleteRecordsPartition, DeleteRecordsTopic};
use tidemark_wire::messages::delete_records_response::{
    DeleteRecordsPartitionResult, DeleteRecordsTopicResult,
};
use tidemark_wire::messages::{DeleteRecordsRequestData, DeleteRecordsResponseData};

use crate::Ctx;
use crate::handler::{Call, Handler};
use crate::resolve;

/// Kafka's "up to the high watermark".
const HIGH_WATERMARK: i64 = -1;
/// Kafka's "no low watermark" beside an error.
const INVALID: i64 = -1;

pub(super) struct DeleteRecords;

impl Handler for DeleteRecords {
    type Request = DeleteRecordsRequestData;
    const MIN: i16 = 0;
    const MAX: i16 = 2;
    const NOTES: &'static str = "Compact-only topics answer POLICY_VIOLATION, as Kafka does.";

    async fn handle(
        ctx: &Ctx,
        call: &Call,
        request: DeleteRecordsRequestData,
    ) -> DeleteRecordsResponseData {
        let mut topics = Vec::with_capacity(request.topics.len().min(1024));
        for topic in request.topics {
            topics.push(deleted(ctx, call, topic).await);
        }
        DeleteRecordsResponseData {
            topics,
            ..Default::default()
        }
    }
}

async fn deleted(ctx: &Ctx, call: &Call, asked: DeleteRecordsTopic) -> DeleteRecordsTopicResult {
    let topic = resolve::data_by_name(ctx, call, asked.name.as_str()).await;
    let mut partitions = Vec::with_capacity(asked.partitions.len().min(1024));
    for partition in &asked.partitions {
        let outcome = match &topic {
            Ok(topic) => {
                let index = PartitionIndex(partition.partition_index);
                let before = Some(Offset(partition.offset));
                let before = before.filter(|offset| offset.0 != HIGH_WATERMARK);
                let deleted = ctx.log().delete_records(&call.tenant, topic, index, before);
                deleted.await.map_err(|e| e.code())
            }
            Err(error) => Err(*error),
        };
        partitions.push(result(partition, outcome));
    }
    DeleteRecordsTopicResult {
        partitions,
        name: asked.name,
        ..Default::default()
    }
}

fn result(
    asked: &DeleteRecordsPartition,
    outcome: Result<Offset, ErrorCode>,
) -> DeleteRecordsPartitionResult {
    let (low_watermark, error_code) = match outcome {
        Ok(offset) => (offset.0, 0),
        Err(error) => (INVALID, error.kafka()),
    };
    DeleteRecordsPartitionResult {
        partition_index: asked.partition_index,
        low_watermark,
        error_code,
        ..Default::default()
    }
}
