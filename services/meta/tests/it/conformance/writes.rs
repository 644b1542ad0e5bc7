//! A transaction sees its own writes, and what they come to.

use super::*;

pub(crate) async fn own_writes_are_merged_into_reads(env: Env) -> Env {
    for name in ["a", "c", "e"] {
        put(&env, name, "old").await;
    }
    let mut tx = env.store.begin();
    tx.set(&env.key("b"), b"new");
    tx.set(&env.key("c"), b"new");
    tx.clear(&env.key("e"));
    tx.set(&env.key("f"), b"new");
    assert_eq!(get(&env, &mut *tx, "e", SER).await, None);
    let mut range = over(&env, "a", "z");
    let pairs = tx.range(range.clone()).await.unwrap();
    assert_eq!(text(&env, &pairs), ["a=old", "b=new", "c=new", "f=new"]);
    range.reverse = true;
    range.limit = 3;
    let pairs = tx.range(range).await.unwrap();
    assert_eq!(text(&env, &pairs), ["f=new", "c=new", "b=new"]);
    tx.commit().await.unwrap();
    let pairs = env.store.begin().range(over(&env, "a", "z")).await.unwrap();
    assert_eq!(text(&env, &pairs), ["a=old", "b=new", "c=new", "f=new"]);
    env
}

pub(crate) async fn ranges_obey_order_limit_and_direction(env: Env) -> Env {
    for name in ["b", "a", "d", "c"] {
        put(&env, name, name).await;
    }
    let mut tx = env.store.begin();
    // (begin, end, limit, reverse) and the keys expected.
    let cases: [(&str, &str, usize, bool, &[&str]); 8] = [
        ("a", "z", 10, false, &["a=a", "b=b", "c=c", "d=d"]),
        ("a", "z", 10, true, &["d=d", "c=c", "b=b", "a=a"]),
        ("b", "d", 10, false, &["b=b", "c=c"]),
        ("b", "d", 10, true, &["c=c", "b=b"]),
        ("a", "z", 1, true, &["d=d"]),
        ("aa", "c\0", 10, false, &["b=b", "c=c"]),
        ("a", "a", 10, false, &[]),
        ("a", "z", 0, false, &[]),
    ];
    for (begin, end, limit, reverse, expected) in cases {
        let mut range = over(&env, begin, end);
        range.limit = limit;
        range.reverse = reverse;
        let pairs = tx.range(range).await.unwrap();
        assert_eq!(text(&env, &pairs), expected, "{begin}..{end}");
    }
    env
}

pub(crate) async fn a_cleared_range_drops_what_was_set_before_and_keeps_what_is_set_after(
    env: Env,
) -> Env {
    for name in ["a", "b", "c", "d"] {
        put(&env, name, "old").await;
    }
    let mut tx = env.store.begin();
    tx.set(&env.key("b"), b"before");
    tx.atomic_add(&env.key("c"), 1);
    tx.clear_range(&env.key("b"), &env.key("d"));
    tx.set(&env.key("c"), b"after");
    tx.clear_range(&env.key("x"), &env.key("x"));
    let expected = ["a=old", "c=after", "d=old"];
    let pairs = tx.range(over(&env, "a", "z")).await.unwrap();
    assert_eq!(text(&env, &pairs), expected);
    tx.commit().await.unwrap();
    let pairs = env.store.begin().range(over(&env, "a", "z")).await.unwrap();
    assert_eq!(text(&env, &pairs), expected);
    env
}

pub(crate) async fn atomics_count_without_conflicts(env: Env) -> Env {
    let (mut first, mut second) = (env.store.begin(), env.store.begin());
    for tx in [&mut first, &mut second] {
        tx.get(&env.key("other"), SER).await.unwrap();
        tx.atomic_add(&env.key("n"), 5);
        tx.atomic_max(&env.key("max"), 7);
    }
    second.atomic_max(&env.key("max"), 3);
    second.atomic_add(&env.key("n"), u64::MAX);
    first.commit().await.unwrap();
    second.commit().await.unwrap();
    assert_eq!(count(&env, "n").await, Some(9), "5 + 5 − 1, wrapping");
    assert_eq!(count(&env, "max").await, Some(7));
    // A reader conflicts with an atomic write as with any other.
    let mut reader = env.store.begin();
    reader.get(&env.key("n"), SER).await.unwrap();
    reader.set(&env.key("out"), b"");
    let mut adder = env.store.begin();
    adder.atomic_add(&env.key("n"), 1);
    adder.commit().await.unwrap();
    is_conflict(reader.commit().await);
    env
}

pub(crate) async fn atomics_on_own_writes_fold(env: Env) -> Env {
    put(&env, "n", "\u{1}\0\0\0\0\0\0\0").await;
    let mut tx = env.store.begin();
    tx.atomic_add(&env.key("n"), 2);
    tx.atomic_max(&env.key("n"), 2);
    let seen = tx.get(&env.key("n"), SER).await.unwrap().unwrap();
    assert_eq!(seen, 3_u64.to_le_bytes()[..]);
    tx.set(&env.key("set"), &10_u64.to_le_bytes());
    tx.atomic_add(&env.key("set"), 1);
    tx.clear(&env.key("cleared"));
    tx.atomic_add(&env.key("cleared"), 4);
    let pairs = tx.range(over(&env, "a", "z")).await.unwrap();
    let counts: Vec<_> = pairs.iter().map(|(_, v)| v[0]).collect();
    assert_eq!(counts, [4, 3, 11]);
    tx.commit().await.unwrap();
    assert_eq!(count(&env, "n").await, Some(3));
    assert_eq!(count(&env, "set").await, Some(11));
    assert_eq!(count(&env, "cleared").await, Some(4));
    // A stored value of another length counts as its first bytes, filled up with zeros.
    put(&env, "short", "\u{1}").await;
    let mut tx = env.store.begin();
    tx.atomic_add(&env.key("short"), 1);
    tx.commit().await.unwrap();
    assert_eq!(count(&env, "short").await, Some(2));
    env
}

pub(crate) async fn a_dropped_transaction_has_no_effect(env: Env) -> Env {
    let mut tx = env.store.begin();
    tx.set(&env.key("a"), b"1");
    drop(tx);
    assert_eq!(read(&env, "a").await, None);
    env
}
