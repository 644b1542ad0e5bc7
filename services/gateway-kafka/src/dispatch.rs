//! From a frame to a running request.

use std::sync::Arc;

use bytes::Bytes;
use futures_util::TryFutureExt;
use tidemark_log::Backing;
use tidemark_wire::frame::FrameHead;
use tidemark_wire::{Encoded, KafkaString, RequestHeader};

use crate::handler::{Call, CallError, Entry, Peer, Run, Running};
use crate::{Ctx, handlers};

/// What becomes of a frame by its first eight bytes alone.
pub(crate) enum Route {
    /// A handler serves it.
    Serve(&'static Entry),
    /// The answer is known already: an `ApiVersions` version that is not served.
    Answer(Encoded),
}

/// Finds who serves a frame.
///
/// # Errors
/// For what Kafka has no answer to: the connection ends.
pub(crate) fn route(head: &FrameHead) -> Result<Route, CallError> {
    let entry = handlers::find(head.api_key).ok_or(CallError::UnknownApi(head.api_key))?;
    if (entry.min..=entry.max).contains(&head.api_version) {
        return Ok(Route::Serve(entry));
    }
    if handlers::is_api_versions(head.api_key) {
        let answer = handlers::unsupported_version(head.correlation_id)?;
        return Ok(Route::Answer(answer));
    }
    Err(CallError::UnsupportedVersion {
        api: entry.name,
        version: head.api_version,
        min: entry.min,
        max: entry.max,
    })
}

/// Splits a frame (without its length prefix), which is in `memory`, into its surroundings and its body.
/// It is the connection's request `number`.
///
/// # Errors
/// [`CallError::Wire`] when the header is malformed.
pub(crate) fn open(
    peer: &Peer,
    mut frame: Bytes,
    (memory, number): (Backing, u64),
) -> Result<(Call, Bytes), CallError> {
    let header = RequestHeader::decode(&mut frame)?;
    let call = Call {
        tenant: peer.tenant,
        addr: peer.addr,
        stop: peer.stop.clone(),
        client_id: header.client_id.unwrap_or(KafkaString::from_static("")),
        version: header.api_version,
        correlation_id: header.correlation_id,
        memory,
        lane: Arc::clone(&peer.lane),
        number,
    };
    Ok((call, frame))
}

/// Serves a request from start to end.
///
/// # Errors
/// When the connection has to end.
pub(crate) fn serve(ctx: Arc<Ctx>, entry: &Entry, call: Call, body: Bytes) -> Running {
    match entry.run {
        Run::Whole(run) => run(ctx, call, body),
        Run::Staged(run) => Box::pin(run(ctx, call, body).and_then(|running| running)),
    }
}
