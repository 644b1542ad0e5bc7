//! What every engine promises, one test per promise (the numbers are those of `BlobStore`'s guarantees).

mod listing;

use std::time::Duration;

use bytes::Bytes;
use futures_util::future::join_all;
use tidemark_blob::{BlobError, BlobErrorKind, Body, Put, PutId, PutMode};

use crate::engines::{Env, key};

pub(crate) use listing::*;

/// Bytes that differ from their neighbours.
pub(crate) fn pattern(len: usize, seed: u8) -> Bytes {
    let byte = |n: usize| u8::try_from(n * 31 % 251).unwrap() ^ seed;
    (0..len).map(byte).collect::<Vec<_>>().into()
}

async fn whole(env: &Env, name: &str) -> Bytes {
    let bytes = env.store.head(&key(name)).await.unwrap().bytes;
    env.store.get(&key(name), 0..bytes).await.unwrap()
}

/// 2.
pub(crate) async fn what_was_put_is_read_back(env: Env) {
    env.put("l0/00/a", "some bytes").await;
    assert_eq!(env.store.head(&key("l0/00/a")).await.unwrap().bytes, 10);
    assert_eq!(whole(&env, "l0/00/a").await, "some bytes");
}

/// 1, 2: whatever its chunks are.
pub(crate) async fn any_body_is_read_back(env: Env) {
    let empty = Body::default();
    env.put("empty", empty).await;
    assert_eq!(env.store.head(&key("empty")).await.unwrap().bytes, 0);
    let chunks: Vec<Bytes> = (0..3_000)
        .map(|n| pattern(n % 7, u8::try_from(n % 256).unwrap()))
        .collect();
    let all = chunks.concat();
    env.put("chunks", chunks).await;
    assert_eq!(whole(&env, "chunks").await, all);
    let every_byte: Vec<u8> = (0..=255).collect();
    env.put("every-byte", Bytes::from(every_byte.clone())).await;
    assert_eq!(whole(&env, "every-byte").await, every_byte);
}

/// 4.
pub(crate) async fn ranges_are_exact_or_refused(env: Env) {
    let body = pattern(1_000, 0);
    env.put("a", body.clone()).await;
    for (start, end) in [
        (0, 1),
        (0, 1_000),
        (1, 2),
        (500, 1_000),
        (999, 1_000),
        (123, 456),
    ] {
        let got = env.store.get(&key("a"), start..end).await.unwrap();
        let wanted = body.slice(usize::try_from(start).unwrap()..usize::try_from(end).unwrap());
        assert_eq!(got, wanted, "{start}..{end}");
    }
    for (start, end) in [
        (0, 1_001),
        (999, 1_001),
        (1_000, 1_001),
        (5_000, 5_001),
        (7, 7),
        (9, 3),
        (u64::MAX - 1, u64::MAX),
    ] {
        let error = env.store.get(&key("a"), start..end).await.unwrap_err();
        assert_eq!(
            error.kind(),
            BlobErrorKind::Invalid,
            "{start}..{end}: {error}"
        );
    }
}

/// 2.
pub(crate) async fn absent_objects_are_not_found(env: Env) {
    env.put("there/a", "x").await;
    for name in ["absent", "there/b", "there/a2", "elsewhere/a/b/c"] {
        let error = env.store.head(&key(name)).await.unwrap_err();
        assert_eq!(
            error.kind(),
            BlobErrorKind::NotFound,
            "head {name}: {error}"
        );
        let error = env.store.get(&key(name), 0..1).await.unwrap_err();
        assert_eq!(error.kind(), BlobErrorKind::NotFound, "get {name}: {error}");
    }
}

/// Puts, again while the engine says that it cannot tell: some servers take an object away for a moment while they put
/// another, and an engine tries once.
async fn put_until_told(env: &Env, put: Put) -> Result<(), BlobError> {
    const TRIES: u32 = 50;
    for _ in 1..TRIES {
        match env.store.put(put.clone()).await {
            Err(e) if e.kind() == BlobErrorKind::Unavailable => {
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
            told => return told,
        }
    }
    env.store.put(put).await
}

/// 3.
pub(crate) async fn a_conditional_put_has_one_winner(env: Env) {
    let bodies: Vec<Bytes> = (0..16).map(|n| pattern(100, n)).collect();
    let puts = bodies
        .iter()
        .map(|body| put_until_told(&env, env.new_put("race/a", body.clone())));
    let outcomes = join_all(puts).await;
    let winners: Vec<usize> = (0..16).filter(|n| outcomes[*n].is_ok()).collect();
    assert_eq!(winners.len(), 1, "{outcomes:?}");
    assert_eq!(whole(&env, "race/a").await, bodies[winners[0]]);
    for error in outcomes.into_iter().filter_map(Result::err) {
        assert_eq!(error.kind(), BlobErrorKind::AlreadyExists, "{error}");
    }
}

/// 3.
pub(crate) async fn a_repeated_put_knows_its_own_object(env: Env) {
    let put = env.new_put("a", "mine");
    let together = join_all((0..4).map(|_| put_until_told(&env, put.clone()))).await;
    assert!(together.iter().all(Result::is_ok), "{together:?}");
    env.store.put(put.clone()).await.unwrap();
    let mut other = put;
    other.id = PutId(other.id.0 ^ 1);
    let error = env.store.put(other).await.unwrap_err();
    assert_eq!(error.kind(), BlobErrorKind::AlreadyExists);
    assert_eq!(whole(&env, "a").await, "mine");
}

/// 1: a reader sees the old or the new object, never a mixture.
pub(crate) async fn replacing_is_whole(env: Env) {
    env.put("a", pattern(10_000, 0)).await;
    let writer = async {
        for seed in 1..6 {
            env.store
                .put(env.new_put("a", pattern(10_000, seed)).replacing())
                .await
                .unwrap();
        }
    };
    let reader = async {
        for _ in 0..10 {
            let seen = match env.store.get(&key("a"), 0..10_000).await {
                // A server may answer one version's bytes with another's checksum: that is noticed.
                Err(error) if error.kind() == BlobErrorKind::Corrupt => continue,
                other => other.unwrap(),
            };
            assert!(
                (0..6).any(|seed| seen == pattern(10_000, seed)),
                "a mixture"
            );
        }
    };
    tokio::join!(writer, reader);
    assert_eq!(whole(&env, "a").await, pattern(10_000, 5));
    env.store
        .put(env.new_put("new", "made by a replacing put").replacing())
        .await
        .unwrap();
    assert_eq!(whole(&env, "new").await, "made by a replacing put");
}

/// 5.
pub(crate) async fn deleting_is_idempotent(env: Env) {
    env.store.delete(&key("never/was")).await.unwrap();
    for name in ["d/a", "d/b", "d/c"] {
        env.put(name, "x").await;
    }
    env.store.delete(&key("d/a")).await.unwrap();
    env.store.delete(&key("d/a")).await.unwrap();
    env.store
        .delete_many(&[key("d/a"), key("d/b"), key("absent")])
        .await
        .unwrap();
    env.store.delete_many(&[]).await.unwrap();
    for name in ["d/a", "d/b"] {
        let error = env.store.head(&key(name)).await.unwrap_err();
        assert_eq!(error.kind(), BlobErrorKind::NotFound);
    }
    assert_eq!(whole(&env, "d/c").await, "x");
    env.put("d/a", "again").await;
    assert_eq!(whole(&env, "d/a").await, "again");
}

/// 7.
pub(crate) async fn impossible_calls_are_refused(env: Env) {
    env.put("a", "x").await;
    let over = tidemark_types::limits::BLOB_GET_BYTES_MAX as u64 + 1;
    let error = env.store.get(&key("a"), 0..over).await.unwrap_err();
    assert_eq!(error.kind(), BlobErrorKind::Invalid);
    for prefix in ["..", "a/../b", "/.x", "a b", "ä"] {
        let error = env
            .store
            .list(tidemark_blob::List::prefix(prefix))
            .await
            .unwrap_err();
        assert_eq!(error.kind(), BlobErrorKind::Invalid, "{prefix}");
    }
}

/// 1, 4: over any engine's bound for one request, in chunks that do not align with its parts.
pub(crate) async fn a_large_object_survives(env: Env) {
    let chunk = pattern(1_234_567, 9);
    let chunks = vec![chunk.clone(); 31];
    let put = env.new_put("large/a", chunks);
    let bytes = put.body.len();
    env.store.put(put.clone()).await.unwrap();
    assert_eq!(env.store.head(&key("large/a")).await.unwrap().bytes, bytes);
    for n in [0, 6, 7, 13, 14, 27, 30] {
        let start = n * chunk.len() as u64;
        let got = env
            .store
            .get(&key("large/a"), start..start + chunk.len() as u64)
            .await
            .unwrap();
        assert!(got == chunk, "chunk {n} differs");
    }
    env.store.put(put.clone()).await.unwrap();
    let mut other = env.new_put("large/a", put.body);
    assert_eq!(other.mode, PutMode::IfAbsent);
    other.id = PutId(7);
    let error = env.store.put(other).await.unwrap_err();
    assert_eq!(error.kind(), BlobErrorKind::AlreadyExists);
}
