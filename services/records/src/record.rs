//! Records inside a batch, decoded one at a time.
//!
//! A record: varint length, attributes (one byte, unused), varlong timestamp delta, varint offset delta,
//! varint key length (−1: null) and key, value likewise, varint header count, and per header a key (never
//! null) and a value (may be null).

use bytes::Bytes;
use tidemark_types::Offset;

use crate::header::{BatchHeader, TimestampType};
use crate::varint::Cursor;
use crate::{Batch, BatchError};

/// A record header (KIP-82). Kafka calls the key a string; bytes that are not UTF-8 are kept as they are.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Header {
    /// Its name; may repeat within a record.
    pub key: Bytes,
    /// Its value.
    pub value: Option<Bytes>,
}

/// One record, absolute in offset and time. Its bytes share the memory of the decompressed batch.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Record {
    /// Offset in the partition.
    pub offset: Offset,
    /// Timestamp, ms since the Unix epoch; the batch's own under `LogAppendTime`.
    pub timestamp: i64,
    /// The key.
    pub key: Option<Bytes>,
    /// The value; `None` is a tombstone.
    pub value: Option<Bytes>,
    /// The headers, in order.
    pub headers: Vec<Header>,
}

/// All records of `batch`. `budget` bounds, in bytes, the decompressed records plus the structures returned.
///
/// # Errors
/// The first fault found: the result is all records or none.
pub fn records(batch: &Batch, budget: usize) -> Result<Vec<Record>, BatchError> {
    let records = batch.records(budget)?;
    let mut left = records.structures_budget;
    let mut out = Vec::new();
    for record in records {
        let record = record?;
        let cost = size_of::<Record>() + record.headers.len() * size_of::<Header>();
        left = left
            .checked_sub(cost)
            .ok_or(BatchError::OverBudget { budget })?;
        out.push(record);
    }
    Ok(out)
}

/// Checks that `data` is exactly `count` records whose offset deltas are 0, 1, 2 …, looking at nothing behind these.
pub(crate) fn check_deltas(data: &[u8], count: usize) -> Result<(), BatchError> {
    let mut all = Cursor::new(data);
    for index in 0..count {
        let left = all.remaining();
        let fault = |why: String| BatchError::Record { index, why };
        let length = all.varint();
        let body = length
            .and_then(|n| usize::try_from(n).ok())
            .and_then(|n| all.take(n));
        let body = body.ok_or_else(|| fault(format!("length {length:?} of {left} bytes left")))?;
        let mut body = Cursor::new(body);
        let delta = body
            .byte()
            .and_then(|_attributes| body.varlong())
            .and_then(|_time| body.varint());
        if delta.and_then(|d| usize::try_from(d).ok()) != Some(index) {
            return Err(fault(format!("offset delta {delta:?} is not {index}")));
        }
    }
    match all.remaining() {
        0 => Ok(()),
        left => Err(BatchError::Record {
            index: count,
            why: format!("{left} bytes after the last record"),
        }),
    }
}

/// An iterator over a batch's records; ends after the first fault.
///
/// Checked on the way: lengths, offset deltas (rising, within the header's span), and at the end that there
/// were as many records as the header says and no byte more.
#[derive(Clone, Debug)]
pub struct Records {
    data: Bytes,
    at: usize,
    next_index: usize,
    last_delta: i32,
    header: BatchHeader,
    budget: usize,
    structures_budget: usize,
    done: bool,
}

impl Records {
    pub(crate) fn open(batch: &Batch, budget: usize) -> Result<Self, BatchError> {
        let packed = batch.payload();
        let data = batch.compression().decompress(&packed, budget)?;
        let own = if batch.compression() == crate::Compression::None {
            0
        } else {
            data.len()
        };
        Ok(Self {
            data,
            at: 0,
            next_index: 0,
            last_delta: -1,
            header: *batch.header(),
            budget,
            structures_budget: budget - own,
            done: false,
        })
    }

    fn step(&mut self) -> Result<Option<Record>, BatchError> {
        let expected = usize::try_from(self.header.record_count).unwrap_or(0);
        let left = self.data.len() - self.at;
        if self.next_index == expected {
            if left > 0 {
                return Err(self.fault(format!("{left} bytes after the last record")));
            }
            return Ok(None);
        }
        let rest = self.data.slice(self.at..);
        let mut cursor = Cursor::new(&rest);
        let length = cursor.varint();
        let body = length
            .and_then(|n| usize::try_from(n).ok())
            .and_then(|n| cursor.take(n));
        let Some(body) = body else {
            return Err(self.fault(format!("length {length:?} of {left} bytes left")));
        };
        let body = rest.slice_ref(body);
        let (record, delta) = self.decode(&body)?;
        if delta <= self.last_delta || delta > self.header.last_offset_delta {
            return Err(self.fault(format!(
                "offset delta {delta} after {}, the last is {}",
                self.last_delta, self.header.last_offset_delta
            )));
        }
        self.at += left - cursor.remaining();
        self.last_delta = delta;
        self.next_index += 1;
        Ok(Some(record))
    }

    fn decode(&self, body: &Bytes) -> Result<(Record, i32), BatchError> {
        let mut cursor = Cursor::new(body);
        let cut = |what: &str| self.fault(format!("{what} cut short or out of range"));
        cursor.byte().ok_or_else(|| cut("attributes"))?;
        let time_delta = cursor.varlong().ok_or_else(|| cut("timestamp delta"))?;
        let delta = cursor.varint().ok_or_else(|| cut("offset delta"))?;
        let key = nullable(body, &mut cursor).ok_or_else(|| cut("key"))?;
        let value = nullable(body, &mut cursor).ok_or_else(|| cut("value"))?;
        let headers = self.headers(body, &mut cursor)?;
        if cursor.remaining() > 0 {
            return Err(self.fault(format!("{} bytes after its end", cursor.remaining())));
        }
        let timestamp = match self.header.attributes.timestamp_type() {
            TimestampType::LogAppendTime => self.header.max_timestamp,
            TimestampType::CreateTime => self.header.base_timestamp.wrapping_add(time_delta),
        };
        let record = Record {
            offset: Offset(self.header.base_offset.0.saturating_add(i64::from(delta))),
            timestamp,
            key,
            value,
            headers,
        };
        Ok((record, delta))
    }

    fn headers(&self, body: &Bytes, cursor: &mut Cursor<'_>) -> Result<Vec<Header>, BatchError> {
        let count = cursor.varint();
        // A header takes two bytes at least.
        let possible = cursor.remaining() / 2;
        let Some(count) = count
            .and_then(|n| usize::try_from(n).ok())
            .filter(|n| *n <= possible)
        else {
            return Err(self.fault(format!("{count:?} headers in {possible} possible")));
        };
        if count.saturating_mul(size_of::<Header>()) > self.structures_budget {
            return Err(BatchError::OverBudget {
                budget: self.budget,
            });
        }
        let mut headers = Vec::with_capacity(count);
        for _ in 0..count {
            let key = nullable(body, cursor).flatten().ok_or_else(|| {
                self.fault("header key null, cut short or out of range".to_owned())
            })?;
            let value = nullable(body, cursor)
                .ok_or_else(|| self.fault("header value cut short or out of range".to_owned()))?;
            headers.push(Header { key, value });
        }
        Ok(headers)
    }

    fn fault(&self, why: String) -> BatchError {
        BatchError::Record {
            index: self.next_index,
            why,
        }
    }
}

impl Iterator for Records {
    type Item = Result<Record, BatchError>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.done {
            return None;
        }
        let step = self.step();
        self.done = !matches!(step, Ok(Some(_)));
        step.transpose()
    }
}

/// Length-prefixed bytes; −1 is null, other negative lengths are a fault (`None`).
fn nullable(body: &Bytes, cursor: &mut Cursor<'_>) -> Option<Option<Bytes>> {
    match cursor.varint()? {
        -1 => Some(None),
        n => {
            let taken = cursor.take(usize::try_from(n).ok()?)?;
            Some(Some(body.slice_ref(taken)))
        }
    }
}
