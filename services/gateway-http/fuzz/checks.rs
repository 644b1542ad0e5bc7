//! What must hold for any body; shared by the fuzz target and the tests that replay its corpus.
//!
//! An input's first byte says what is asked, its second how the body is cut into pieces, the text up to the first
//! line break is the query string, the rest the body.

use axum::body::Body;
use axum::http::Method;
use serde_json::{Value, json};

use crate::world::{Answer, World, request};

/// Inputs after which a service is replaced: what they wrote stays in memory.
const INPUTS_MAX: u32 = 2_000;
/// Records that are read back after a produce at the most.
const READ_BACK_MAX: usize = 20;

/// A service in memory with two topics of two partitions: `t`, and `z`, whose batches are compressed.
pub(crate) struct Service {
    runtime: tokio::runtime::Runtime,
    world: World,
    inputs: u32,
}

impl Service {
    pub(crate) fn start() -> Self {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .start_paused(true)
            .build()
            .expect("a runtime");
        let world = runtime.block_on(async {
            let world = World::with_topic(2).await;
            let z = r#"{"name":"z","partitions":2,"config":{"compression.type":"zstd"}}"#;
            let made = world.post("/v1/topics", "application/json", z).await;
            assert_eq!(made.status.as_u16(), 201, "{}", made.text());
            world
        });
        Self {
            runtime,
            world,
            inputs: 0,
        }
    }

    #[allow(dead_code, reason = "a test replays fewer inputs")]
    pub(crate) fn is_used_up(&self) -> bool {
        self.inputs >= INPUTS_MAX
    }

    /// Sends what `data` says. Every answer is whole and in its form, none blames the service; what is said to be
    /// written is there, and is read as it was sent.
    pub(crate) fn body(&mut self, data: &[u8]) {
        self.inputs += 1;
        let [mode, cut, rest @ ..] = data else {
            return;
        };
        let end = rest.iter().position(|b| *b == b'\n').unwrap_or(rest.len());
        let (query, body) = (&rest[..end], rest.get(end + 1..).unwrap_or_default());
        let Ok(query) = std::str::from_utf8(query) else {
            return;
        };
        let sent = Sent {
            topic: ["t", "z"][usize::from(*mode >> 7)],
            query,
            body,
            piece: usize::from(*cut).max(1),
            key: (mode & 0x40 != 0).then(|| format!("key-{}", self.inputs)),
        };
        if format!("/?{query}").parse::<axum::http::Uri>().is_err() {
            return;
        }
        self.runtime.block_on(async {
            match mode & 7 {
                0 | 1 => json_document(&self.world, &sent).await,
                2 | 3 => lines(&self.world, &sent).await,
                4 => binary(&self.world, &sent).await,
                5 => create(&self.world, &sent).await,
                6 => change(&self.world, &sent).await,
                _ => read(&self.world, &sent).await,
            }
        });
    }
}

/// What an input asks for.
struct Sent<'a> {
    topic: &'static str,
    query: &'a str,
    body: &'a [u8],
    piece: usize,
    key: Option<String>,
}

impl Sent<'_> {
    /// The body as a stream of its pieces.
    fn in_pieces(&self) -> Body {
        let pieces = self.body.chunks(self.piece);
        let pieces: Vec<_> = pieces
            .map(|c| Ok::<_, std::io::Error>(bytes::Bytes::copy_from_slice(c)))
            .collect();
        Body::from_stream(futures_util::stream::iter(pieces))
    }

    fn path(&self) -> String {
        format!("/v1/topics/{}/records?{}", self.topic, self.query)
    }

    async fn post(&self, world: &World, kind: &str, body: Body) -> Answer {
        let mut headers = vec![("content-type", kind)];
        headers.extend(self.key.as_deref().map(|key| ("idempotency-key", key)));
        let request = request(Method::POST, &self.path(), &headers, body);
        judged(world.call(request).await)
    }
}

/// An answer whose form is right: a problem is one, and never the service's own fault.
fn judged(answer: Answer) -> Answer {
    let status = answer.status.as_u16();
    assert!(status < 500, "{status}: {}", answer.text());
    if !answer.status.is_success() {
        let code = answer.json()["code"].as_str().map(str::to_owned);
        answer.problem(status, &code.expect("a problem has a code"));
    }
    answer
}

async fn json_document(world: &World, sent: &Sent<'_>) {
    let kind = "application/json";
    let answer = sent.post(world, kind, sent.in_pieces()).await;
    if !answer.status.is_success() {
        return;
    }
    let produced = answer.json();
    check_batches(world, sent, &produced).await;
    if sent.key.is_some() {
        let again = sent.post(world, kind, sent.in_pieces()).await.json();
        for (first, again) in each(&produced["batches"]).zip(each(&again["batches"])) {
            assert_eq!(
                first["base_offset"], again["base_offset"],
                "{first} {again}"
            );
            let repeated = again["duplicate"] == true || !again["error"].is_null();
            assert!(repeated, "{again}");
        }
    }
}

async fn lines(world: &World, sent: &Sent<'_>) {
    let kind = "application/x-ndjson";
    let answer = sent.post(world, kind, sent.in_pieces()).await;
    if !answer.status.is_success() {
        return;
    }
    let pieces = answer.lines();
    let whole = sent.post(world, kind, sent.body.to_vec().into()).await;
    let whole = whole.lines();
    let done = whole.last().expect("a summary");
    assert_eq!(done["done"], true, "{done}");
    let count = |field| done[field].as_u64().expect("a count");
    assert_eq!(count("lines"), count("appended") + count("failed"));
    assert_eq!(
        pieces.last(),
        whole.last(),
        "cut or not, lines mean the same"
    );
    for (in_pieces, at_once) in pieces.iter().zip(&whole) {
        assert_eq!(in_pieces["error"]["code"], at_once["error"]["code"]);
        if sent.key.is_some() {
            assert_eq!(in_pieces["offset"], at_once["offset"], "the same record");
        }
    }
}

async fn binary(world: &World, sent: &Sent<'_>) {
    let kind = "application/octet-stream";
    let answer = sent.post(world, kind, sent.in_pieces()).await;
    if !answer.status.is_success() {
        return;
    }
    let produced = answer.json();
    let batch = &produced["batches"][0];
    let path = page(sent.topic, &batch["partition"], &batch["base_offset"]);
    let read = world.get_as(&path, kind).await;
    assert_eq!(read.status.as_u16(), 200, "{}", read.text());
    assert_eq!(read.body, sent.body, "the value as sent");
}

async fn create(world: &World, sent: &Sent<'_>) {
    // The query is not the input's: a topic made by one would meet the next.
    let path = "/v1/topics?validate_only=true";
    judged(world.post(path, "application/json", sent.in_pieces()).await);
}

async fn change(world: &World, sent: &Sent<'_>) {
    let path = format!("/v1/topics/{}?validate_only=true", sent.topic);
    let headers = [("content-type", "application/json")];
    let request = request(Method::PATCH, &path, &headers, sent.in_pieces());
    judged(world.call(request).await);
}

/// A page by the input's query; the body's first byte chooses its form. Streams do not end, so they are not read.
async fn read(world: &World, sent: &Sent<'_>) {
    let forms = [
        "application/json",
        "application/x-ndjson",
        "application/octet-stream",
    ];
    let form = forms[usize::from(sent.body.first().copied().unwrap_or(0)) % forms.len()];
    let path = format!(
        "/v1/topics/{}/partitions/0/records?{}",
        sent.topic, sent.query
    );
    let request = request(Method::GET, &path, &[("accept", form)], Body::empty());
    let response = world.open(request).await;
    assert!(response.status().as_u16() < 500, "{}", response.status());
}

/// Every batch that is said to be durable is read, and what is read can be produced again as it stands.
async fn check_batches(world: &World, sent: &Sent<'_>, produced: &Value) {
    for batch in each(&produced["batches"]) {
        if !batch["error"].is_null() {
            continue;
        }
        let count = batch["record_count"].as_u64().expect("a count");
        let count = usize::try_from(count)
            .expect("a small one")
            .min(READ_BACK_MAX);
        let first = records(world, sent.topic, batch, count).await;
        let body = json!({"records": first.iter().map(as_sent).collect::<Vec<_>>()});
        let path = format!("/v1/topics/t/records?partition={}", batch["partition"]);
        let answer = world
            .post(&path, "application/json", body.to_string())
            .await;
        let again = answer.ok();
        let second = records(world, "t", &again["batches"][0], count).await;
        for (first, second) in first.iter().zip(&second) {
            assert_eq!(as_sent(first), as_sent(second));
        }
    }
}

async fn records(world: &World, topic: &str, batch: &Value, count: usize) -> Vec<Value> {
    let path = page(topic, &batch["partition"], &batch["base_offset"]);
    let page = world.get(&format!("{path}&limit={count}")).await.ok();
    let read = each(&page["records"]).cloned().collect::<Vec<_>>();
    assert_eq!(read.len(), count, "{page}");
    read
}

/// A record as read, less its offset.
fn as_sent(record: &Value) -> Value {
    let mut record = record.clone();
    record.as_object_mut().expect("an object").remove("offset");
    record
}

fn page(topic: &str, partition: &Value, offset: &Value) -> String {
    format!("/v1/topics/{topic}/partitions/{partition}/records?offset={offset}")
}

fn each(list: &Value) -> impl Iterator<Item = &Value> {
    list.as_array().into_iter().flatten()
}
