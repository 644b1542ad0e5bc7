//! Guarantee 4: versions and versionstamps.

use super::*;

pub(crate) async fn versionstamps_grow_and_match_the_answer(env: Env) -> Env {
    let mut last = [0; 10];
    let mut last_version = 0;
    for n in 0..5 {
        let mut tx = env.store.begin();
        tx.set_versionstamped_key(&env.key("log/"), b"/tail", &[n]);
        tx.set_versionstamped_value(&env.key("newest"), b"at ");
        let committed = tx.commit().await.unwrap();
        assert!(committed.versionstamp > last);
        assert!(committed.version > last_version);
        (last, last_version) = (committed.versionstamp, committed.version);
        let newest = env.store.begin().get(&env.key("newest"), SER).await;
        assert_eq!(newest.unwrap().unwrap(), [&b"at "[..], &last].concat());
        let key = [&env.key("log/")[..], &last, b"/tail"].concat();
        let row = env.store.begin().get(&key, SER).await.unwrap();
        assert_eq!(row.unwrap(), vec![n]);
    }
    let rows = env.store.begin().range(over(&env, "log/", "log0")).await;
    let order: Vec<_> = rows.unwrap().iter().map(|(_, v)| v[0]).collect();
    assert_eq!(order, [0, 1, 2, 3, 4]);
    env
}

pub(crate) async fn a_versionstamped_write_is_not_readable_before_its_commit(env: Env) -> Env {
    let mut tx = env.store.begin();
    tx.set_versionstamped_value(&env.key("v"), b"");
    let value = tx.get(&env.key("v"), SER).await;
    assert!(matches!(value, Err(MetaError::Invalid(_))), "{value:?}");
    let mut tx = env.store.begin();
    tx.set_versionstamped_key(&env.key("k"), b"", b"");
    let rows = tx.range(over(&env, "a", "z")).await;
    assert!(matches!(rows, Err(MetaError::Invalid(_))), "{rows:?}");
    let elsewhere = tx.range(over(&env, "l", "z")).await;
    assert!(elsewhere.unwrap().is_empty());
    env
}

pub(crate) async fn a_later_clear_covers_a_versionstamped_key(env: Env) -> Env {
    let mut tx = env.store.begin();
    tx.set_versionstamped_key(&env.key("k"), b"", b"before");
    tx.clear_range(&env.key("a"), &env.key("z"));
    tx.set_versionstamped_key(&env.key("l"), b"", b"after");
    tx.commit().await.unwrap();
    let rows = env.store.begin().range(over(&env, "a", "z")).await.unwrap();
    let values: Vec<_> = rows.iter().map(|(_, v)| &v[..]).collect();
    assert_eq!(values, [b"after"]);
    env
}

pub(crate) async fn versions_grow_and_reads_never_go_back(env: Env) -> Env {
    let mut last = 0;
    for n in 0..10_u64 {
        let mut tx = env.store.begin();
        tx.set(&env.key("n"), &n.to_le_bytes());
        let written = tx.commit().await.unwrap().version;
        assert!(written > last);
        let mut reader = env.store.begin();
        let seen = reader.get(&env.key("n"), SER).await.unwrap().unwrap();
        assert_eq!(seen, n.to_le_bytes()[..]);
        let at = reader.commit().await.unwrap().version;
        assert!(at >= written, "read at {at} after a commit at {written}");
        last = at;
    }
    env
}
