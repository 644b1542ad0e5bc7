//! Settings that are refused before anything is sent.

use super::*;

#[tokio::test]
async fn settings_that_contradict_themselves_are_refused() {
    let tasks = Tasks::new();
    let good = S3Config::new("bucket");
    for (bad, word) in [
        (S3Config::new(""), "bucket"),
        (
            S3Config {
                endpoint: "localhost:9000".into(),
                ..good.clone()
            },
            "URL",
        ),
        (
            S3Config {
                prefix: "/a".into(),
                ..good.clone()
            },
            "segment",
        ),
    ] {
        let error = S3::connect(bad, &tasks).await.unwrap_err();
        assert_eq!(error.kind(), BlobErrorKind::Invalid);
        assert!(error.to_string().contains(word), "{error}");
    }
}
