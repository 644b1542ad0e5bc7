//! The engine as the service decorates it, through outages on the wire: what passes by itself is not noticed, what does not
//! is told for what it is, and everything goes on when it is over, with the same store.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use parking_lot::Mutex;
use tidemark_blob::s3::{PART_BYTES, S3};
use tidemark_blob::{
    BlobErrorKind, BlobMeter, BlobStore, List, Metered, Op, Put, Remedy, RetryPolicy, Retrying,
};
use tidemark_runtime::{Clock, Entropy};

use crate::engines::key;
use crate::scripted::{Answer, Request, Scripted};
use crate::versity;

/// The service's decorators, in a hurry.
fn hasty(engine: &S3) -> (Retrying, BlobMeter) {
    let (clock, entropy) = (Clock::system(), Entropy::seeded(7));
    let meter = BlobMeter::new(&clock);
    let metered = Arc::new(Metered::new(Arc::new(engine.clone()), meter.clone()));
    let policy = RetryPolicy {
        wait_base: Duration::from_millis(1),
        wait_cap: Duration::from_millis(2),
        ..RetryPolicy::DEFAULT
    };
    (Retrying::new(metered, policy, &clock, &entropy), meter)
}

fn put(name: &str, body: impl Into<tidemark_blob::Body>) -> Put {
    Put::new(key(name), body, &Entropy::seeded(name.len() as u64))
}

fn ok() -> Answer {
    Answer::whole("200 OK", "", "")
}

fn slow_down() -> Answer {
    Answer::error("503 Slow Down", "", "SlowDown")
}

#[tokio::test]
async fn one_request_in_ten_answered_by_503_is_not_noticed_and_costs_one_in_ten() {
    let mut asked = 0;
    let server = Scripted::ruled(move |_| {
        asked += 1;
        if asked % 10 == 0 { slow_down() } else { ok() }
    })
    .await;
    let (store, meter) = hasty(&server.store);
    for n in 0..200 {
        let name = format!("l0/{n}");
        store
            .put(Put::new(key(&name), "x", &Entropy::seeded(n)))
            .await
            .unwrap();
    }
    assert_eq!(meter.counts(Op::Put).requests, 222);
    assert_eq!(meter.counts(Op::Put).failures, 22);
    assert_eq!(meter.trouble(), None);
}

#[tokio::test]
async fn a_store_that_answers_503_to_all_is_asked_so_often_and_no_more() {
    let server = Scripted::ruled(|_| slow_down()).await;
    let (store, meter) = hasty(&server.store);
    let tries = u64::from(RetryPolicy::DEFAULT.attempts);
    for n in 1..=3 {
        let error = store.put(put("l0/a", "x")).await.unwrap_err();
        assert_eq!(error.kind(), BlobErrorKind::Throttled);
        assert_eq!(meter.counts(Op::Put).requests, n * tries);
    }
    let told = meter.trouble().expect("it serves nothing");
    assert!(
        told.contains("503 SlowDown") && told.contains("limits requests"),
        "{told}"
    );
}

/// What an operator has to mend is not asked for again at once, is told with a hint, and the same store goes on after it.
#[tokio::test]
async fn revoked_keys_and_a_bucket_that_is_gone_are_told_at_once_and_their_return_is_noticed() {
    for (status, code, kind, hint) in [
        (
            "403 Forbidden",
            "InvalidAccessKeyId",
            BlobErrorKind::Unauthorized,
            "credentials",
        ),
        (
            "400 Bad Request",
            "ExpiredToken",
            BlobErrorKind::Unauthorized,
            "credentials",
        ),
        (
            "403 Forbidden",
            "AccessDenied",
            BlobErrorKind::Unauthorized,
            "policy",
        ),
        (
            "404 Not Found",
            "NoSuchBucket",
            BlobErrorKind::NoBucket,
            "bucket",
        ),
    ] {
        let gone = Arc::new(Mutex::new(true));
        let is_gone = Arc::clone(&gone);
        let server = Scripted::ruled(move |_| match *is_gone.lock() {
            true => Answer::error(status, "", code),
            false => ok(),
        })
        .await;
        let (store, meter) = hasty(&server.store);
        let mine = put("l0/a", "x");
        let error = store.put(mine.clone()).await.unwrap_err();
        assert_eq!(
            (error.kind(), error.remedy()),
            (kind, Remedy::Operator),
            "{code}"
        );
        assert!(!error.outcome_unknown(), "{code}");
        assert_eq!(
            store.get(&key("l0/a"), 0..1).await.unwrap_err().kind(),
            kind,
            "{code}"
        );
        assert_eq!(server.seen().len(), 2, "{code}: asked again");
        let told = meter.trouble().expect("it is told");
        assert!(told.contains(code) && told.contains(hint), "{told}");
        *gone.lock() = false;
        store.put(mine).await.unwrap();
        assert_eq!(meter.trouble(), None);
    }
}

/// As much of S3 as puts need, with a fault on the way.
#[derive(Default)]
struct Fake {
    /// Which put's each object is.
    objects: BTreeMap<String, String>,
    /// Of the upload under way.
    upload: String,
    parts: usize,
}

impl Fake {
    fn answer(&mut self, request: &Request) -> Answer {
        let mut line = request.line.split([' ', '?']);
        let (verb, path) = (
            line.next().unwrap_or_default(),
            line.next().unwrap_or_default(),
        );
        let query = line.next().unwrap_or_default();
        let id = request.header("x-amz-meta-tidemark-put").to_owned();
        let taken = || Answer::error("412 Precondition Failed", "", "PreconditionFailed");
        match verb {
            "HEAD" if path == "/tests" || path == "/tests/" => ok(),
            "HEAD" => match self.objects.get(path) {
                Some(id) => {
                    Answer::whole("200 OK", &format!("x-amz-meta-tidemark-put: {id}\r\n"), "")
                }
                None => Answer::whole("404 Not Found", "", ""),
            },
            "POST" if query.starts_with("uploads") => {
                self.upload = id;
                let xml = "<InitiateMultipartUploadResult><UploadId>u</UploadId></InitiateMultipartUploadResult>";
                Answer::whole("200 OK", "", xml)
            }
            "PUT" if query.contains("partNumber") => {
                self.parts += 1;
                Answer::whole("200 OK", "ETag: \"e\"\r\n", "")
            }
            "PUT" | "POST" if self.objects.contains_key(path) => taken(),
            "PUT" => {
                self.objects.insert(path.to_owned(), id);
                ok()
            }
            "POST" => {
                self.objects.insert(path.to_owned(), self.upload.clone());
                let xml = "<CompleteMultipartUploadResult></CompleteMultipartUploadResult>";
                Answer::whole("200 OK", "", xml)
            }
            _ => Answer::whole("204 No Content", "", ""),
        }
    }
}

/// A store that does what it is asked, and then gives one answer, to the first request of a kind, that denies it.
async fn denying(
    verb: &'static str,
    part: &'static str,
    denial: Answer,
) -> (Scripted, Arc<Mutex<Fake>>) {
    let fake = Arc::new(Mutex::new(Fake::default()));
    let (of, mut denial) = (Arc::clone(&fake), Some(denial));
    let server = Scripted::ruled(move |request| {
        let answer = of.lock().answer(request);
        let hit = request.line.starts_with(verb) && request.line.contains(part);
        denial.take_if(|_| hit).unwrap_or(answer)
    });
    (server.await, fake)
}

fn denials() -> [Answer; 4] {
    [
        Answer::error("500 Internal Server Error", "", "InternalError"),
        Answer::error("503 Slow Down", "", "SlowDown"),
        Answer::Text(String::new()).then_reset(),
        Answer::whole("504 Gateway Timeout", "", "<html>a proxy</html>"),
    ]
}

/// The repetition meets 412, which is its own object's.
#[tokio::test]
async fn a_put_that_was_applied_and_denied_is_one_object_and_a_success() {
    for denial in denials() {
        let (server, fake) = denying("PUT", "l0/a", denial).await;
        let mine = put("l0/a", "x");
        let (store, meter) = hasty(&server.store);
        store.put(mine.clone()).await.unwrap();
        assert_eq!(meter.counts(Op::Put).requests, 2);
        assert_eq!(fake.lock().objects["/tests/l0/a"], mine.id.to_string());
        // Another's object of the same name is told apart.
        let other = Put::new(key("l0/a"), "y", &Entropy::seeded(99));
        let error = store.put(other).await.unwrap_err();
        assert_eq!(error.kind(), BlobErrorKind::AlreadyExists);
    }
}

#[tokio::test]
async fn an_upload_in_parts_survives_the_loss_of_any_one_answer() {
    let large = Bytes::from(vec![7; 2 * PART_BYTES + 1]);
    for (verb, part, parts) in [
        ("HEAD", "l0/b", 3),
        ("POST", "uploads", 3),
        ("PUT", "partNumber=2", 6),
        // It is there: nothing is sent twice.
        ("POST", "uploadId", 3),
    ] {
        for denial in denials() {
            let (server, fake) = denying(verb, part, denial.clone()).await;
            let mine = put("l0/b", large.clone());
            let (store, _) = hasty(&server.store);
            let outcome = store.put(mine.clone()).await;
            assert!(outcome.is_ok(), "{verb} {part} {denial:?}: {outcome:?}");
            let fake = fake.lock();
            assert_eq!(fake.objects["/tests/l0/b"], mine.id.to_string());
            assert!(
                fake.parts <= parts,
                "{verb} {part}: {} parts were sent",
                fake.parts
            );
        }
    }
}

#[tokio::test]
async fn a_reset_in_the_middle_of_a_body_that_is_sent_is_repeated() {
    let server = Scripted::new([Answer::ResetInBody, Answer::ResetInBody, ok()]).await;
    let (store, _) = hasty(&server.store);
    let body = vec![1_u8; 8 << 20];
    store
        .put(put("l0/a", Bytes::from(body.clone())))
        .await
        .unwrap();
    let seen = server.seen();
    assert_eq!(seen.len(), 3);
    assert!(seen[2].body == body, "the whole of it arrives");
}

/// A body that comes drop by drop ends with the attempt, and takes no more memory than was asked for.
#[tokio::test]
async fn a_body_that_dribbles_costs_a_bounded_time() {
    let head = "HTTP/1.1 206 Partial\r\nContent-Length: 1000000\r\nContent-Range: bytes 0-999999/2000000\r\n\r\n";
    let server = Scripted::ruled(move |_| Answer::ThenDribble(head.to_owned())).await;
    let (clock, entropy) = (Clock::system(), Entropy::seeded(7));
    let policy = RetryPolicy {
        attempts: 2,
        attempt: Duration::from_millis(100),
        wait_base: Duration::from_millis(1),
        ..RetryPolicy::DEFAULT
    };
    let store = Retrying::new(Arc::new(server.store.clone()), policy, &clock, &entropy);
    let error = store.get(&key("l0/a"), 0..1_000_000).await.unwrap_err();
    assert_eq!(
        (error.kind(), error.remedy()),
        (BlobErrorKind::TimedOut, Remedy::Retry)
    );
    assert_eq!(server.seen().len(), 2);
}

/// A real server that is killed, and one whose bucket is taken away and made again.
#[tokio::test]
async fn a_real_server_comes_back_and_the_same_store_goes_on() {
    let Some((mut server, config)) = versity::bare().await else {
        return;
    };
    let engine = versity::ready(config.clone()).await;
    let (store, meter) = hasty(&engine);
    store.put(put("l0/a", "kept")).await.unwrap();
    server.kill();
    let error = store.put(put("l0/bc", "x")).await.unwrap_err();
    assert_eq!(
        (error.kind(), error.remedy()),
        (BlobErrorKind::Unavailable, Remedy::Retry)
    );
    assert!(meter.trouble().is_some_and(|told| told.contains("network")));
    server.restart();
    let patient = crate::engines::decorated(Arc::new(engine.clone()));
    while patient.list(List::default()).await.is_err() {}
    assert_eq!(store.get(&key("l0/a"), 0..4).await.unwrap(), "kept");
    store.put(put("l0/bc", "x")).await.unwrap();
    assert_eq!(meter.trouble(), None);

    server.remove_bucket(&config.bucket);
    for error in [
        store.put(put("l0/def", "x")).await.unwrap_err(),
        store.get(&key("l0/a"), 0..4).await.unwrap_err(),
    ] {
        assert_eq!(error.kind(), BlobErrorKind::NoBucket, "{error}");
    }
    engine.create_bucket().await.unwrap();
    store.put(put("l0/def", "x")).await.unwrap();
    assert_eq!(store.get(&key("l0/def"), 0..1).await.unwrap(), "x");
}
