//! What a real server says when the settings are wrong, in our words.

use tidemark_blob::s3::{S3, S3Config};
use tidemark_blob::{BlobErrorKind, BlobStore, List, Put, Remedy};
use tidemark_runtime::{Entropy, Tasks};

use crate::engines::key;
use crate::versity;

async fn refusal(config: S3Config) -> tidemark_blob::BlobError {
    let store = S3::connect(config, &Tasks::new()).await.unwrap();
    store
        .list(List::default())
        .await
        .expect_err("these settings are wrong")
}

#[tokio::test]
async fn an_absent_bucket_and_wrong_keys_are_told_apart_at_start_and_later() {
    let Some((_server, good)) = versity::bare().await else {
        return;
    };
    let error = refusal(good.clone()).await;
    assert_eq!(error.kind(), BlobErrorKind::NoBucket, "{error}");
    let store = S3::connect(good.clone(), &Tasks::new()).await.unwrap();
    let put = Put::new(key("a"), "x", &Entropy::seeded(1));
    for error in [
        store.put(put.clone()).await.unwrap_err(),
        store.get(&key("a"), 0..1).await.unwrap_err(),
        store.head(&key("a")).await.unwrap_err(),
        store.delete(&key("a")).await.unwrap_err(),
        store.delete_many(&[key("a")]).await.unwrap_err(),
        store.list(List::default()).await.unwrap_err(),
    ] {
        assert_eq!(error.kind(), BlobErrorKind::NoBucket, "{error}");
        assert_eq!(error.remedy(), Remedy::Operator);
        assert!(!error.outcome_unknown(), "{error}");
    }
    store.create_bucket().await.unwrap();
    let store = S3::connect(good.clone(), &Tasks::new()).await.unwrap();
    store.put(put).await.unwrap();
    for (access, secret) in [("somebody", "else"), ("tidemark", "wrong")] {
        let wrong = versity::config(&good.endpoint, access, secret);
        let error = refusal(wrong).await;
        assert_eq!(error.kind(), BlobErrorKind::Unauthorized, "{error}");
    }
}

#[tokio::test]
async fn a_server_that_is_not_there_is_no_reason_not_to_start() {
    let mut config = versity::config("http://127.0.0.1:9", "a", "b");
    config.connect_timeout = std::time::Duration::from_millis(500);
    let store = S3::connect(config, &Tasks::new()).await.unwrap();
    let put = Put::new(key("a"), "x", &Entropy::seeded(1));
    let error = store.put(put).await.unwrap_err();
    assert_eq!(error.kind(), BlobErrorKind::Unavailable, "{error}");
    assert!(
        !error.outcome_unknown(),
        "a refused connection sent nothing: {error}"
    );
}
