//! What every engine promises, one test per promise. A test gives its engine back, to be closed.

mod conflicts;
mod durability;
mod limits;
mod model;
mod stamps;
mod transfers;
mod watches;
mod writes;

use bytes::Bytes;
use tidemark_meta::{KeyValue, MetaError, Mode, RangeRead, Transaction};

use crate::engines::Env;

pub(crate) use conflicts::*;
pub(crate) use durability::*;
pub(crate) use limits::*;
pub(crate) use model::*;
pub(crate) use stamps::*;
pub(crate) use transfers::*;
pub(crate) use watches::*;
pub(crate) use writes::*;

pub(crate) const SER: Mode = Mode::Serializable;
pub(crate) const SNAP: Mode = Mode::Snapshot;

/// Commits one set.
pub(crate) async fn put(env: &Env, name: &str, value: &str) {
    let mut tx = env.store.begin();
    tx.set(&env.key(name), value.as_bytes());
    tx.commit().await.expect("a blind write commits");
}

/// A key's value as text, in a transaction of its own.
pub(crate) async fn read(env: &Env, name: &str) -> Option<String> {
    get(env, &mut *env.store.begin(), name, SER).await
}

/// A key's value as text.
pub(crate) async fn get(
    env: &Env,
    tx: &mut dyn Transaction,
    name: &str,
    mode: Mode,
) -> Option<String> {
    let value = tx.get(&env.key(name), mode).await.expect("the key reads");
    value.map(|v| String::from_utf8(v.to_vec()).expect("text"))
}

/// A key's value as a counter, in a transaction of its own.
pub(crate) async fn count(env: &Env, name: &str) -> Option<u64> {
    let value = env.store.begin().get(&env.key(name), SER).await.unwrap();
    value.map(|v| u64::from_le_bytes(v[..].try_into().expect("eight bytes")))
}

/// A range read of `[begin, end)` in the test's own keys.
pub(crate) fn over(env: &Env, begin: &str, end: &str) -> RangeRead {
    RangeRead {
        begin: env.key(begin).into(),
        end: env.key(end).into(),
        limit: 1_000,
        reverse: false,
        mode: SER,
    }
}

/// Pairs as text, without the test's prefix.
pub(crate) fn text(env: &Env, pairs: &[KeyValue]) -> Vec<String> {
    let show = |b: &Bytes| String::from_utf8_lossy(b).into_owned();
    pairs
        .iter()
        .map(|(k, v)| format!("{}={}", show(&k.slice(env.prefix.len()..)), show(v)))
        .collect()
}

#[track_caller]
pub(crate) fn is_conflict<T: std::fmt::Debug>(outcome: Result<T, MetaError>) {
    assert_eq!(outcome.expect_err("a conflict"), MetaError::Conflict);
}
