//! Guarantees 1 and 2: isolation, and conflicts that are exact.

use super::*;

pub(crate) async fn reads_see_one_version_and_never_what_is_uncommitted(env: Env) -> Env {
    put(&env, "a", "1").await;
    let mut reader = env.store.begin();
    assert_eq!(
        get(&env, &mut *reader, "a", SER).await.as_deref(),
        Some("1")
    );
    let mut writer = env.store.begin();
    writer.set(&env.key("a"), b"2");
    writer.set(&env.key("b"), b"2");
    assert_eq!(read(&env, "a").await.as_deref(), Some("1"), "dirty read");
    writer.commit().await.unwrap();
    assert_eq!(
        get(&env, &mut *reader, "a", SER).await.as_deref(),
        Some("1")
    );
    assert_eq!(get(&env, &mut *reader, "b", SER).await, None);
    let pairs = reader.range(over(&env, "a", "z")).await.unwrap();
    assert_eq!(text(&env, &pairs), ["a=1"]);
    assert_eq!(read(&env, "b").await.as_deref(), Some("2"));
    env
}

pub(crate) async fn a_lost_update_is_prevented(env: Env) -> Env {
    put(&env, "n", "1").await;
    let (mut first, mut second) = (env.store.begin(), env.store.begin());
    for tx in [&mut first, &mut second] {
        assert_eq!(get(&env, &mut **tx, "n", SER).await.as_deref(), Some("1"));
        tx.set(&env.key("n"), b"2");
    }
    first.commit().await.unwrap();
    is_conflict(second.commit().await);
    env
}

pub(crate) async fn write_skew_is_prevented(env: Env) -> Env {
    put(&env, "x", "on").await;
    put(&env, "y", "on").await;
    let (mut first, mut second) = (env.store.begin(), env.store.begin());
    for (tx, off) in [(&mut first, "x"), (&mut second, "y")] {
        let pairs = tx.range(over(&env, "x", "z")).await.unwrap();
        assert_eq!(text(&env, &pairs), ["x=on", "y=on"]);
        tx.set(&env.key(off), b"off");
    }
    first.commit().await.unwrap();
    is_conflict(second.commit().await);
    env
}

pub(crate) async fn a_phantom_conflicts(env: Env) -> Env {
    let mut tx = env.store.begin();
    assert!(tx.range(over(&env, "a", "m")).await.unwrap().is_empty());
    tx.set(&env.key("z"), b"");
    put(&env, "c", "new").await;
    is_conflict(tx.commit().await);
    env
}

pub(crate) async fn a_limited_range_conflicts_only_with_what_it_returned(env: Env) -> Env {
    for name in ["a", "c", "e", "g"] {
        put(&env, name, "").await;
    }
    // (reverse, written meanwhile, conflicts): the limit of 2 returns a and c, or g and e.
    let cases = [
        (false, "b", true),
        (false, "c", true),
        (false, "d", false),
        (false, "e", false),
        (true, "f", true),
        (true, "e", true),
        (true, "d", false),
        (true, "c", false),
    ];
    for (reverse, written, conflicts) in cases {
        let mut tx = env.store.begin();
        let mut read = over(&env, "a", "z");
        read.limit = 2;
        read.reverse = reverse;
        assert_eq!(tx.range(read).await.unwrap().len(), 2);
        tx.set(&env.key("zz"), b"");
        let mut other = env.store.begin();
        other.set(&env.key(written), b"again");
        other.commit().await.unwrap();
        let outcome = tx.commit().await;
        assert_eq!(outcome.is_err(), conflicts, "reverse {reverse}, {written}");
        let mut tidy = env.store.begin();
        tidy.clear(&env.key("b"));
        tidy.clear(&env.key("d"));
        tidy.clear(&env.key("f"));
        tidy.commit().await.unwrap();
    }
    env
}

pub(crate) async fn neighbours_do_not_conflict(env: Env) -> Env {
    put(&env, "k", "1").await;
    let mut tx = env.store.begin();
    get(&env, &mut *tx, "k", SER).await;
    tx.set(&env.key("out"), b"");
    put(&env, "j", "").await;
    put(&env, "k\0", "").await;
    tx.commit().await.unwrap();
    env
}

pub(crate) async fn clearing_a_range_conflicts_with_reads_in_it(env: Env) -> Env {
    put(&env, "b", "1").await;
    for (read, conflicts) in [("a", true), ("b", true), ("c", false)] {
        let mut tx = env.store.begin();
        get(&env, &mut *tx, read, SER).await;
        tx.set(&env.key("out"), b"");
        let mut other = env.store.begin();
        other.clear_range(&env.key("a"), &env.key("c"));
        other.commit().await.unwrap();
        assert_eq!(tx.commit().await.is_err(), conflicts, "{read}");
    }
    env
}

pub(crate) async fn snapshot_reads_do_not_conflict(env: Env) -> Env {
    put(&env, "a", "1").await;
    let mut tx = env.store.begin();
    get(&env, &mut *tx, "a", SNAP).await;
    let mut read = over(&env, "a", "z");
    read.mode = SNAP;
    tx.range(read).await.unwrap();
    tx.set(&env.key("out"), b"");
    put(&env, "a", "2").await;
    assert_eq!(get(&env, &mut *tx, "a", SNAP).await.as_deref(), Some("1"));
    tx.commit().await.unwrap();
    env
}

pub(crate) async fn transactions_without_writes_never_conflict(env: Env) -> Env {
    put(&env, "a", "1").await;
    let mut tx = env.store.begin();
    get(&env, &mut *tx, "a", SER).await;
    tx.add_read_conflict(&env.key("b"), &env.key("c"));
    put(&env, "a", "2").await;
    put(&env, "b", "2").await;
    tx.commit().await.unwrap();
    env
}

pub(crate) async fn blind_writes_never_conflict(env: Env) -> Env {
    let mut tx = env.store.begin();
    tx.set(&env.key("a"), b"mine");
    tx.atomic_add(&env.key("n"), 1);
    tx.clear(&env.key("c"));
    put(&env, "a", "theirs").await;
    put(&env, "c", "theirs").await;
    tx.commit().await.unwrap();
    assert_eq!(read(&env, "a").await.as_deref(), Some("mine"));
    assert_eq!(read(&env, "c").await, None);
    env
}

pub(crate) async fn reading_what_the_transaction_set_does_not_conflict(env: Env) -> Env {
    let mut tx = env.store.begin();
    get(&env, &mut *tx, "other", SER).await;
    tx.set(&env.key("a"), b"mine");
    assert_eq!(get(&env, &mut *tx, "a", SER).await.as_deref(), Some("mine"));
    put(&env, "a", "theirs").await;
    tx.commit().await.unwrap();
    assert_eq!(read(&env, "a").await.as_deref(), Some("mine"));
    env
}

pub(crate) async fn explicit_conflicts_count(env: Env) -> Env {
    let mut reader = env.store.begin();
    get(&env, &mut *reader, "elsewhere", SER).await;
    reader.add_read_conflict(&env.key("a"), &env.key("c"));
    reader.set(&env.key("out"), b"");
    let mut writer = env.store.begin();
    writer.add_write_conflict(&env.key("b"), &env.key("d"));
    writer.commit().await.unwrap();
    is_conflict(reader.commit().await);

    let mut reader = env.store.begin();
    get(&env, &mut *reader, "c", SER).await;
    reader.set(&env.key("out"), b"");
    let mut writer = env.store.begin();
    writer.add_write_conflict(&env.key("a"), &env.key("c"));
    writer.commit().await.unwrap();
    reader.commit().await.expect("the range ends before c");
    env
}
