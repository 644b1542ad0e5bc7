//! Watches.

use super::*;

pub(crate) async fn a_watch_fires_when_the_value_changes(env: Env) -> Env {
    put(&env, "w", "1").await;
    let mut tx = env.store.begin();
    let mut watch = tx.watch(&env.key("w"));
    tx.commit().await.unwrap();
    put(&env, "other", "2").await;
    put(&env, "w", "1").await;
    assert!(watch.try_recv().is_err(), "nothing changed yet");
    let mut tx = env.store.begin();
    tx.clear_range(&env.key("a"), &env.key("z"));
    tx.commit().await.unwrap();
    watch.await.unwrap();

    // On a key that the same transaction sets.
    let mut tx = env.store.begin();
    tx.set(&env.key("w"), b"mine");
    let mut watch = tx.watch(&env.key("w"));
    tx.commit().await.unwrap();
    put(&env, "w", "mine").await;
    assert!(watch.try_recv().is_err(), "nothing changed yet");
    put(&env, "w", "theirs").await;
    watch.await.unwrap();
    env
}

pub(crate) async fn a_watch_armed_late_still_fires(env: Env) -> Env {
    put(&env, "w", "1").await;
    let mut tx = env.store.begin();
    get(&env, &mut *tx, "w", SER).await;
    let watch = tx.watch(&env.key("w"));
    put(&env, "w", "2").await;
    tx.commit().await.unwrap();
    watch.await.unwrap();
    env
}

pub(crate) async fn a_watch_without_a_commit_never_arms(env: Env) -> Env {
    let mut tx = env.store.begin();
    let watch = tx.watch(&env.key("w"));
    drop(tx);
    watch.await.expect_err("the engine gave up");
    env
}
