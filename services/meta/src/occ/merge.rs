//! A range as a transaction sees it: the stored pairs with its own writes merged in.

use bytes::Bytes;

use super::storage::{StorageError, View};
use super::writes::{Op, WriteSet, apply_atomics, unreadable};
use crate::{KeyValue, MetaError, RangeRead};

/// The pairs a range read answers, in its order, `limit` at the most.
///
/// Allocates what it returns, so the caller bounds `limit` by what it can hold.
pub(crate) fn merged_range(
    view: &impl View,
    own: &WriteSet,
    read: &RangeRead,
) -> Result<Vec<KeyValue>, MetaError> {
    let mut stored = view
        .range(&read.begin, &read.end, read.reverse)
        .filter(|pair| !matches!(pair, Ok((key, _)) if own.is_cleared(key)))
        .peekable();
    let ops = own.ops_in(&read.begin, &read.end);
    let ops: Box<dyn Iterator<Item = (&Bytes, &Op)>> = if read.reverse {
        Box::new(ops.rev())
    } else {
        Box::new(ops)
    };
    let mut ops = ops.peekable();
    let mut pairs = Vec::new();
    while pairs.len() < read.limit {
        let of_store = stored.peek().map(|pair| pair.as_ref().map(|(key, _)| key));
        let of_store = of_store.transpose().map_err(StorageError::clone)?;
        match first(of_store, ops.peek().map(|(key, _)| *key), read.reverse) {
            First::Neither => break,
            First::Stored => pairs.extend(stored.next().transpose()?),
            First::Own => {
                let (key, op) = ops.next().expect("peeked");
                pairs.extend(value_of(op, None)?.map(|value| (key.clone(), value)));
            }
            First::Both => {
                let (key, op) = ops.next().expect("peeked");
                let below = stored.next().transpose()?.map(|(_, value)| value);
                pairs.extend(value_of(op, below)?.map(|value| (key.clone(), value)));
            }
        }
    }
    Ok(pairs)
}

enum First {
    Neither,
    Stored,
    Own,
    Both,
}

fn first(stored: Option<&Bytes>, own: Option<&Bytes>, reverse: bool) -> First {
    match (stored, own) {
        (None, None) => First::Neither,
        (Some(_), None) => First::Stored,
        (None, Some(_)) => First::Own,
        (Some(stored), Some(own)) if stored == own => First::Both,
        (Some(stored), Some(own)) if (stored < own) != reverse => First::Stored,
        (Some(_), Some(_)) => First::Own,
    }
}

fn value_of(op: &Op, stored: Option<Bytes>) -> Result<Option<Bytes>, MetaError> {
    match op {
        Op::Set(value) => Ok(Some(value.clone())),
        Op::Clear => Ok(None),
        Op::Atomic(atomics) => Ok(Some(apply_atomics(atomics, stored.as_deref()))),
        Op::Stamped(_) => Err(unreadable()),
    }
}
