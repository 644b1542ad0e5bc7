//! What a handler is, and what the table keeps of it.

use std::future::Future;
use std::net::SocketAddr;
use std::sync::Arc;

use bytes::Bytes;
use futures_util::future::BoxFuture;
use tidemark_log::Backing;
use tidemark_types::{ErrorCode, Tenant};
use tidemark_wire::{ApiKey, Encoded, KafkaString, Request, WireError, encode_response};
use tokio_util::sync::CancellationToken;

use crate::lane::Lane;
use crate::{Ctx, memory};

/// Whose connection a request came in on.
#[derive(Clone, Debug)]
pub(crate) struct Peer {
    /// The tenant, resolved before any request is parsed.
    pub(crate) tenant: Tenant,
    /// The client's address.
    pub(crate) addr: SocketAddr,
    /// Cancelled when the connection is to end after what has begun.
    pub(crate) stop: CancellationToken,
    /// The order of the connection's produces.
    pub(crate) lane: Arc<Lane>,
}

/// Whether a request waits for others, and what becomes of it at the end of its connection.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Waits {
    /// It runs to its end: the outcome of a write matters to more than its client.
    No,
    /// It is dropped when its client has gone; when the connection is to end it answers with what there is, or with
    /// an error that can be retried.
    UntilStop,
}

/// One request's surroundings.
#[derive(Clone, Debug)]
pub(crate) struct Call {
    /// The tenant, resolved before the request was parsed.
    pub(crate) tenant: Tenant,
    /// The client's address.
    #[allow(dead_code, reason = "group members are listed with it")]
    pub(crate) addr: SocketAddr,
    /// The client's name for itself; empty when it gave none.
    #[allow(dead_code, reason = "group members are listed with it")]
    pub(crate) client_id: KafkaString,
    /// Cancelled when the connection is to end after what has begun.
    pub(crate) stop: CancellationToken,
    /// The version of request and answer; within the handler's range.
    pub(crate) version: i16,
    /// Echoed in the answer.
    pub(crate) correlation_id: i32,
    /// The memory of the request's frame, which what it carries is a slice of.
    pub(crate) memory: Backing,
    /// Its connection's produces.
    pub(crate) lane: Arc<Lane>,
    /// Its number there.
    pub(crate) number: u64,
}

/// Why a request ends its connection: the protocol has no answer for these.
#[derive(Debug, thiserror::Error)]
pub(crate) enum CallError {
    /// No such API here.
    #[error("serve request: API key {0} is not served")]
    UnknownApi(i16),
    /// The API is served, but not so.
    #[error("serve request: version {version} of {api} is not served ({min} to {max} are)")]
    UnsupportedVersion {
        /// The API.
        api: &'static str,
        /// The version asked for.
        version: i16,
        /// The lowest served.
        min: i16,
        /// The highest served.
        max: i16,
    },
    /// The request would hold too much while it waits for others.
    #[error(
        "serve {api}: it holds {held} bytes decoded, more than the {max} that one that waits may"
    )]
    TooLarge {
        /// The API.
        api: &'static str,
        /// What it holds, bytes.
        held: usize,
        /// The bound, bytes.
        max: usize,
    },
    /// A request that wants no answer failed; the end of the connection is what tells its client.
    #[error("serve request without an answer: {0}")]
    Unanswered(ErrorCode),
    /// The bytes are no request, or the answer cannot be written.
    #[error(transparent)]
    Wire(#[from] WireError),
}

/// An answer, or none for a request that wants none (`acks=0`).
pub(crate) type Answer = Result<Option<Encoded>, CallError>;
/// A request being served.
pub(crate) type Running = BoxFuture<'static, Answer>;

/// A request going through its first stage; the second comes out of it.
pub(crate) type Staging = BoxFuture<'static, Result<Running, CallError>>;

/// One API. Implement it in a file of `handlers/` and list it in `handlers.rs`.
pub(crate) trait Handler: 'static {
    /// The request message; it names the API's key and answer.
    type Request: Request;
    /// Lowest version served.
    const MIN: i16;
    /// Highest version served.
    const MAX: i16;
    /// What a reader of `api/kafka-support.toml` should know.
    const NOTES: &'static str = "";
    /// Whether the request waits for others (long poll, rebalance).
    const WAITS: Waits = Waits::No;

    /// Serves a request. Every failure has a place in the answer; a panic ends the connection.
    fn handle(
        ctx: &Ctx,
        call: &Call,
        request: Self::Request,
    ) -> impl Future<Output = <Self::Request as Request>::Response> + Send;
}

/// How an entry serves a request whose header has been read.
#[derive(Clone, Copy)]
pub(crate) enum Run {
    /// One future; it starts when every earlier request of the connection has been answered.
    Whole(fn(Arc<Ctx>, Call, Bytes) -> Running),
    /// Two stages: the first puts the request in its place and runs in request order, the second waits for
    /// the outcome while later requests of the kind start (Produce).
    Staged(fn(Arc<Ctx>, Call, Bytes) -> Staging),
}

/// A handler in the table.
#[derive(Clone, Copy)]
pub(crate) struct Entry {
    pub(crate) key: ApiKey,
    pub(crate) name: &'static str,
    /// Lowest version advertised.
    pub(crate) min: i16,
    pub(crate) max: i16,
    pub(crate) notes: &'static str,
    pub(crate) waits: Waits,
    pub(crate) run: Run,
}

/// The table entry of a handler.
pub(crate) const fn entry<H: Handler>() -> Entry {
    Entry {
        key: H::Request::KEY,
        name: H::Request::NAME,
        min: H::MIN,
        max: H::MAX,
        notes: H::NOTES,
        waits: H::WAITS,
        run: Run::Whole(run_whole::<H>),
    }
}

fn run_whole<H: Handler>(ctx: Arc<Ctx>, call: Call, body: Bytes) -> Running {
    Box::pin(async move {
        let (request, _held) =
            memory::read::<H::Request>(&ctx, &call, body, H::WAITS != Waits::No).await?;
        let response = H::handle(&ctx, &call, request).await;
        Ok(Some(encode_response(
            &response,
            call.version,
            call.correlation_id,
        )?))
    })
}
