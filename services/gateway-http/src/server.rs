//! The listener: accepts, bounds, drains.

use std::net::SocketAddr;
use std::panic::AssertUnwindSafe;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use futures_util::FutureExt;
use hyper::server::conn::http1;
use hyper::service::{Service, service_fn};
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::service::TowerToHyperService;
use tidemark_runtime::{Tasks, accept_error_passes};
use tokio::net::{TcpListener, TcpStream};

use crate::connection::Paced;
use crate::places::{Place, Places};
use crate::{Ctx, HttpConfig, router};

/// Accept errors in a row, passing shortages not counted, after which the socket counts as lost.
const ACCEPT_ERRORS_MAX: u32 = 100;
/// Pause after an accept error: out of file descriptors, usually, and some close soon.
const ACCEPT_PAUSE: Duration = Duration::from_millis(50);

/// Why the gateway could not listen.
#[derive(Debug, thiserror::Error)]
pub enum BindError {
    /// Another process listens there.
    #[error("listen for HTTP on {address}: the port is taken by another process")]
    Taken {
        /// Where.
        address: SocketAddr,
    },
    /// Anything else.
    #[error("listen for HTTP on {address}: {source}")]
    Refused {
        /// Where.
        address: SocketAddr,
        /// Why.
        source: std::io::Error,
    },
}

/// Why the gateway stopped although nobody asked it to.
#[derive(Debug, thiserror::Error)]
#[error("accept HTTP connections: the socket is lost: {0}")]
pub struct ServeError(#[from] std::io::Error);

/// A listening gateway.
pub struct HttpGateway {
    listener: TcpListener,
    address: SocketAddr,
    ctx: Ctx,
    tasks: Tasks,
}

impl std::fmt::Debug for HttpGateway {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "HttpGateway({})", self.address)
    }
}

impl HttpGateway {
    /// Listens on `ctx`'s configured address. Connections wait until [`HttpGateway::serve`] runs.
    ///
    /// # Errors
    /// [`BindError`].
    pub async fn bind(ctx: Ctx, tasks: Tasks) -> Result<Self, BindError> {
        let address = ctx.config().listen;
        let refused = |source: std::io::Error| match source.kind() {
            std::io::ErrorKind::AddrInUse => BindError::Taken { address },
            _ => BindError::Refused { address, source },
        };
        let listener = tidemark_runtime::listen(address).map_err(refused)?;
        let address = listener.local_addr().map_err(refused)?;
        Ok(Self {
            listener,
            address,
            ctx,
            tasks,
        })
    }

    /// Where it listens; with the port that was chosen when 0 was asked for.
    #[must_use]
    pub const fn local_addr(&self) -> SocketAddr {
        self.address
    }

    /// Serves until [`Ctx::drain`] is called or the tasks are stopping, then drains: no new connections, streams end, requests in work
    /// are finished within the grace period, then cut off.
    ///
    /// # Errors
    /// [`ServeError`] when the socket is lost.
    pub async fn serve(self) -> Result<(), ServeError> {
        let Self {
            listener,
            ctx,
            tasks,
            ..
        } = self;
        let places = Places::new(ctx.config().connections_max);
        let app = router(ctx.clone());
        let accepted = accept_all(&listener, &ctx, &tasks, &places, &app).await;
        drop(listener);
        ctx.draining().cancel();
        let drained = tokio::time::timeout(ctx.config().drain_grace, places.empty());
        if drained.await.is_err() {
            let open = places.open();
            tracing::warn!(
                open,
                "drain HTTP: connections cut off after the grace period"
            );
        }
        accepted
    }
}

async fn accept_all(
    listener: &TcpListener,
    ctx: &Ctx,
    tasks: &Tasks,
    places: &Arc<Places>,
    app: &Router,
) -> Result<(), ServeError> {
    let mut errors = 0;
    loop {
        let accepted = tokio::select! {
            biased;
            () = tasks.stopping() => return Ok(()),
            () = ctx.draining().cancelled() => return Ok(()),
            accepted = accept(listener, places) => accepted,
        };
        match accepted {
            Ok((stream, place)) => {
                errors = 0;
                tasks.spawn(
                    "http connection",
                    serve_one(stream, ctx.clone(), app.clone(), place),
                );
            }
            Err(error) => {
                errors += u32::from(!accept_error_passes(&error));
                if errors >= ACCEPT_ERRORS_MAX {
                    return Err(error.into());
                }
                tracing::debug!(%error, "accept HTTP connection");
                ctx.clock().sleep(ACCEPT_PAUSE).await;
            }
        }
    }
}

async fn accept(
    listener: &TcpListener,
    places: &Arc<Places>,
) -> std::io::Result<(TcpStream, Place)> {
    let (stream, _) = listener.accept().await?;
    Ok((stream, places.take().await))
}

/// Serves one connection to its end. A panic ends this connection and is logged: it is no reason to stop.
async fn serve_one(stream: TcpStream, ctx: Ctx, app: Router, place: Place) {
    let _ = stream.set_nodelay(true);
    let io = TokioIo::new(Paced::new(stream, ctx.config().write_timeout));
    let app = TowerToHyperService::new(app);
    let answer = service_fn(|request| {
        place.heard();
        app.call(request)
    });
    let served = async {
        let mut connection = pin!(builder(ctx.config()).serve_connection(io, answer));
        let grace = async {
            ctx.draining().cancelled().await;
            ctx.clock().sleep(ctx.config().drain_grace).await;
        };
        let mut grace = pin!(grace);
        let mut told = false;
        loop {
            tokio::select! {
                biased;
                outcome = connection.as_mut() => return outcome,
                () = ctx.draining().cancelled(), if !told => {
                    told = true;
                    connection.as_mut().graceful_shutdown();
                }
                () = &mut grace => return Ok(()),
                () = place.asked_to_leave() => return Ok(()),
            }
        }
    };
    match AssertUnwindSafe(served).catch_unwind().await {
        Ok(Ok(())) => {}
        Ok(Err(error)) => tracing::debug!(%error, "HTTP connection ended"),
        Err(_) => tracing::error!("HTTP connection ended by a panic while its answer was written"),
    }
}

fn builder(config: &HttpConfig) -> http1::Builder {
    let mut builder = http1::Builder::new();
    builder
        .timer(TokioTimer::new())
        .header_read_timeout(config.head_timeout)
        .max_buf_size(config.head_bytes_max.max(8 << 10))
        .half_close(false);
    builder
}
