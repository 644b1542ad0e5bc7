//! One connection: frames in, answers out, in the order of the requests.
//!
//! # Overview
//! A reading half and a writing half share one task and a bounded [`Line`]. A request is served when every
//! earlier one has been answered, as in Kafka, with one exception: a staged request (Produce) goes through
//! its first stage, which puts its batches into their order, as soon as nothing unserved is ahead of it. So
//! the appends of pipelined produces overlap while order is kept.
//!
//! # Cancellation
//! When the peer has gone, requests that merely wait for others (fetch, join) are dropped. When the connection is
//! asked to end, a waiting fetch is answered with what there is, a join or sync with an error that lets its client
//! find the coordinator again. Writes run to their end (J9).

mod line;
mod read;
mod write;

#[cfg(test)]
mod tests;

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use bytes::Bytes;
use tidemark_log::Backing;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use self::line::Line;
use self::read::{Frame, FrameReader, ReadEnd, Start};
use self::write::WriteEnd;
use crate::dispatch::{Route, open, route, serve};
use crate::handler::{Answer, Call, CallError, Entry, Peer, Run, Running, Waits};
use crate::meter::Meter;
use crate::pool::FramePool;
use crate::{Ctx, KafkaConfig};

/// What all connections of a gateway share.
#[derive(Debug)]
pub(crate) struct Shared {
    pub(crate) ctx: Arc<Ctx>,
    pub(crate) config: Arc<KafkaConfig>,
    pub(crate) requests: FramePool,
    pub(crate) meter: Meter,
}

impl Shared {
    pub(crate) fn new(ctx: Arc<Ctx>, config: KafkaConfig) -> Self {
        Self {
            requests: FramePool::new(
                config.request_bytes_max,
                config.bytes_per_s_min,
                ctx.clock.clone(),
            ),
            ctx,
            config: Arc::new(config),
            meter: Meter::new(),
        }
    }
}

/// Why a connection ended.
#[derive(Debug, thiserror::Error)]
pub(crate) enum End {
    /// No further frame comes.
    #[error(transparent)]
    Read(#[from] ReadEnd),
    /// An answer did not get through.
    #[error(transparent)]
    Write(#[from] WriteEnd),
    /// A request has no answer.
    #[error(transparent)]
    Call(#[from] CallError),
    /// No first request, or nothing for long.
    #[error("wait for a request: none within {0:?}")]
    Idle(std::time::Duration),
    /// The service stops, or the connection made room for another.
    #[error("the connection was asked to end")]
    Asked,
}

impl End {
    /// Whether an operator should hear of it: the peer broke the protocol or a bound.
    pub(crate) const fn is_peers_fault(&self) -> bool {
        matches!(
            self,
            Self::Read(ReadEnd::Refused(_) | ReadEnd::Slow { .. })
                | Self::Write(WriteEnd::Slow { .. })
                | Self::Call(_)
        )
    }
}

/// A request in the queue.
struct Queued {
    work: Work,
    api: &'static str,
    since: Instant,
    /// Charged until the answer is written and what the request carried is no more in flight.
    _memory: Backing,
}

enum Work {
    Start(&'static Entry, Call, Bytes),
    Running(Running),
    Answered(Answer),
}

/// One connection's state that both halves see.
struct Conn {
    shared: Arc<Shared>,
    peer: Peer,
    /// Requests in the queue that have not started.
    unstarted: AtomicUsize,
    /// Requests in the queue or being answered.
    unanswered: AtomicUsize,
    /// Cancelled when the peer has gone, or can say no more that is understood.
    gone: CancellationToken,
    /// Requests on their way from the reading half to the writing one.
    line: Line<Queued>,
}

/// Serves a connection until it ends. `peer.stop` ends it after what has begun; `greeted` is called when its first
/// request is whole.
pub(crate) async fn run<R, W>(
    (reader, writer): (R, W),
    peer: Peer,
    shared: Arc<Shared>,
    greeted: impl FnOnce() + Send,
) -> End
where
    R: AsyncRead + Unpin + Send,
    W: AsyncWrite + Unpin + Send,
{
    let _counted = shared.meter.connection();
    let frames = FrameReader::new(reader, &shared.requests, Arc::clone(&shared.config));
    let conn = Conn {
        line: Line::new(shared.config.pipeline_max),
        shared,
        peer,
        unstarted: AtomicUsize::new(0),
        unanswered: AtomicUsize::new(0),
        gone: CancellationToken::new(),
    };
    // Pinned where they are made: a future that is moved into another one has its size in it twice.
    let mut reading = std::pin::pin!(async {
        let end = tokio::select! {
            biased;
            () = conn.peer.stop.cancelled() => End::Asked,
            end = conn.read(frames, greeted) => {
                conn.gone.cancel();
                end
            }
        };
        conn.line.close();
        end
    });
    let mut writing = std::pin::pin!(conn.write(writer));
    tokio::select! {
        biased;
        // First, so that what it reads is seen by the writing half at once, without another turn of the task.
        end = &mut reading => writing.await.unwrap_or(end),
        // The writing half ends first only when it failed.
        failed = &mut writing => failed.unwrap_or(End::Asked),
    }
}

impl Conn {
    async fn read<R: AsyncRead + Unpin + Send>(
        &self,
        mut frames: FrameReader<R>,
        greeted: impl FnOnce() + Send,
    ) -> End {
        let config = &self.shared.config;
        let within = config.first_request_timeout;
        let first = tokio::time::timeout(within, self.next(&mut frames)).await;
        let mut next = first.unwrap_or(Err(End::Idle(within)));
        greeted();
        loop {
            let queued = match next {
                Ok((frame, to)) => self.admit(frame, to).await,
                Err(end) => return end,
            };
            let ends = match &queued.work {
                Work::Answered(Err(_)) => true,
                Work::Answered(_) | Work::Start(..) | Work::Running(_) => false,
            };
            self.unanswered.fetch_add(1, Ordering::Relaxed);
            self.line.push(queued).await;
            if ends {
                // The writing half says why.
                return End::Asked;
            }
            next = self.next(&mut frames).await;
        }
    }

    /// The start of the next frame; says when there is none yet.
    async fn start<R: AsyncRead + Unpin>(
        &self,
        frames: &mut FrameReader<R>,
    ) -> Result<Start, ReadEnd> {
        let start = frames.start();
        tokio::pin!(start);
        tokio::select! {
            biased;
            start = &mut start => return start,
            () = std::future::ready(()) => self.peer.lane.quiet(),
        }
        start.await
    }

    /// The next frame and who serves it, judged by its head before its body is read.
    async fn next<R: AsyncRead + Unpin>(
        &self,
        frames: &mut FrameReader<R>,
    ) -> Result<(Frame, Route), End> {
        let idle = self.shared.config.idle_timeout;
        let start = loop {
            match tokio::time::timeout(idle, self.start(frames)).await {
                Ok(start) => break start?,
                // A peer that waits for an answer is not idle.
                Err(_) if self.unanswered.load(Ordering::Relaxed) > 0 => {}
                Err(_) => return Err(End::Idle(idle)),
            }
        };
        let mut to = None;
        let judge = |head: &_| {
            to = Some(route(head)?);
            Ok(())
        };
        let frame = frames.rest(start, judge).await?;
        let to = to.ok_or(CallError::UnknownApi(frame.head.api_key))?;
        Ok((frame, to))
    }

    /// Starts a staged request if nothing unserved is ahead of it; else leaves it to the writing half.
    async fn admit(&self, frame: Frame, to: Route) -> Queued {
        let Frame { bytes, charge, .. } = frame;
        let number = self.peer.lane.admit();
        let memory = Backing::new(bytes.len()).charged(Arc::new(charge));
        let since = self.shared.ctx.clock.now();
        let api = match &to {
            Route::Serve(entry) => entry.name,
            Route::Answer(_) => "ApiVersions",
        };
        let work = match to {
            Route::Answer(answer) => Work::Answered(Ok(Some(answer))),
            Route::Serve(entry) => match open(&self.peer, bytes, (memory.clone(), number)) {
                Err(error) => Work::Answered(Err(error)),
                Ok((call, body)) => match entry.run {
                    Run::Staged(run) if self.unstarted.load(Ordering::Relaxed) == 0 => {
                        match run(Arc::clone(&self.shared.ctx), call, body).await {
                            Ok(running) => Work::Running(running),
                            Err(error) => Work::Answered(Err(error)),
                        }
                    }
                    Run::Staged(_) | Run::Whole(_) => {
                        self.unstarted.fetch_add(1, Ordering::Relaxed);
                        Work::Start(entry, call, body)
                    }
                },
            },
        };
        Queued {
            work,
            api,
            since,
            _memory: memory,
        }
    }

    /// Answers what is queued until the queue ends. `Some` when the connection cannot go on.
    async fn write<W: AsyncWrite + Unpin>(&self, mut io: W) -> Option<End> {
        while let Some(next) = self.line.pop().await {
            let Queued {
                work,
                api,
                since,
                _memory,
            } = next;
            let answer = match work {
                Work::Answered(answer) => answer,
                Work::Running(running) => running.await,
                Work::Start(entry, call, body) => {
                    let answer = self.serve(entry, call, body).await;
                    self.unstarted.fetch_sub(1, Ordering::Relaxed);
                    answer?
                }
            };
            match answer {
                Ok(None) => {}
                Ok(Some(encoded)) => {
                    let _counted = self.shared.ctx.answers.count(encoded.bytes());
                    if let Err(end) = write::write(&mut io, encoded, &self.shared.config).await {
                        return Some(end.into());
                    }
                }
                Err(error) => return Some(error.into()),
            }
            self.shared
                .meter
                .answered(api, since, &self.shared.ctx.clock);
            self.unanswered.fetch_sub(1, Ordering::Relaxed);
            self.peer.lane.answered();
        }
        None
    }

    /// Serves a request; `None` when it only waits and its wait is over.
    fn serve(
        &self,
        entry: &'static Entry,
        call: Call,
        body: Bytes,
    ) -> impl Future<Output = Option<Answer>> {
        let serving = serve(Arc::clone(&self.shared.ctx), entry, call, body);
        self.unless_over(entry.waits, serving)
    }

    async fn unless_over(&self, waits: Waits, serving: Running) -> Option<Answer> {
        let over = async {
            match waits {
                Waits::No => std::future::pending().await,
                Waits::UntilStop => self.gone.cancelled().await,
            }
        };
        tokio::select! {
            biased;
            answer = serving => Some(answer),
            () = over => None,
        }
    }
}
