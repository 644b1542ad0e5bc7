//! What stands in front of every handler: ids, panics, the bound on requests in work, metrics, the log.

use std::panic::AssertUnwindSafe;
use std::sync::Arc;

use axum::body::Body;
use axum::extract::{MatchedPath, Request, State};
use axum::http::{HeaderValue, Method, StatusCode, header};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use futures_util::FutureExt;
use opentelemetry::metrics::{Counter, Histogram};
use opentelemetry::{KeyValue, global};
use tidemark_runtime::{Clock, Entropy};
use tidemark_types::ErrorCode;

use crate::{Ctx, Problem};

const REQUEST_ID: &str = "x-request-id";
const REQUEST_ID_BYTES_MAX: usize = 64;
/// Bucket boundaries, seconds: from a memory read to a long poll.
const BOUNDARIES_S: [f64; 14] = [
    0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 30.0,
];

/// What the outermost layer works with.
#[derive(Clone)]
pub(crate) struct Front {
    clock: Clock,
    entropy: Entropy,
    requests: Counter<u64>,
    seconds: Histogram<f64>,
}

impl Front {
    pub(crate) fn new(clock: Clock, entropy: Entropy) -> Self {
        let meter = global::meter("tidemark");
        Self {
            clock,
            entropy,
            requests: meter
                .u64_counter("tidemark.http.requests")
                .with_description("HTTP requests by route, method and status")
                .build(),
            seconds: meter
                .f64_histogram("tidemark.http.request.seconds")
                .with_description("Time to the head of the HTTP answer by route, seconds")
                .with_boundaries(BOUNDARIES_S.to_vec())
                .build(),
        }
    }
}

/// The outermost layer.
pub(crate) async fn front(State(this): State<Front>, request: Request, next: Next) -> Response {
    let id =
        client_request_id(&request).unwrap_or_else(|| format!("{:016x}", this.entropy.next_u64()));
    let method = request.method().clone();
    let route = request
        .extensions()
        .get::<MatchedPath>()
        .map_or_else(|| "none".to_owned(), |m| m.as_str().to_owned());
    let started = this.clock.now();
    let caught = AssertUnwindSafe(next.run(request)).catch_unwind().await;
    let mut response = caught.unwrap_or_else(|panic| panicked(&panic, &id));
    response = with_request_id(response, &id);
    let status = response.status();
    let labels = [
        KeyValue::new("route", route.clone()),
        KeyValue::new("method", method_label(&method)),
        KeyValue::new("status", i64::from(status.as_u16())),
    ];
    this.requests.add(1, &labels);
    let took = this.clock.now().duration_since(started);
    this.seconds.record(took.as_secs_f64(), &labels[..1]);
    if status.is_server_error() && status != StatusCode::SERVICE_UNAVAILABLE {
        tracing::warn!(request_id = %id, %method, route, status = status.as_u16(), "request failed");
    } else {
        tracing::debug!(request_id = %id, %method, route, status = status.as_u16(), "request");
    }
    response
}

/// Holds one of the places for requests in work; a request that finds none gets 503.
pub(crate) async fn admit(State(ctx): State<Ctx>, request: Request, next: Next) -> Response {
    let Ok(_place) = Arc::clone(ctx.requests()).try_acquire_owned() else {
        return Problem::new(
            ErrorCode::Overloaded,
            format!(
                "take the request: {} are in work already",
                ctx.config().requests_max
            ),
        )
        .into_response();
    };
    next.run(request).await
}

/// A client's own request id, if it is short and plain.
fn client_request_id(request: &Request) -> Option<String> {
    let id = request.headers().get(REQUEST_ID)?.to_str().ok()?;
    let plain = |b: u8| b.is_ascii_alphanumeric() || b"-_.".contains(&b);
    let fits = (1..=REQUEST_ID_BYTES_MAX).contains(&id.len()) && id.bytes().all(plain);
    fits.then(|| id.to_owned())
}

/// Methods are the client's choice: only known ones become labels.
fn method_label(method: &Method) -> &'static str {
    match *method {
        Method::GET => "GET",
        Method::HEAD => "HEAD",
        Method::POST => "POST",
        Method::PATCH => "PATCH",
        Method::DELETE => "DELETE",
        _ => "other",
    }
}

fn panicked(panic: &(dyn std::any::Any + Send), id: &str) -> Response {
    let message = panic
        .downcast_ref::<&str>()
        .copied()
        .or_else(|| panic.downcast_ref::<String>().map(String::as_str))
        .unwrap_or("no message");
    tracing::error!(request_id = id, "handler panicked: {message}");
    Problem::new(ErrorCode::Unknown, "handle the request: an internal error").into_response()
}

fn with_request_id(mut response: Response, id: &str) -> Response {
    if let Some(problem) = response.extensions_mut().remove::<Problem>() {
        let text = problem.with_request_id(id).to_json();
        response.headers_mut().remove(header::CONTENT_LENGTH);
        *response.body_mut() = Body::from(text);
    }
    if let Ok(value) = HeaderValue::from_str(id) {
        response.headers_mut().insert(REQUEST_ID, value);
    }
    response
}

/// No such route.
pub(crate) async fn not_found(request: Request) -> Problem {
    Problem::new(
        ErrorCode::NotFound,
        format!("find a route: none is {}", request.uri().path()),
    )
}

/// The route exists, but not with this method.
pub(crate) async fn method_not_allowed(request: Request) -> Problem {
    let (method, path) = (request.method(), request.uri().path());
    Problem::new(
        ErrorCode::MethodNotAllowed,
        format!("find a route: {path} does not take {method}"),
    )
}

#[cfg(test)]
mod tests {
    use axum::Router;
    use axum::body::to_bytes;
    use axum::routing::get;
    use tower::ServiceExt;

    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_panic_is_a_500_and_the_service_goes_on() {
        let outer = Front::new(Clock::system(), Entropy::seeded(1));
        let boom = get(|| async {
            if true {
                panic!("a secret");
            }
        });
        let router: Router = Router::new()
            .route("/boom", boom)
            .route("/fine", get(|| async { "fine" }))
            .layer(axum::middleware::from_fn_with_state(outer, front));
        for _ in 0..2 {
            let request = Request::get("/boom").body(Body::empty()).unwrap();
            let response = router.clone().oneshot(request).await.unwrap();
            assert_eq!(response.status(), StatusCode::INTERNAL_SERVER_ERROR);
            let body = to_bytes(response.into_body(), 1 << 16).await.unwrap();
            let text = String::from_utf8(body.to_vec()).unwrap();
            assert!(
                text.contains("\"code\":\"unknown\"") && text.contains("request_id"),
                "{text}"
            );
            assert!(!text.contains("secret"), "{text}");
        }
        let request = Request::get("/fine").body(Body::empty()).unwrap();
        let response = router.oneshot(request).await.unwrap();
        assert_eq!(response.status(), StatusCode::OK);
    }
}
