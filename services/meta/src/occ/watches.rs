//! Keys that someone waits for.

use std::collections::BTreeMap;

use bytes::Bytes;
use parking_lot::Mutex;
use tokio::sync::oneshot;

use super::storage::Changes;

/// Watches held at the most: FoundationDB's default per client. More err at once.
const WATCHES_MAX: usize = 10_000;

/// A watch of one key.
pub(crate) struct Waiting {
    pub(crate) key: Bytes,
    /// The value it saw.
    pub(crate) seen: Option<Bytes>,
    pub(crate) fire: oneshot::Sender<()>,
}

#[derive(Default)]
struct Held {
    by_key: BTreeMap<Bytes, Vec<Waiting>>,
    count: usize,
    closed: bool,
}

/// The armed watches of a store.
#[derive(Default)]
pub(crate) struct Watches(Mutex<Held>);

impl Watches {
    /// Arms a watch. The caller then compares with the published state: a change published before this call
    /// is seen there, a later one by [`Watches::changed`].
    pub(crate) fn arm(&self, watch: Waiting) {
        let mut held = self.0.lock();
        if held.count >= WATCHES_MAX {
            held.drop_abandoned();
        }
        if held.closed || held.count >= WATCHES_MAX {
            return;
        }
        held.count += 1;
        held.by_key
            .entry(watch.key.clone())
            .or_default()
            .push(watch);
    }

    /// Fires the watches of keys that now differ.
    pub(crate) fn changed(&self, changes: &Changes) {
        let mut held = self.0.lock();
        if held.count == 0 {
            return;
        }
        for (key, value) in changes {
            held.fire_if_changed(key, value.as_ref());
        }
    }

    /// Fires the watches of one key that differ from `value`.
    pub(crate) fn compare(&self, key: &Bytes, value: Option<&Bytes>) {
        self.0.lock().fire_if_changed(key, value);
    }

    /// Lets every watch err, for ever.
    pub(crate) fn give_up(&self) {
        let mut held = self.0.lock();
        held.closed = true;
        held.by_key.clear();
        held.count = 0;
    }
}

impl Held {
    fn fire_if_changed(&mut self, key: &Bytes, value: Option<&Bytes>) {
        let Some(waiting) = self.by_key.get_mut(key) else {
            return;
        };
        let before = waiting.len();
        for fired in waiting.extract_if(.., |w| w.seen.as_ref() != value) {
            let _ = fired.fire.send(());
        }
        waiting.retain(|w| !w.fire.is_closed());
        let left = waiting.len();
        if left == 0 {
            self.by_key.remove(key);
        }
        self.count -= before - left;
    }

    fn drop_abandoned(&mut self) {
        self.by_key.retain(|_, waiting| {
            waiting.retain(|w| !w.fire.is_closed());
            !waiting.is_empty()
        });
        self.count = self.by_key.values().map(Vec::len).sum();
    }
}
