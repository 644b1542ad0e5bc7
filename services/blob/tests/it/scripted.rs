//! An S3 server that answers what the test wrote down, and remembers what it was asked.

use std::collections::VecDeque;
use std::sync::Arc;

use parking_lot::Mutex;
use tidemark_blob::s3::{S3, S3Config};
use tidemark_runtime::Tasks;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Notify;

/// What the server does with a request.
#[derive(Clone, Debug)]
pub(crate) enum Answer {
    /// The head and body as they stand, then the end of the connection.
    Text(String),
    /// The same, then a reset.
    ThenReset(String),
    /// The same, then a byte now and then, for ever.
    ThenDribble(String),
    /// A reset as soon as the request's head is read, whatever of its body is on the way.
    ResetInBody,
    /// Nothing, ever.
    Hang,
}

impl Answer {
    /// With a true Content-Length.
    pub(crate) fn whole(status: &str, headers: &str, body: &str) -> Self {
        Self::with_length(status, headers, body, body.len() as u64)
    }

    /// With any Content-Length.
    pub(crate) fn with_length(status: &str, headers: &str, body: &str, length: u64) -> Self {
        Self::Text(format!(
            "HTTP/1.1 {status}\r\nContent-Length: {length}\r\nConnection: close\r\n{headers}\r\n{body}"
        ))
    }

    /// S3's error document.
    pub(crate) fn error(status: &str, headers: &str, code: &str) -> Self {
        let xml = format!(
            "<?xml version=\"1.0\"?><Error><Code>{code}</Code><Message>in words</Message></Error>"
        );
        Self::whole(status, headers, &xml)
    }

    /// The same answer, reset at its end.
    pub(crate) fn then_reset(self) -> Self {
        match self {
            Self::Text(text) => Self::ThenReset(text),
            other => other,
        }
    }
}

/// A request as it came.
#[derive(Clone, Debug, Default)]
pub(crate) struct Request {
    /// `PUT /bucket/key?query`
    pub(crate) line: String,
    head: String,
    pub(crate) body: Vec<u8>,
}

impl Request {
    /// A header's value; empty when absent.
    pub(crate) fn header(&self, name: &str) -> &str {
        let headers = self.head.lines().filter_map(|line| line.split_once(": "));
        headers
            .into_iter()
            .find(|(n, _)| n.eq_ignore_ascii_case(name))
            .map_or("", |(_, value)| value)
    }
}

/// What decides once the answers are used up.
type Rule = Box<dyn FnMut(&Request) -> Answer + Send>;

struct Script {
    answers: VecDeque<Answer>,
    rule: Rule,
    seen: Vec<Request>,
}

impl Script {
    fn answer(&mut self, request: Request) -> Answer {
        let scripted = self.answers.pop_front();
        let answer = scripted.unwrap_or_else(|| (self.rule)(&request));
        self.seen.push(request);
        answer
    }

    /// Takes a reset that comes before the body.
    fn resets_in_body(&mut self, request: &Request) -> bool {
        let resets = matches!(self.answers.front(), Some(Answer::ResetInBody));
        if resets {
            self.answers.pop_front();
            self.seen.push(request.clone());
        }
        resets
    }
}

/// The server; it ends with its tasks.
pub(crate) struct Scripted {
    pub(crate) store: S3,
    pub(crate) tasks: Tasks,
    script: Arc<Mutex<Script>>,
    asked: Arc<Notify>,
}

impl Scripted {
    /// A store whose server answers these in turn, and 500 from then on.
    pub(crate) async fn new(answers: impl IntoIterator<Item = Answer>) -> Self {
        Self::with(answers, |_| {}).await
    }

    /// A store whose server answers as `rule` says.
    pub(crate) async fn ruled(rule: impl FnMut(&Request) -> Answer + Send + 'static) -> Self {
        let server = Self::new([]).await;
        server.script.lock().rule = Box::new(rule);
        server
    }

    pub(crate) async fn with(
        answers: impl IntoIterator<Item = Answer>,
        change: impl FnOnce(&mut S3Config),
    ) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let endpoint = format!("http://{}", listener.local_addr().unwrap());
        let mut config = crate::versity::config(&endpoint, "access", "secret");
        change(&mut config);
        let tasks = Tasks::new();
        let script = Arc::new(Mutex::new(Script {
            answers: answers.into_iter().collect(),
            rule: Box::new(|_| Answer::error("500 Over", "", "InternalError")),
            seen: Vec::new(),
        }));
        let asked = Arc::new(Notify::new());
        let (of, bell, acceptor) = (Arc::clone(&script), Arc::clone(&asked), tasks.clone());
        tasks.spawn("accept", async move {
            while let Ok((stream, _)) = listener.accept().await {
                let (script, bell) = (Arc::clone(&of), Arc::clone(&bell));
                acceptor.spawn_isolated("serve", async move {
                    let _ = serve(stream, &script, &bell).await;
                });
            }
        });
        Self {
            store: S3::connect(config, &tasks).await.unwrap(),
            tasks,
            script,
            asked,
        }
    }

    /// What came so far.
    pub(crate) fn seen(&self) -> Vec<Request> {
        self.script.lock().seen.clone()
    }

    /// Waits until a request came whose line begins with `line` and contains `part`.
    pub(crate) async fn asked_for(&self, line: &str, part: &str) -> Request {
        loop {
            let asked = self.asked.notified();
            let of =
                |request: &Request| request.line.starts_with(line) && request.line.contains(part);
            if let Some(request) = self.seen().into_iter().find(of) {
                return request;
            }
            asked.await;
        }
    }
}

async fn serve(
    mut stream: TcpStream,
    script: &Mutex<Script>,
    asked: &Notify,
) -> std::io::Result<()> {
    let mut bytes = Vec::new();
    let head_end = loop {
        if let Some(at) = bytes.windows(4).position(|w| w == b"\r\n\r\n") {
            break at + 4;
        }
        if stream.read_buf(&mut bytes).await? == 0 {
            return Ok(());
        }
    };
    let head = String::from_utf8_lossy(&bytes[..head_end]).into_owned();
    let (line, rest) = head.split_once(" HTTP/1.1").unwrap_or((&head, ""));
    let mut request = Request {
        line: line.to_owned(),
        head: rest.to_owned(),
        body: bytes.split_off(head_end),
    };
    if script.lock().resets_in_body(&request) {
        return stream.set_zero_linger();
    }
    let length: usize = request.header("content-length").parse().unwrap_or(0);
    while request.body.len() < length && stream.read_buf(&mut request.body).await? > 0 {}
    let answer = {
        let mut script = script.lock();
        script.answer(request)
    };
    asked.notify_waiters();
    match answer {
        Answer::Text(text) => {
            stream.write_all(text.as_bytes()).await?;
            stream.shutdown().await
        }
        Answer::ThenReset(text) => {
            stream.write_all(text.as_bytes()).await?;
            stream.set_zero_linger()
        }
        Answer::ThenDribble(text) => {
            stream.write_all(text.as_bytes()).await?;
            loop {
                stream.write_all(b"x").await?;
                tokio::time::sleep(std::time::Duration::from_millis(5)).await;
            }
        }
        Answer::ResetInBody => stream.set_zero_linger(),
        Answer::Hang => std::future::pending().await,
    }
}
