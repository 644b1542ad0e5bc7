//! Produce one record whose value is the body.

use axum::extract::Request;
use axum::http::HeaderMap;
use axum::response::Response;
use tidemark_records::Header;

use super::plan::{Incoming, Plan};
use super::{Target, fingerprint, json};
use crate::body::{no_memory, read_whole};
use crate::encoding::decode_base64;
use crate::{Ctx, Problem};

pub(super) async fn produce(
    ctx: &Ctx,
    target: Target,
    key: Option<String>,
    timestamp: Option<i64>,
    request: Request,
) -> Result<Response, Problem> {
    let headers = request.headers();
    let is_tombstone = tombstone(headers)?;
    let mut record = Incoming {
        key: binary_key(headers, key)?,
        value: None,
        headers: record_headers(headers)?,
        partition: None,
        timestamp: timestamp.unwrap_or_else(|| ctx.clock().wall_ms()),
    };
    let mut whole = read_whole(ctx, request.into_body(), ctx.config().body_bytes_max).await?;
    if is_tombstone && !whole.bytes.is_empty() {
        return Err(Problem::invalid("read the body: a tombstone has none"));
    }
    if !whole.memory.hold(whole.bytes.len() * 3) {
        return Err(no_memory());
    }
    let partition = target.partition.unwrap_or(-1).to_be_bytes();
    let sent = fingerprint(&[
        &whole.bytes,
        &partition,
        record.key.as_deref().unwrap_or_default(),
        &[u8::from(is_tombstone), u8::from(record.key.is_some())],
    ]);
    record.value = (!is_tombstone).then(|| whole.bytes.to_vec());
    let mut plan = Plan::new(ctx, &target);
    plan.add(&record)?;
    json::respond(plan.append(ctx, &target, sent, 0)?.finish().await)
}

fn tombstone(headers: &HeaderMap) -> Result<bool, Problem> {
    match headers.get("tidemark-tombstone").map(|v| v.as_bytes()) {
        None | Some(b"false") => Ok(false),
        Some(b"true") => Ok(true),
        Some(_) => Err(Problem::invalid(
            "read Tidemark-Tombstone: true or false is expected",
        )),
    }
}

fn binary_key(headers: &HeaderMap, text: Option<String>) -> Result<Option<Vec<u8>>, Problem> {
    let Some(header) = headers.get("tidemark-key") else {
        return Ok(text.map(String::into_bytes));
    };
    if text.is_some() {
        return Err(Problem::invalid(
            "read the key: it is given both as a parameter and as Tidemark-Key",
        ));
    }
    let base64 = header.to_str().unwrap_or("\u{fffd}");
    decode_base64(base64, "Tidemark-Key").map(Some)
}

/// `Tidemark-Header: name=base64`, name percent-encoded; without `=` the value is null.
fn record_headers(headers: &HeaderMap) -> Result<Vec<Header>, Problem> {
    let read = |text: &str| {
        let (name, value) = match text.split_once('=') {
            None => (text, None),
            Some((name, value)) => (name, Some(decode_base64(value, "Tidemark-Header")?.into())),
        };
        let key = percent_decode(name).ok_or_else(|| {
            Problem::invalid("read Tidemark-Header: the name is not percent-encoded")
        })?;
        Ok(Header {
            key: key.into(),
            value,
        })
    };
    let all = headers.get_all("tidemark-header").iter();
    all.map(|v| read(v.to_str().unwrap_or("%"))).collect()
}

fn percent_decode(text: &str) -> Option<Vec<u8>> {
    let mut out = Vec::with_capacity(text.len());
    let mut bytes = text.bytes();
    while let Some(byte) = bytes.next() {
        if byte != b'%' {
            out.push(byte);
            continue;
        }
        let mut digit = || char::from(bytes.next()?).to_digit(16);
        let value = digit()? * 16 + digit()?;
        out.push(u8::try_from(value).ok()?);
    }
    Some(out)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn header_names_are_percent_decoded() {
        assert_eq!(percent_decode("a%3D%00b"), Some(b"a=\0b".to_vec()));
        for bad in ["%", "%0", "%zz", "a%f"] {
            assert_eq!(percent_decode(bad), None, "{bad}");
        }
    }
}
