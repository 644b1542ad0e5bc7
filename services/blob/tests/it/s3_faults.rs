//! S3 failing in every way it does, against the engine bare and as the service decorates it.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use tidemark_blob::s3::PART_BYTES;
use tidemark_blob::{BlobError, BlobErrorKind, BlobStore, List, Put, Remedy};
use tidemark_runtime::Entropy;

use crate::engines::{decorated, key};
use crate::scripted::{Answer, Scripted};

fn put(body: impl Into<tidemark_blob::Body>) -> Put {
    Put::new(key("l0/a"), body, &Entropy::seeded(1))
}

fn ok() -> Answer {
    Answer::whole("200 OK", "", "")
}

/// A part of an object of 100 bytes, as a server answers a range.
fn part(range: &str, body: &str) -> Answer {
    Answer::whole(
        "206 Partial Content",
        &format!("Content-Range: bytes {range}\r\n"),
        body,
    )
}

async fn put_error(answer: Answer) -> BlobError {
    Scripted::new([answer])
        .await
        .store
        .put(put("body"))
        .await
        .expect_err("the server did not agree")
}

async fn get_error(answer: Answer) -> BlobError {
    let server = Scripted::new([answer]).await;
    server
        .store
        .get(&key("l0/a"), 0..10)
        .await
        .expect_err("the answer is not what was asked for")
}

#[tokio::test]
async fn what_is_sent_with_a_put() {
    let server = Scripted::new([ok()]).await;
    let sent = put(vec![
        Bytes::from_static(b"1234"),
        Bytes::from_static(b"56789"),
    ]);
    let id = sent.id;
    server.store.put(sent).await.unwrap();
    let seen = &server.seen()[0];
    assert!(seen.line.starts_with("PUT /tests/l0/a"), "{}", seen.line);
    assert_eq!(seen.body, b"123456789");
    assert_eq!(seen.header("content-length"), "9");
    assert_eq!(seen.header("if-none-match"), "*");
    assert_eq!(seen.header("x-amz-meta-tidemark-put"), id.to_string());
    // CRC32C's check value.
    assert_eq!(seen.header("x-amz-checksum-crc32c"), "4waSgw==");
    assert_eq!(seen.header("x-amz-content-sha256"), "UNSIGNED-PAYLOAD");
    let server = Scripted::new([ok()]).await;
    server.store.put(put("x").replacing()).await.unwrap();
    assert_eq!(server.seen()[0].header("if-none-match"), "");
}

#[tokio::test]
async fn every_refusal_of_a_put_says_what_to_do_and_whether_it_is_in_doubt() {
    use BlobErrorKind as K;
    for (status, code, kind, in_doubt) in [
        ("503 Slow Down", "SlowDown", K::Throttled, true),
        ("500 Internal", "InternalError", K::Unavailable, true),
        ("504 Gateway", "", K::TimedOut, true),
        ("507 Storage", "XMinioStorageFull", K::Full, true),
        (
            "409 Conflict",
            "ConditionalRequestConflict",
            K::Unavailable,
            false,
        ),
        ("400 Bad", "RequestTimeout", K::TimedOut, false),
        ("400 Bad", "BadDigest", K::Corrupt, false),
        ("403 Forbidden", "AccessDenied", K::Unauthorized, false),
        (
            "403 Forbidden",
            "SignatureDoesNotMatch",
            K::Unauthorized,
            false,
        ),
        ("400 Bad", "ExpiredToken", K::Unauthorized, false),
        ("404 Not Found", "NoSuchBucket", K::NoBucket, false),
        ("400 Bad", "EntityTooLarge", K::Invalid, false),
    ] {
        let error = put_error(Answer::error(status, "", code)).await;
        assert_eq!(error.kind(), kind, "{error}");
        assert_eq!(error.outcome_unknown(), in_doubt, "{error}");
        assert!(error.to_string().starts_with("put l0/a: "), "{error}");
    }
}

#[tokio::test]
async fn a_server_that_sheds_load_says_for_how_long() {
    let error = put_error(Answer::error(
        "503 Slow Down",
        "Retry-After: 7\r\n",
        "SlowDown",
    ))
    .await;
    assert_eq!(error.retry_after(), Some(Duration::from_secs(7)));
}

#[tokio::test]
async fn a_bucket_in_another_region_is_named() {
    let headers = "x-amz-bucket-region: eu-central-1\r\n";
    let error = put_error(Answer::error("301 Moved", headers, "PermanentRedirect")).await;
    assert_eq!(error.kind(), BlobErrorKind::NoBucket);
    assert!(error.to_string().contains("eu-central-1"), "{error}");
}

#[tokio::test]
async fn long_words_are_cut_to_one_line() {
    let words = format!("first line\n second {}", "word ".repeat(500));
    let xml = format!("<Error><Code>AccessDenied</Code><Message>{words}</Message></Error>");
    let error = put_error(Answer::whole("403 Forbidden", "", &xml)).await;
    assert!(
        error.why().contains("first line second word") && error.why().len() < 400,
        "{error}"
    );
    assert!(!error.why().contains('\n'), "{error}");
}

#[tokio::test]
async fn a_reset_or_a_hang_leaves_a_put_in_doubt() {
    let reset = Answer::Text(String::new()).then_reset();
    let error = put_error(reset).await;
    assert_eq!(error.remedy(), Remedy::Retry);
    assert!(error.outcome_unknown(), "{error}");
    let hasty = |config: &mut tidemark_blob::s3::S3Config| {
        config.attempt_timeout = Duration::from_millis(200)
    };
    let server = Scripted::with([Answer::Hang, Answer::Hang], hasty).await;
    let error = server.store.put(put("x")).await.unwrap_err();
    assert_eq!(error.kind(), BlobErrorKind::TimedOut);
    assert!(error.outcome_unknown(), "{error}");
    let error = server.store.get(&key("l0/a"), 0..1).await.unwrap_err();
    assert_eq!(error.kind(), BlobErrorKind::TimedOut);
    assert!(!error.outcome_unknown(), "{error}");
}

#[tokio::test]
async fn a_refused_condition_is_ours_if_the_object_is() {
    let refused = || Answer::error("412 Precondition Failed", "", "PreconditionFailed");
    let mine = put("x");
    let head =
        |id: String| Answer::whole("200 OK", &format!("x-amz-meta-tidemark-put: {id}\r\n"), "");
    let server = Scripted::new([refused(), head(mine.id.to_string())]).await;
    server.store.put(mine.clone()).await.unwrap();
    assert!(server.seen()[1].line.starts_with("HEAD"));
    for other in [head("another".into()), ok()] {
        let server = Scripted::new([refused(), other]).await;
        let error = server.store.put(mine.clone()).await.unwrap_err();
        assert_eq!(error.kind(), BlobErrorKind::AlreadyExists);
    }
    let server = Scripted::new([refused(), Answer::whole("503 Slow Down", "", "")]).await;
    let error = server.store.put(mine.clone()).await.unwrap_err();
    assert!(
        error.outcome_unknown() && error.remedy() == Remedy::Retry,
        "{error}"
    );
}

#[tokio::test]
async fn what_fails_in_passing_is_repeated_under_the_same_id() {
    let server = Scripted::new([
        Answer::error("503 Slow Down", "", "SlowDown"),
        Answer::Text(String::new()).then_reset(),
        ok(),
    ])
    .await;
    let mine = put("body");
    decorated(Arc::new(server.store.clone()))
        .put(mine.clone())
        .await
        .unwrap();
    let seen = server.seen();
    assert_eq!(seen.len(), 3);
    for request in seen {
        assert_eq!(
            request.header("x-amz-meta-tidemark-put"),
            mine.id.to_string()
        );
        assert_eq!(request.body, b"body");
    }
}

#[tokio::test]
async fn a_get_is_exact_or_an_error() {
    let server = Scripted::new([part("10-19/100", "0123456789")]).await;
    assert_eq!(
        server.store.get(&key("l0/a"), 10..20).await.unwrap(),
        "0123456789"
    );
    assert_eq!(server.seen()[0].header("range"), "bytes=10-19");
    let range = "Content-Range: bytes 0-9/100\r\n";
    for (name, answer) in [
        (
            "truncated",
            Answer::with_length("206 Partial", range, "01234", 10),
        ),
        (
            "reset",
            Answer::with_length("206 Partial", range, "01234", 10).then_reset(),
        ),
        ("shorter than asked for", part("0-4/100", "01234")),
        ("longer than asked for", part("0-10/100", "0123456789a")),
        ("of other bytes", part("5-14/100", "0123456789")),
        (
            "without a range",
            Answer::whole("200 OK", "", "0123456789abcdef"),
        ),
        ("of a range that is none", part("x-y/z", "0123456789")),
        (
            "of a length that lies",
            Answer::with_length("206 Partial", range, "0123456789", 1 << 60),
        ),
    ] {
        let error = get_error(answer).await;
        assert_eq!(error.remedy(), Remedy::Retry, "{name}: {error}");
    }
}

#[tokio::test]
async fn rot_on_the_way_is_noticed_where_the_server_tells_a_checksum() {
    // Of `123456789`, and the whole object was asked for.
    let headers = "Content-Range: bytes 0-9/10\r\nx-amz-checksum-crc32c: 4waSgw==\r\n";
    let error = get_error(Answer::whole("206 Partial", headers, "1234567899")).await;
    assert_eq!(error.kind(), BlobErrorKind::Corrupt, "{error}");
}

#[tokio::test]
async fn absent_objects_buckets_and_rights_are_told_apart_in_gets() {
    for (status, code, kind) in [
        ("404 Not Found", "NoSuchKey", BlobErrorKind::NotFound),
        ("404 Not Found", "NoSuchBucket", BlobErrorKind::NoBucket),
        ("403 Forbidden", "AccessDenied", BlobErrorKind::Unauthorized),
        ("416 Range", "InvalidRange", BlobErrorKind::Invalid),
        ("503 Slow Down", "SlowDown", BlobErrorKind::Throttled),
    ] {
        let error = get_error(Answer::error(status, "", code)).await;
        assert_eq!(error.kind(), kind, "{error}");
        assert!(!error.outcome_unknown());
    }
    // A HEAD's 404 tells nothing: the bucket is asked for.
    let absent = || Answer::whole("404 Not Found", "", "");
    let server = Scripted::new([absent(), ok()]).await;
    assert_eq!(
        server.store.head(&key("a")).await.unwrap_err().kind(),
        BlobErrorKind::NotFound
    );
    let server = Scripted::new([absent(), absent()]).await;
    assert_eq!(
        server.store.head(&key("a")).await.unwrap_err().kind(),
        BlobErrorKind::NoBucket
    );
}

#[tokio::test]
async fn an_answer_that_is_no_answer_is_an_error() {
    let garbage = Answer::whole("200 OK", "", "<html>a captive portal</html>");
    let server = Scripted::new([garbage]).await;
    assert_eq!(
        server
            .store
            .list(List::default())
            .await
            .unwrap_err()
            .remedy(),
        Remedy::Retry
    );
    let some =
        "<DeleteResult><Error><Key>l0/a</Key><Code>InternalError</Code></Error></DeleteResult>";
    let server = Scripted::new([Answer::whole("200 OK", "", some)]).await;
    let error = server.store.delete_many(&[key("l0/a")]).await.unwrap_err();
    assert_eq!(error.kind(), BlobErrorKind::Unavailable, "{error}");
}

fn large() -> Put {
    put(Bytes::from(vec![7; PART_BYTES + 1]))
}

fn begun() -> [Answer; 3] {
    let id = "<InitiateMultipartUploadResult><UploadId>upload-7</UploadId></InitiateMultipartUploadResult>";
    let [no_object, bucket] = [Answer::whole("404 Not Found", "", ""), ok()];
    [no_object, bucket, Answer::whole("200 OK", "", id)]
}

#[tokio::test]
async fn a_failed_part_aborts_the_upload_and_is_certain() {
    let answers =
        begun()
            .into_iter()
            .chain([Answer::error("403 No", "", "AccessDenied"), ok(), ok()]);
    let server = Scripted::new(answers).await;
    let error = server.store.put(large()).await.unwrap_err();
    assert_eq!(error.kind(), BlobErrorKind::Unauthorized, "{error}");
    assert!(!error.outcome_unknown(), "{error}");
    server.asked_for("DELETE", "uploadId=upload-7").await;
}

#[tokio::test]
async fn an_upload_dropped_on_its_way_is_aborted() {
    let server = Scripted::new(
        begun()
            .into_iter()
            .chain([Answer::Hang, Answer::Hang, ok()]),
    )
    .await;
    tokio::select! {
        biased;
        outcome = server.store.put(large()) => panic!("{outcome:?}"),
        _ = server.asked_for("PUT", "partNumber=2") => {}
    }
    server.asked_for("DELETE", "uploadId=upload-7").await;
    assert_eq!(server.tasks.isolated_panics(), 0);
}

#[tokio::test]
async fn a_completion_in_doubt_is_said_to_be() {
    let etag = || Answer::whole("200 OK", "ETag: \"e\"\r\n", "");
    // S3 answers 200 before it knows, and the error in the body.
    let failed = "<Error><Code>InternalError</Code><Message>m</Message></Error>";
    for answer in [
        Answer::whole("200 OK", "", failed),
        Answer::error("404 Not Found", "", "NoSuchUpload"),
        Answer::Text(String::new()).then_reset(),
    ] {
        let server = Scripted::new(begun().into_iter().chain([etag(), etag(), answer, ok()])).await;
        let error = server.store.put(large()).await.unwrap_err();
        assert_eq!(error.remedy(), Remedy::Retry, "{error}");
        assert!(error.outcome_unknown(), "{error}");
        let completion = server.asked_for("POST", "uploadId=upload-7").await;
        assert_eq!(completion.header("if-none-match"), "*");
        server.asked_for("DELETE", "uploadId=upload-7").await;
    }
}
