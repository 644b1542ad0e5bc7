//! What is checked of a batch before it reaches the actor: everything that needs no state.

use bytes::Bytes;
use tidemark_records::Batch;
use tidemark_topics::{TimestampType, TopicConfig};

use crate::append::{AppendError, IdempotencyKey};
use crate::head::{KeyStamp, ProducerStamp};

/// Kafka's "no timestamp".
const NO_TIMESTAMP: i64 = -1;

/// Checks a batch against its topic's configuration and stamps the log's time when the topic wants it.
/// The whole-batch rules need its header only; uncompressed records are counted by their lengths; keys of compacted
/// topics need the records themselves.
pub(crate) fn admit(
    batch: Batch,
    config: &TopicConfig,
    now_ms: i64,
    decompress_bytes_max: usize,
) -> Result<Batch, AppendError> {
    batch.check_produced()?;
    let header = batch.header();
    if header.attributes.is_transactional() {
        return Err(AppendError::NoTransaction);
    }
    if header.size > config.max_message_bytes {
        return Err(AppendError::TooLarge {
            bytes: header.size,
            max: config.max_message_bytes,
        });
    }
    if config.cleanup_policy.compact {
        check_keys(&batch, decompress_bytes_max)?;
    } else {
        batch.check_records()?;
    }
    if config.message_timestamp_type == TimestampType::LogAppendTime {
        return Ok(batch.with_log_append_time(now_ms));
    }
    if header.attributes.timestamp_type() == tidemark_records::TimestampType::LogAppendTime {
        return Err(AppendError::InvalidRecord(
            "the batch claims the log's timestamps, its topic uses the producer's".to_owned(),
        ));
    }
    check_timestamps(&batch, config, now_ms)?;
    Ok(batch)
}

/// KIP-937: the header's first and largest timestamp stand for the records'.
fn check_timestamps(batch: &Batch, config: &TopicConfig, now_ms: i64) -> Result<(), AppendError> {
    let header = batch.header();
    let too_late = now_ms.saturating_add(config.message_timestamp_after_max_ms);
    if header.max_timestamp > too_late {
        return Err(AppendError::InvalidTimestamp {
            timestamp_ms: header.max_timestamp,
        });
    }
    let too_early = now_ms.saturating_sub(config.message_timestamp_before_max_ms);
    if header.base_timestamp != NO_TIMESTAMP && header.base_timestamp < too_early {
        return Err(AppendError::InvalidTimestamp {
            timestamp_ms: header.base_timestamp,
        });
    }
    Ok(())
}

fn check_keys(batch: &Batch, decompress_bytes_max: usize) -> Result<(), AppendError> {
    let (mut at, mut total) = (Vec::new(), 0);
    for (place, record) in (0..).zip(batch.records(decompress_bytes_max)?) {
        if record?.key.is_none() {
            total += 1;
            if at.len() < AppendError::RECORDS_NAMED_MAX {
                at.push(place);
            }
        }
    }
    if total == 0 {
        return Ok(());
    }
    Err(AppendError::RecordsWithoutKey { at, total })
}

/// The producer fields of an idempotent batch.
pub(crate) fn producer_stamp(batch: &Batch) -> Option<ProducerStamp> {
    let header = batch.header();
    (header.producer_id.is_some()).then_some(ProducerStamp {
        id: header.producer_id,
        epoch: header.producer_epoch,
        base_sequence: header.base_sequence,
    })
}

/// An idempotency key within its bounds, copied off the request it came in.
pub(crate) fn key_stamp(key: Option<IdempotencyKey>) -> Result<Option<KeyStamp>, AppendError> {
    let Some(IdempotencyKey { key, fingerprint }) = key else {
        return Ok(None);
    };
    if key.is_empty() || key.len() > IdempotencyKey::BYTES_MAX {
        return Err(AppendError::InvalidRequest(format!(
            "an idempotency key has 1 to {} bytes, this one {}",
            IdempotencyKey::BYTES_MAX,
            key.len()
        )));
    }
    Ok(Some(KeyStamp {
        key: Bytes::copy_from_slice(&key),
        fingerprint,
    }))
}
