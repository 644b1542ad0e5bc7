//! Guarantee 6.

use tidemark_blob::{List, Listed};

use crate::engines::{Env, key};

/// Every page of a listing.
async fn all(env: &Env, prefix: &str, limit: usize) -> Vec<Listed> {
    let mut list = List {
        limit,
        ..List::prefix(prefix)
    };
    let mut objects = Vec::new();
    loop {
        let page = env.store.list(list.clone()).await.unwrap();
        assert!(limit == 0 || page.objects.len() <= limit);
        objects.extend(page.objects);
        match page.next {
            Some(next) => list.after = Some(next),
            None => return objects,
        }
    }
}

fn names(objects: &[Listed]) -> Vec<&str> {
    objects.iter().map(|object| object.key.as_str()).collect()
}

/// Order is that of the keys' bytes, where `-` and `.` come before `/` and digits after it.
const NAMES: [&str; 12] = [
    "b/00-x",
    "a",
    "b/00/1",
    "b/00.x",
    "b/00/10",
    "b/000",
    "b/00/2/deep/er",
    "c-d",
    "c/d",
    "c/d0",
    "A/Z=1",
    "z",
];

async fn filled(env: &Env) -> Vec<&'static str> {
    for name in NAMES {
        env.put(name, name).await;
    }
    let mut sorted = NAMES.to_vec();
    sorted.sort_unstable();
    sorted
}

pub(crate) async fn listing_is_ordered_and_complete(env: Env) {
    assert_eq!(all(&env, "", 0).await, []);
    let sorted = filled(&env).await;
    for limit in [0, 1, 2, 5, 12, 13] {
        assert_eq!(names(&all(&env, "", limit).await), sorted, "by {limit}");
    }
}

pub(crate) async fn listing_obeys_prefix_and_after(env: Env) {
    let sorted = filled(&env).await;
    for prefix in [
        "b",
        "b/",
        "b/0",
        "b/00",
        "b/00/",
        "b/00/1",
        "b/00/2/deep",
        "c",
        "none",
        "b/none/",
        "z",
        "z/",
    ] {
        let wanted: Vec<_> = sorted
            .iter()
            .copied()
            .filter(|n| n.starts_with(prefix))
            .collect();
        for limit in [0, 1, 3] {
            assert_eq!(
                names(&all(&env, prefix, limit).await),
                wanted,
                "{prefix} by {limit}"
            );
        }
        for after in NAMES.into_iter().chain(["b/00/05", "B", "b/00", "zz"]) {
            let list = List {
                after: Some(key(after)),
                ..List::prefix(prefix)
            };
            let page = env.store.list(list).await.unwrap();
            let above: Vec<_> = wanted.iter().copied().filter(|n| *n > after).collect();
            assert_eq!(names(&page.objects), above, "{prefix} after {after}");
        }
    }
}

pub(crate) async fn a_listing_tells_sizes_and_ages(env: Env) {
    env.put("s/a", "four").await;
    env.put("s/b", "sixteen bytes ok").await;
    let listed = all(&env, "s/", 0).await;
    assert_eq!(
        listed.iter().map(|o| o.info.bytes).collect::<Vec<_>>(),
        [4, 16]
    );
    for object in listed {
        let head = env.store.head(&object.key).await.unwrap();
        assert_eq!(head.bytes, object.info.bytes);
        // In steps of up to a second, and not from another age.
        assert!((head.modified_ms - object.info.modified_ms).abs() <= 1_000);
        assert!(head.modified_ms > 1_600_000_000_000, "{head:?}");
    }
    env.store.delete(&key("s/a")).await.unwrap();
    assert_eq!(names(&all(&env, "s/", 0).await), ["s/b"]);
}
