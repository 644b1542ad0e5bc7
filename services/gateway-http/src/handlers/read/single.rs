//! One record as its bare value.

use axum::http::{HeaderMap, HeaderName, HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use tidemark_records::Record;

use super::{Reading, page};
use crate::encoding::encode_base64;
use crate::{Ctx, Problem};

pub(super) async fn respond(ctx: &Ctx, reading: Reading) -> Result<Response, Problem> {
    let reading = Reading {
        limit: 1,
        ..reading
    };
    let mut read = page::records(ctx, &reading, reading.wait).await?;
    let mut headers = HeaderMap::new();
    number(&mut headers, "tidemark-next-offset", read.next.0);
    number(
        &mut headers,
        "tidemark-high-watermark",
        read.high_watermark.0,
    );
    let Some(record) = read.records.pop() else {
        return Ok((StatusCode::NO_CONTENT, headers).into_response());
    };
    describe(&mut headers, &record)?;
    Ok((headers, record.value.unwrap_or_default()).into_response())
}

/// The record besides its value, as produce takes it.
fn describe(headers: &mut HeaderMap, record: &Record) -> Result<(), Problem> {
    let octets = HeaderValue::from_static("application/octet-stream");
    headers.insert(header::CONTENT_TYPE, octets);
    number(headers, "tidemark-offset", record.offset.0);
    number(headers, "tidemark-timestamp", record.timestamp);
    if record.value.is_none() {
        let yes = HeaderValue::from_static("true");
        headers.insert(HeaderName::from_static("tidemark-tombstone"), yes);
    }
    if let Some(key) = &record.key {
        let value = header_value(&encode_base64(key))?;
        headers.insert(HeaderName::from_static("tidemark-key"), value);
    }
    for h in &record.headers {
        let name = percent_encode(&h.key);
        let text = match &h.value {
            Some(value) => format!("{name}={}", encode_base64(value)),
            None => name,
        };
        headers.append(
            HeaderName::from_static("tidemark-header"),
            header_value(&text)?,
        );
    }
    Ok(())
}

fn number(headers: &mut HeaderMap, name: &'static str, value: i64) {
    headers.insert(HeaderName::from_static(name), HeaderValue::from(value));
}

fn header_value(text: &str) -> Result<HeaderValue, Problem> {
    HeaderValue::from_str(text).map_err(|_| Problem::invalid("answer in headers: they do not fit"))
}

fn percent_encode(bytes: &[u8]) -> String {
    use std::fmt::Write;
    let mut out = String::new();
    for byte in bytes {
        if byte.is_ascii_alphanumeric() || b"-_.~".contains(byte) {
            out.push(char::from(*byte));
        } else {
            write!(out, "%{byte:02X}").expect("text grows");
        }
    }
    out
}
