//! Guarantee 3: durable before it is answered.

use super::*;

pub(crate) async fn what_was_acked_is_there_after_reopening(env: Env) -> Env {
    put(&env, "kept", "1").await;
    put(&env, "gone", "1").await;
    let mut tx = env.store.begin();
    tx.clear(&env.key("gone"));
    tx.set_versionstamped_value(&env.key("stamp"), b"");
    let before = tx.commit().await.unwrap();
    let env = env.reopen().await;
    assert_eq!(read(&env, "kept").await.as_deref(), Some("1"));
    assert_eq!(read(&env, "gone").await, None);
    let stamp = env.store.begin().get(&env.key("stamp"), SER).await;
    assert_eq!(stamp.unwrap().unwrap(), before.versionstamp[..]);
    let mut tx = env.store.begin();
    tx.set(&env.key("after"), b"");
    let after = tx.commit().await.unwrap();
    assert!(after.version > before.version);
    assert!(after.versionstamp > before.versionstamp);
    env
}
