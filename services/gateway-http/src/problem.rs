//! What a client sees when a request fails: `application/problem+json` (RFC 9457).

use std::borrow::Cow;

use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use serde::{Serialize, Serializer};
use serde_json::{Map, Value};
use tidemark_types::{Coded, ErrorCode};
use utoipa::openapi::{RefOr, Schema};
use utoipa::{PartialSchema, ToSchema};

/// The media type of problem documents.
pub(crate) const PROBLEM_JSON: &str = "application/problem+json";
/// What `Retry-After` says, seconds: long enough for a takeover's usual course, short enough not to be felt.
const RETRY_AFTER_S: u32 = 1;

/// A failed request: a code, and what happened here.
#[derive(Clone, Debug, PartialEq)]
pub struct Problem {
    code: ErrorCode,
    status: StatusCode,
    detail: String,
    request_id: Option<Box<str>>,
    more: Option<Box<Map<String, Value>>>,
}

/// A problem document.
#[derive(Serialize, ToSchema)]
#[schema(as = Problem)]
struct Document<'a> {
    /// `urn:tidemark:error:` and the code.
    #[serde(rename = "type")]
    #[schema(example = "urn:tidemark:error:unknown_topic_or_partition")]
    kind: String,
    /// The code in words.
    #[schema(example = "Unknown topic or partition")]
    title: String,
    /// The HTTP status.
    status: u16,
    /// What happened here.
    detail: &'a str,
    /// The stable code; the catalogue is `api/errors.toml`.
    #[schema(example = "unknown_topic_or_partition")]
    code: &'static str,
    /// What to do about it.
    hint: &'static str,
    /// Whether the same request may succeed later.
    retriable: bool,
    /// The request's id, also in the `X-Request-Id` header and in the server's log.
    #[serde(skip_serializing_if = "Option::is_none")]
    request_id: Option<&'a str>,
    /// More about it, by code: `next_offset`, `log_start`, `high_watermark`, `line`, `column`.
    #[serde(flatten)]
    #[schema(value_type = Object)]
    more: Option<&'a Map<String, Value>>,
}

impl Serialize for Problem {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let name = self.code.name();
        let mut title = name.replace('_', " ");
        if let Some(first) = title.get_mut(..1) {
            first.make_ascii_uppercase();
        }
        Document {
            kind: format!("urn:tidemark:error:{name}"),
            title,
            status: self.status.as_u16(),
            detail: &self.detail,
            code: name,
            hint: self.code.hint(),
            retriable: self.code.is_retriable(),
            request_id: self.request_id.as_deref(),
            more: self.more.as_deref(),
        }
        .serialize(serializer)
    }
}

impl PartialSchema for Problem {
    fn schema() -> RefOr<Schema> {
        Document::schema()
    }
}

impl ToSchema for Problem {
    fn name() -> Cow<'static, str> {
        Document::name()
    }
}

impl Problem {
    /// A problem of that code; `detail` says what happened here.
    #[must_use]
    pub fn new(code: ErrorCode, detail: impl Into<String>) -> Self {
        Self {
            code,
            status: StatusCode::from_u16(code.http_status())
                .unwrap_or(StatusCode::INTERNAL_SERVER_ERROR),
            detail: detail.into(),
            request_id: None,
            more: None,
        }
    }

    /// The request is malformed or contradicts itself.
    #[must_use]
    pub fn invalid(detail: impl Into<String>) -> Self {
        Self::new(ErrorCode::InvalidRequest, detail)
    }

    /// A problem of an error that has a code.
    pub fn of(error: &(impl Coded + std::fmt::Display)) -> Self {
        Self::new(error.code(), error.to_string())
    }

    /// With a status that HTTP knows better than the catalogue.
    #[must_use]
    pub fn with_status(mut self, status: StatusCode) -> Self {
        self.status = status;
        self
    }

    /// With one more member.
    #[must_use]
    pub fn with(mut self, name: &str, value: impl Into<Value>) -> Self {
        let more = self.more.get_or_insert_default();
        more.insert(name.to_owned(), value.into());
        self
    }

    pub(crate) fn with_request_id(mut self, id: &str) -> Self {
        self.request_id = Some(id.into());
        self
    }

    /// The document.
    pub(crate) fn to_json(&self) -> String {
        serde_json::to_string(self).expect("text, numbers and a map with text keys serialise")
    }
}

impl IntoResponse for Problem {
    /// The front finds the problem in the response's extensions and adds the request's id.
    fn into_response(self) -> Response {
        let status = self.status;
        let mut response = (status, self.to_json()).into_response();
        let headers = response.headers_mut();
        headers.insert(header::CONTENT_TYPE, HeaderValue::from_static(PROBLEM_JSON));
        if matches!(
            status,
            StatusCode::SERVICE_UNAVAILABLE | StatusCode::TOO_MANY_REQUESTS
        ) {
            headers.insert(header::RETRY_AFTER, HeaderValue::from(RETRY_AFTER_S));
        }
        response.extensions_mut().insert(self);
        response
    }
}
