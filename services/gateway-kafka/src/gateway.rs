//! The listener: accepts, bounds how many connections there are, and starts a task for each.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use tidemark_runtime::{Tasks, accept_error_passes};
use tidemark_types::Tenant;
use tokio::net::{TcpListener, TcpStream};
use tokio_util::sync::CancellationToken;

use crate::conn::{self, End, Shared};
use crate::door::{Admitted, Door};
use crate::handler::Peer;
use crate::quiet::Quiet;
use crate::{Ctx, KafkaConfig};

/// Pause after a failed accept (file descriptors used up, say): the kernel's queue holds the peers meanwhile.
const ACCEPT_PAUSE: Duration = Duration::from_millis(50);

/// Accept errors in a row, passing shortages not counted, after which the socket counts as lost and the service stops.
const ACCEPT_ERRORS_MAX: u32 = 100;

/// Why the listener could not be made.
#[derive(Debug, thiserror::Error)]
pub enum BindError {
    /// Another process listens there.
    #[error(
        "listen for Kafka clients on {addr}: the port is in use; stop the other process or choose another address"
    )]
    Taken {
        /// The address asked for.
        addr: SocketAddr,
    },
    /// The operating system refuses.
    #[error("listen for Kafka clients on {addr}: {source}")]
    Refused {
        /// The address asked for.
        addr: SocketAddr,
        /// Its reason.
        source: io::Error,
    },
}

/// The Kafka listener, bound and not yet serving.
#[derive(Debug)]
pub struct KafkaGateway {
    listener: TcpListener,
    addr: SocketAddr,
    gate: Arc<Gate>,
    tasks: Tasks,
}

#[derive(Debug)]
struct Gate {
    shared: Arc<Shared>,
    door: Arc<Door>,
    bad_peers: Quiet,
    refusals: Quiet,
}

impl KafkaGateway {
    /// Binds the listener. A `ctx.cluster.port` of 0 becomes the port that was bound.
    ///
    /// # Errors
    /// [`BindError`].
    pub async fn bind(config: KafkaConfig, ctx: Ctx, tasks: Tasks) -> Result<Self, BindError> {
        let listen = config.listen;
        let refused = |source: io::Error| match source.kind() {
            io::ErrorKind::AddrInUse => BindError::Taken { addr: listen },
            _ => BindError::Refused {
                addr: listen,
                source,
            },
        };
        let listener = tidemark_runtime::listen(listen).map_err(refused)?;
        let addr = listener.local_addr().map_err(refused)?;
        let door = Door::new(config.connections_max, config.connections_per_ip_max);
        Ok(Self {
            listener,
            addr,
            gate: Arc::new(Gate {
                shared: Arc::new(Shared::new(ctx.bound_to(addr.port(), &config), config)),
                door,
                bad_peers: Quiet::default(),
                refusals: Quiet::default(),
            }),
            tasks,
        })
    }

    /// The address it listens on.
    #[must_use]
    pub const fn local_addr(&self) -> SocketAddr {
        self.addr
    }

    /// Starts accepting. Returns at once; ends when the tasks stop: the listener closes, connections finish
    /// what they have begun.
    pub fn serve(self) {
        let Self {
            listener,
            gate,
            tasks,
            addr,
        } = self;
        let accepting = tasks.clone();
        tasks.spawn("kafka listener", async move {
            tracing::info!(%addr, "listening for Kafka clients");
            tokio::select! {
                biased;
                () = accepting.stopping() => {}
                () = accept(&listener, &gate, &accepting) => {}
            }
        });
    }
}

async fn accept(listener: &TcpListener, gate: &Arc<Gate>, tasks: &Tasks) {
    let clock = gate.shared.ctx.clock.clone();
    let mut errors = 0;
    while errors < ACCEPT_ERRORS_MAX {
        match listener.accept().await {
            Ok((stream, addr)) => {
                errors = 0;
                match gate.door.enter(addr.ip(), &tasks.token()) {
                    Some(admitted) => start(gate, tasks, stream, addr, admitted),
                    None => {
                        if let Some(more) = gate.refusals.due(&clock) {
                            tracing::warn!(%addr, more, "refuse connection: at the bound of connections");
                        }
                    }
                }
            }
            Err(error) => {
                if let Some(more) = gate.refusals.due(&clock) {
                    tracing::warn!(%error, more, "accept connection");
                }
                errors += u32::from(!accept_error_passes(&error));
                clock.sleep(ACCEPT_PAUSE).await;
            }
        }
    }
    tracing::error!("stop: the Kafka listener is lost");
    tasks.token().cancel();
}

fn start(gate: &Arc<Gate>, tasks: &Tasks, stream: TcpStream, addr: SocketAddr, at: Admitted) {
    let gate = Arc::clone(gate);
    tasks.spawn_isolated(format!("kafka connection {addr}"), async move {
        // Without it a small answer may wait for the peer's delayed ack; losing it costs only latency.
        let _ = stream.set_nodelay(true);
        let peer = Peer {
            tenant: Tenant::default_without_auth(),
            addr,
            stop: at.stop(),
            lane: Arc::default(),
        };
        let end = drained(&gate, stream, peer, &at).await;
        gate.report(addr, &end);
    });
}

/// Runs a connection. Once it was asked to end it has the drain time to finish what it has begun.
async fn drained(gate: &Gate, stream: TcpStream, peer: Peer, at: &Admitted) -> End {
    let stop: CancellationToken = peer.stop.clone();
    // Pinned where it is made: moved into another future, its size would be in it twice.
    let running = std::pin::pin!(conn::run(
        stream.into_split(),
        peer,
        Arc::clone(&gate.shared),
        || at.greeted()
    ));
    let late = async {
        stop.cancelled().await;
        gate.shared
            .ctx
            .clock
            .sleep(gate.shared.config.drain_timeout)
            .await;
    };
    tokio::select! {
        biased;
        end = running => end,
        () = late => End::Asked,
    }
}

impl Gate {
    fn report(&self, addr: SocketAddr, end: &End) {
        if !end.is_peers_fault() {
            tracing::debug!(%addr, "connection ended: {end}");
        } else if let Some(more) = self.bad_peers.due(&self.shared.ctx.clock) {
            tracing::warn!(%addr, more, "connection ended: {end}");
        }
    }
}

#[cfg(test)]
mod tests {
    use std::net::Ipv4Addr;

    use tidemark_wire::messages::DescribeClusterRequestData;
    use tokio::io::{AsyncReadExt, AsyncWriteExt};

    use super::*;
    use crate::testing::{self, answer, frame};

    async fn bind(listen: SocketAddr, tasks: &Tasks) -> Result<KafkaGateway, BindError> {
        let config = KafkaConfig {
            listen,
            ..KafkaConfig::default()
        };
        let ctx = Ctx::clone(&*testing::ctx().await);
        KafkaGateway::bind(config, ctx, tasks.clone()).await
    }

    async fn describe(client: &mut TcpStream) {
        let request = frame(&DescribeClusterRequestData::default(), 0);
        client.write_all(&request).await.unwrap();
        let length = client.read_i32().await.unwrap();
        let mut raw = vec![0; usize::try_from(length).unwrap()];
        client.read_exact(&mut raw).await.unwrap();
        let whole = [&length.to_be_bytes()[..], &raw].concat();
        let answer = answer::<DescribeClusterRequestData>(whole.into(), 0);
        assert_eq!(answer.brokers.len(), 1);
    }

    fn ephemeral() -> SocketAddr {
        (Ipv4Addr::LOCALHOST, 0).into()
    }

    #[tokio::test]
    async fn serves_over_tcp_beside_silent_and_bad_peers_and_drains() {
        let tasks = Tasks::new();
        let gateway = bind(ephemeral(), &tasks).await.unwrap();
        let addr = gateway.local_addr();
        gateway.serve();
        let mut silent = Vec::new();
        for _ in 0..200 {
            silent.push(TcpStream::connect(addr).await.unwrap());
        }
        let mut bad = TcpStream::connect(addr).await.unwrap();
        bad.write_all(&[0xff; 64]).await.unwrap();
        let mut good = TcpStream::connect(addr).await.unwrap();
        describe(&mut good).await;
        // Closed, or reset because of what it sent and nobody read.
        assert!(bad.read_u8().await.is_err());
        describe(&mut good).await;
        tasks.shutdown(Duration::from_secs(30)).await.unwrap();
        assert!(good.read_u8().await.is_err());
        assert_eq!(tasks.failure(), None);
    }

    #[tokio::test]
    async fn a_port_in_use_is_named() {
        let tasks = Tasks::new();
        let first = bind(ephemeral(), &tasks).await.unwrap();
        let addr = first.local_addr();
        let second = bind(addr, &tasks).await.unwrap_err();
        assert!(matches!(second, BindError::Taken { addr: a } if a == addr));
        assert!(second.to_string().contains("in use"));
    }
}
