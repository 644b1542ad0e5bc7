//! The queue between the two halves of one connection.
//!
//! Both halves are polled by one task, the one that pushes first. So a push need not wake anybody: the other half's
//! turn comes in the same poll. A channel would wake the task it runs on, which costs another turn and, in a runtime
//! of several threads, another thread's sleep, for every request.

use std::collections::VecDeque;
use std::future::poll_fn;
use std::task::{Poll, Waker};

use parking_lot::Mutex;

/// A bounded queue within one task.
#[derive(Debug)]
pub(super) struct Line<T> {
    inner: Mutex<Inner<T>>,
    max: usize,
}

#[derive(Debug)]
struct Inner<T> {
    items: VecDeque<T>,
    /// The task, when its pushing half waits for room.
    full: Option<Waker>,
    closed: bool,
}

impl<T> Line<T> {
    /// Holds at most `max` items, and one at the least.
    pub(super) fn new(max: usize) -> Self {
        Self {
            inner: Mutex::new(Inner {
                // Most connections never have two requests in it, and an item is a quarter of a kilobyte.
                items: VecDeque::with_capacity(1),
                full: None,
                closed: false,
            }),
            max: max.max(1),
        }
    }

    /// Puts an item at the end when there is room.
    pub(super) fn push(&self, item: T) -> impl Future<Output = ()> {
        let mut item = Some(item);
        poll_fn(move |cx| {
            let mut inner = self.inner.lock();
            if inner.items.len() >= self.max {
                inner.full = Some(cx.waker().clone());
                return Poll::Pending;
            }
            inner.items.extend(item.take());
            Poll::Ready(())
        })
    }

    /// Nothing more will be pushed.
    pub(super) fn close(&self) {
        self.inner.lock().closed = true;
    }

    /// The oldest item; `None` once the line is closed and empty. To be polled after [`Line::push`] and
    /// [`Line::close`], by the task that polls them: neither wakes it.
    pub(super) async fn pop(&self) -> Option<T> {
        poll_fn(|_| {
            let mut inner = self.inner.lock();
            let Some(item) = inner.items.pop_front() else {
                return match inner.closed {
                    true => Poll::Ready(None),
                    false => Poll::Pending,
                };
            };
            if let Some(pushing) = inner.full.take() {
                pushing.wake();
            }
            Poll::Ready(Some(item))
        })
        .await
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Both halves in one task, as a connection has them.
    async fn pass(max: usize, items: u32) -> Vec<u32> {
        let line = Line::new(max);
        let pushing = async {
            for item in 0..items {
                line.push(item).await;
                if item % 3 == 0 {
                    tokio::task::yield_now().await;
                }
            }
            line.close();
        };
        let popping = async {
            let mut seen = Vec::new();
            while let Some(item) = line.pop().await {
                seen.push(item);
                if item % 5 == 0 {
                    tokio::task::yield_now().await;
                }
            }
            seen
        };
        tokio::join!(biased; pushing, popping).1
    }

    #[tokio::test]
    async fn items_come_out_in_order_whatever_the_room() {
        for max in [0, 1, 2, 7, 100] {
            assert_eq!(pass(max, 50).await, (0..50).collect::<Vec<_>>(), "{max}");
        }
    }

    #[tokio::test]
    async fn a_push_waits_for_room() {
        let line = Line::new(1);
        line.push(1).await;
        let mut second = Box::pin(line.push(2));
        assert!(futures_util::poll!(&mut second).is_pending());
        assert_eq!(line.pop().await, Some(1));
        assert!(futures_util::poll!(&mut second).is_ready());
    }
}
