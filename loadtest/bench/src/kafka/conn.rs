//! One connection to one node: requests out, answers in with the moment they came.
//!
//! A task of its own reads, so that an answer's time is when it arrived and not when somebody looked.

use bytes::{Buf, BufMut, Bytes, BytesMut};
use tidemark_runtime::{Clock, Tasks};
use tidemark_wire::{Request, Response, request_header_version, response_header_version};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::sync::mpsc;
use tokio::time::Instant;

use crate::LoadError;

/// Largest answer taken, bytes.
const ANSWER_BYTES_MAX: usize = 256 << 20;
/// Read at once when nothing is known of what comes.
const READ_BYTES: usize = 64 << 10;
/// Answers that may wait for their reader.
const ANSWERS_MAX: usize = 1024;
const CLIENT_ID: &str = "tidemark-loadtest";

/// Something that came from a node.
#[derive(Debug)]
pub struct Arrived {
    /// The connection, as its opener numbered it.
    pub link: u32,
    /// When its last byte came.
    pub at: Instant,
    /// Correlation id and what follows it, or why the connection ended.
    pub what: Result<(i32, Bytes), String>,
}

/// The sending half.
pub struct Connection {
    io: Box<dyn AsyncWrite + Send + Unpin>,
    next_id: i32,
}

impl std::fmt::Debug for Connection {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Connection")
            .field("next_id", &self.next_id)
            .finish_non_exhaustive()
    }
}

impl Connection {
    /// Starts reading `io`; what arrives goes to `arrived`, marked with `link`.
    pub fn start<IO>(
        io: IO,
        link: u32,
        arrived: mpsc::Sender<Arrived>,
        clock: &Clock,
        tasks: &Tasks,
    ) -> Self
    where
        IO: AsyncRead + AsyncWrite + Send + 'static,
    {
        let (reader, writer) = tokio::io::split(io);
        let clock = clock.clone();
        tasks.spawn("connection reader", async move {
            let mut reader = Reader {
                io: reader,
                buf: BytesMut::new(),
            };
            loop {
                let what = reader.next().await;
                let ended = what.is_err();
                let at = clock.now();
                if arrived.send(Arrived { link, at, what }).await.is_err() || ended {
                    return;
                }
            }
        });
        Self {
            io: Box::new(writer),
            next_id: 0,
        }
    }

    /// Opens a TCP connection.
    ///
    /// # Errors
    /// [`LoadError::Connect`].
    pub async fn open(
        address: &str,
        link: u32,
        arrived: mpsc::Sender<Arrived>,
        clock: &Clock,
        tasks: &Tasks,
    ) -> Result<Self, LoadError> {
        let io = tokio::net::TcpStream::connect(address).await;
        let io = io.and_then(|io| io.set_nodelay(true).map(|()| io));
        let io = io.map_err(|why| LoadError::Connect {
            address: address.to_owned(),
            protocol: "Kafka",
            why,
        })?;
        Ok(Self::start(io, link, arrived, clock, tasks))
    }

    /// A queue for [`Connection::start`].
    #[must_use]
    pub fn queue() -> (mpsc::Sender<Arrived>, mpsc::Receiver<Arrived>) {
        mpsc::channel(ANSWERS_MAX)
    }

    /// Sends a message; its answer carries the id that is given back.
    ///
    /// # Errors
    /// When it cannot be encoded or sent.
    pub async fn send<R: Request>(&mut self, message: &R, version: i16) -> Result<i32, LoadError> {
        let (id, mut head) = self.head(R::KEY as i16, version);
        message
            .write(&mut head, version)
            .map_err(|e| LoadError::broken(format!("encode {}", R::NAME), e))?;
        self.send_pieces(head, Vec::new()).await?;
        Ok(id)
    }

    /// The start of a request: room for its length, and its header.
    pub fn head(&mut self, key: i16, version: i16) -> (i32, BytesMut) {
        let id = self.next_id;
        self.next_id = self.next_id.wrapping_add(1) & i32::MAX;
        let mut head = BytesMut::with_capacity(256);
        head.put_i32(0);
        head.put_i16(key);
        head.put_i16(version);
        head.put_i32(id);
        head.put_i16(i16::try_from(CLIENT_ID.len()).unwrap_or(0));
        head.put_slice(CLIENT_ID.as_bytes());
        if request_header_version(key, version) >= 2 {
            head.put_u8(0);
        }
        (id, head)
    }

    /// Sends a request of several pieces, the first made by [`Connection::head`].
    ///
    /// # Errors
    /// When the connection ended.
    pub async fn send_pieces(
        &mut self,
        mut head: BytesMut,
        rest: Vec<Bytes>,
    ) -> Result<(), LoadError> {
        let length = head.len() - 4 + rest.iter().map(Bytes::len).sum::<usize>();
        let length = i32::try_from(length).map_err(|e| LoadError::broken("send request", e))?;
        head[..4].copy_from_slice(&length.to_be_bytes());
        let sent = async {
            if rest.is_empty() {
                return self.io.write_all(&head).await;
            }
            let mut pieces = std::collections::VecDeque::with_capacity(1 + rest.len());
            pieces.push_back(head.freeze());
            pieces.extend(rest);
            write_all(&mut self.io, pieces).await
        };
        sent.await.map_err(|e| LoadError::broken("send request", e))
    }
}

async fn write_all(
    io: &mut (dyn AsyncWrite + Send + Unpin),
    mut pieces: std::collections::VecDeque<Bytes>,
) -> std::io::Result<()> {
    while !pieces.is_empty() {
        let slices: Vec<_> = pieces
            .iter()
            .take(64)
            .map(|p| std::io::IoSlice::new(p))
            .collect();
        let mut written = io.write_vectored(&slices).await?;
        if written == 0 {
            return Err(std::io::ErrorKind::WriteZero.into());
        }
        while let Some(front) = pieces.front_mut() {
            if front.len() > written {
                front.advance(written);
                break;
            }
            written -= front.len();
            pieces.pop_front();
        }
    }
    Ok(())
}

struct Reader<R> {
    io: R,
    buf: BytesMut,
}

impl<R: AsyncRead + Unpin> Reader<R> {
    async fn next(&mut self) -> Result<(i32, Bytes), String> {
        let length = self.filled(4).await?.get_i32();
        let length = usize::try_from(length)
            .ok()
            .filter(|n| (4..=ANSWER_BYTES_MAX).contains(n))
            .ok_or_else(|| format!("an answer announces {length} bytes"))?;
        let mut answer = self.filled(length).await?;
        Ok((answer.get_i32(), answer))
    }

    async fn filled(&mut self, bytes: usize) -> Result<Bytes, String> {
        while self.buf.len() < bytes {
            self.buf.reserve((bytes - self.buf.len()).max(READ_BYTES));
            match self.io.read_buf(&mut self.buf).await {
                Ok(0) => return Err("the server closed the connection".to_owned()),
                Ok(_) => {}
                Err(e) => return Err(e.to_string()),
            }
        }
        Ok(self.buf.split_to(bytes).freeze())
    }
}

/// Reads an answer's body, which follows its correlation id.
///
/// # Errors
/// When it does not follow the schema.
pub fn decode<R: Response>(mut body: Bytes, version: i16) -> Result<R, LoadError> {
    if response_header_version(R::KEY as i16, version) >= 1 {
        // No server sends tagged fields in an answer's header; a non-zero count would be one.
        if !body.has_remaining() || body.get_u8() != 0 {
            return Err(LoadError::broken(
                format!("decode {} answer", R::NAME),
                "unknown fields in its header",
            ));
        }
    }
    R::read(&mut body, version)
        .map_err(|e| LoadError::broken(format!("decode {} answer", R::NAME), e))
}
