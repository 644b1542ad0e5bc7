//! Frames off a connection, without believing what they announce.
//!
//! The first twelve bytes go to a buffer that is part of the connection; they name the API and the length,
//! which are judged before anything is allocated. A body's buffer then grows as its bytes arrive, and is
//! charged to the budget as it grows: ten thousand peers that announce a megabyte each cost nothing, and one
//! that sends half of it costs half of it, until its deadline.

use bytes::{BufMut, Bytes, BytesMut};
use tidemark_wire::frame::{FrameHead, HEAD_BYTES, PREFIX_BYTES};
use tokio::io::{AsyncRead, AsyncReadExt};

use crate::KafkaConfig;
use crate::budget::{Budget, Charge};
use crate::handler::CallError;
use crate::pool::{FramePool, Reader};

/// Sizes a body's buffer grows through, bytes. Most requests fit the first. A full produce request of common settings
/// fits the second, so that only its first 4 KiB are ever copied: copying half of each took a tenth of the produce path.
const STEPS: [usize; 5] = [4 << 10, 256 << 10, 2 << 20, 16 << 20, usize::MAX];
const REQUEST_HEADER_BYTES: usize = HEAD_BYTES - PREFIX_BYTES;

/// A whole frame.
#[derive(Debug)]
pub(crate) struct Frame {
    pub(crate) head: FrameHead,
    /// The frame without its length prefix.
    pub(crate) bytes: Bytes,
    /// The budget it takes.
    pub(crate) charge: FrameCharge,
}

/// The first bytes of a frame.
#[derive(Debug)]
pub(crate) struct Start {
    raw: [u8; HEAD_BYTES],
    have: usize,
}

/// A charge to a connection's budget and to the gateway's.
#[derive(Debug, Default)]
pub(crate) struct FrameCharge {
    own: Charge,
    all: Charge,
}

/// Why no further frame comes.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ReadEnd {
    /// The peer closed between two frames.
    #[error("the peer closed the connection")]
    Closed,
    /// The peer closed, or the connection broke, within a frame.
    #[error("read frame: {0}")]
    Broken(std::io::Error),
    /// A frame did not arrive in time, or no memory was free for it in time.
    #[error("read frame of {bytes} bytes: not complete in time")]
    Slow {
        /// Its announced length.
        bytes: usize,
    },
    /// The frame cannot be served.
    #[error(transparent)]
    Refused(#[from] CallError),
}

/// Reads frames off one connection.
pub(crate) struct FrameReader<R> {
    io: R,
    own: Budget,
    all: Reader,
    config: std::sync::Arc<KafkaConfig>,
}

impl<R: AsyncRead + Unpin> FrameReader<R> {
    pub(crate) fn new(io: R, all: &FramePool, config: std::sync::Arc<KafkaConfig>) -> Self {
        Self {
            io,
            own: Budget::new(config.connection_bytes_max),
            all: all.reader(),
            config,
        }
    }

    /// Waits for the start of the next frame. Cancel-safe.
    ///
    /// # Errors
    /// [`ReadEnd::Closed`] when the peer is done.
    pub(crate) async fn start(&mut self) -> Result<Start, ReadEnd> {
        let mut raw = [0; HEAD_BYTES];
        match self.io.read(&mut raw).await {
            Ok(0) => Err(ReadEnd::Closed),
            Ok(have) => Ok(Start { raw, have }),
            Err(e) => Err(ReadEnd::Broken(e)),
        }
    }

    /// Reads the rest of a frame that has started; `judge` sees its head before its body is read.
    ///
    /// # Errors
    /// [`ReadEnd`]. The connection cannot go on after any of them.
    pub(crate) async fn rest(
        &mut self,
        start: Start,
        judge: impl FnOnce(&FrameHead) -> Result<(), CallError>,
    ) -> Result<Frame, ReadEnd> {
        let Start { mut raw, have } = start;
        let head = self.io.read_exact(&mut raw[have..]);
        match tokio::time::timeout(self.config.transfer_timeout, head).await {
            Ok(Ok(_)) => {}
            Ok(Err(e)) => return Err(ReadEnd::Broken(e)),
            Err(_) => return Err(ReadEnd::Slow { bytes: HEAD_BYTES }),
        }
        let head = FrameHead::parse(&raw).map_err(CallError::from)?;
        judge(&head)?;
        let within = self.config.transfer_time(head.length);
        let slow = ReadEnd::Slow { bytes: head.length };
        let Self { io, own, all, .. } = self;
        all.begin();
        let body = body(io, own, all, &raw[PREFIX_BYTES..], head.length);
        let read = tokio::select! {
            biased;
            read = tokio::time::timeout(within, body) => read,
            () = all.cut() => return Err(slow),
        };
        all.end();
        let (bytes, charge) = read.map_err(|_| slow)?.map_err(ReadEnd::Broken)?;
        Ok(Frame {
            head,
            bytes,
            charge,
        })
    }
}

async fn body<R: AsyncRead + Unpin>(
    io: &mut R,
    own: &Budget,
    all: &Reader,
    start: &[u8],
    length: usize,
) -> std::io::Result<(Bytes, FrameCharge)> {
    debug_assert_eq!(start.len(), REQUEST_HEADER_BYTES);
    let mut buf = BytesMut::new();
    let mut charge = FrameCharge::default();
    for step in STEPS {
        let size = step.min(length);
        charge.own.add(own.take(size - buf.len()).await);
        charge.all.add(all.take(size - buf.len(), length).await);
        grow(&mut buf, size);
        if buf.is_empty() {
            buf.extend_from_slice(start);
        }
        while buf.len() < size {
            let missing = size - buf.len();
            let mut room = (&mut buf).limit(missing);
            if io.read_buf(&mut room).await? == 0 {
                return Err(std::io::ErrorKind::UnexpectedEof.into());
            }
            all.received(buf.len());
        }
        if size == length {
            break;
        }
    }
    Ok((buf.freeze(), charge))
}

/// Gives `buf` a capacity of exactly `size`.
fn grow(buf: &mut BytesMut, size: usize) {
    let mut larger = BytesMut::with_capacity(size);
    larger.extend_from_slice(buf);
    *buf = larger;
}
