//! Reading requests, strictly: what is not understood is refused by name, as a problem.

use axum::body::Body;
use axum::extract::{FromRequest, FromRequestParts, Path, Query, Request};
use axum::http::request::Parts;
use axum::http::{HeaderMap, StatusCode, header};
use serde::Deserialize;
use serde::de::DeserializeOwned;
use tidemark_types::ErrorCode;

use crate::body::read_whole;
use crate::{Ctx, Problem};

/// Bytes of an administrative JSON body at the most.
const ADMIN_BODY_BYTES_MAX: usize = 1 << 20;

/// The query's parameters. Types deny unknown fields, so that a misspelt parameter is named, not ignored.
pub(crate) struct Params<T>(pub(crate) T);

impl<T: DeserializeOwned, S: Send + Sync> FromRequestParts<S> for Params<T> {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Problem> {
        Query::try_from_uri(&parts.uri)
            .map(|Query(params)| Self(params))
            .map_err(|e| Problem::invalid(format!("read the query: {}", cause(&e))))
    }
}

/// For routes without parameters.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct NoParams {}

/// The path's parameters.
pub(crate) struct Segments<T>(pub(crate) T);

impl<T: DeserializeOwned + Send, S: Send + Sync> FromRequestParts<S> for Segments<T> {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Problem> {
        match Path::from_request_parts(parts, state).await {
            Ok(Path(segments)) => Ok(Self(segments)),
            Err(e) => Err(Problem::invalid(format!("read the path: {}", cause(&e)))),
        }
    }
}

/// A JSON body of an administrative request.
pub(crate) struct JsonBody<T>(pub(crate) T);

impl<T: DeserializeOwned> FromRequest<Ctx> for JsonBody<T> {
    type Rejection = Problem;

    async fn from_request(request: Request<Body>, ctx: &Ctx) -> Result<Self, Problem> {
        match content_type(request.headers()).as_deref() {
            Some("application/json") => {}
            other => return Err(unsupported(other, "application/json")),
        }
        let whole = read_whole(ctx, request.into_body(), ADMIN_BODY_BYTES_MAX).await?;
        parse_json(&whole.bytes).map(Self)
    }
}

/// Reads JSON; the problem names the line and the column.
pub(crate) fn parse_json<'a, T: Deserialize<'a>>(bytes: &'a [u8]) -> Result<T, Problem> {
    serde_json::from_slice(bytes).map_err(|e| {
        Problem::invalid(format!("read the JSON: {e}"))
            .with("line", e.line())
            .with("column", e.column())
    })
}

/// The content type without its parameters, in lower case.
pub(crate) fn content_type(headers: &HeaderMap) -> Option<String> {
    let value = headers.get(header::CONTENT_TYPE)?.to_str().ok()?;
    let essence = value.split(';').next().unwrap_or_default();
    Some(essence.trim().to_ascii_lowercase())
}

pub(crate) fn unsupported(found: Option<&str>, wanted: &str) -> Problem {
    let found = found.unwrap_or("no content type");
    Problem::new(
        ErrorCode::UnsupportedMediaType,
        format!("read the body: {found} where {wanted} is expected"),
    )
}

/// The first of `offered` that the `Accept` header allows; the first of all without one.
pub(crate) fn accepted<T: Copy>(headers: &HeaderMap, offered: &[(&str, T)]) -> Result<T, Problem> {
    let Some(accept) = headers.get(header::ACCEPT) else {
        return Ok(offered[0].1);
    };
    let accept = accept.to_str().unwrap_or_default().to_ascii_lowercase();
    for range in accept.split(',') {
        let range = range.split(';').next().unwrap_or_default().trim();
        let matched = offered.iter().find(|(media, _)| {
            range == *media
                || range == "*/*"
                || range
                    .strip_suffix('*')
                    .is_some_and(|prefix| prefix.len() > 1 && media.starts_with(prefix))
        });
        if let Some((_, found)) = matched {
            return Ok(*found);
        }
    }
    let names: Vec<_> = offered.iter().map(|(media, _)| *media).collect();
    Err(Problem::new(
        ErrorCode::UnsupportedMediaType,
        format!("answer as {accept}: this route gives {}", names.join(", ")),
    )
    .with_status(StatusCode::NOT_ACCEPTABLE))
}

/// An extractor's innermost cause, without its frame.
fn cause(error: &dyn std::error::Error) -> String {
    let mut innermost = error;
    while let Some(source) = innermost.source() {
        innermost = source;
    }
    innermost.to_string()
}
