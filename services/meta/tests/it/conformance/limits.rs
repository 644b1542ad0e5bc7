//! Guarantee 5: FoundationDB's limits.

use std::time::Duration;

use super::*;

#[track_caller]
fn is_invalid<T: std::fmt::Debug>(outcome: Result<T, MetaError>, what: &str) {
    assert!(
        matches!(outcome, Err(MetaError::Invalid(_))),
        "{what}: {outcome:?}"
    );
}

pub(crate) async fn limits_are_enforced(env: Env) -> Env {
    let long = |len: usize| [env.key(""), vec![b'k'; len - env.prefix.len()]].concat();
    let mut tx = env.store.begin();
    tx.set(&long(10_000), &vec![0; 100_000]);
    tx.commit().await.expect("both are at their limit");

    let mut tx = env.store.begin();
    tx.set(&long(10_001), b"");
    is_invalid(tx.commit().await, "long key");

    let mut tx = env.store.begin();
    tx.set(&env.key("v"), &vec![0; 100_001]);
    is_invalid(tx.commit().await, "long value");
    assert_eq!(read(&env, "v").await, None);

    let value = vec![0; 99_000];
    for (count, fits) in [(99_u32, true), (102, false)] {
        let mut tx = env.store.begin();
        for n in 0..count {
            tx.set(&env.key(n.to_be_bytes()), &value);
        }
        let outcome = tx.commit().await;
        if fits {
            outcome.expect("9.8 MB are a transaction");
        } else {
            is_invalid(outcome, "10.1 MB");
        }
    }
    env
}

pub(crate) async fn wrong_calls_are_refused(env: Env) -> Env {
    let mut tx = env.store.begin();
    is_invalid(tx.range(over(&env, "b", "a")).await, "inverted range");
    let mut tx = env.store.begin();
    tx.set(b"\xff/mine", b"");
    is_invalid(tx.commit().await, "the store's own key");
    let mut tx = env.store.begin();
    tx.set(&env.key("a"), b"1");
    tx.clear_range(&env.key("b"), &env.key("a"));
    is_invalid(tx.commit().await, "inverted clear");
    assert_eq!(read(&env, "a").await, None, "all or none");
    env
}

pub(crate) async fn an_old_transaction_is_too_old(env: Env) -> Env {
    put(&env, "a", "1").await;
    let mut reader = env.store.begin();
    let mut writer = env.store.begin();
    let mut blind = env.store.begin();
    get(&env, &mut *reader, "a", SER).await;
    get(&env, &mut *writer, "a", SER).await;
    writer.set(&env.key("b"), b"");
    blind.set(&env.key("c"), b"");
    env.pass(Duration::from_secs(6)).await;
    // FoundationDB judges by the newest version, so there has to be one.
    put(&env, "tick", "").await;
    assert_eq!(reader.get(&env.key("a"), SER).await, Err(MetaError::TooOld));
    assert_eq!(writer.commit().await, Err(MetaError::TooOld));
    blind.commit().await.expect("it has read nothing");
    env
}
