//! How many connections there may be, in all and per address, and who makes room at the bound.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::sync::Arc;

use parking_lot::Mutex;
use tokio_util::sync::CancellationToken;

/// Counts connections. At a bound the oldest one that never sent a whole request makes room for the next:
/// peers that connect and stay silent cannot keep others out.
#[derive(Debug)]
pub(crate) struct Door {
    max: usize,
    per_ip_max: usize,
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    next: u64,
    open: usize,
    per_ip: BTreeMap<IpAddr, usize>,
    /// Those that have not sent a request, oldest first.
    silent: BTreeMap<u64, (IpAddr, CancellationToken)>,
}

/// A connection that was let in; it leaves when dropped.
#[derive(Debug)]
pub(crate) struct Admitted {
    door: Arc<Door>,
    id: u64,
    ip: IpAddr,
    stop: CancellationToken,
}

impl Door {
    pub(crate) fn new(max: usize, per_ip_max: usize) -> Arc<Self> {
        Arc::new(Self {
            max,
            per_ip_max,
            state: Mutex::default(),
        })
    }

    /// Lets a connection in, asking a silent one to leave when a bound is reached; `None` when there is none.
    pub(crate) fn enter(
        self: &Arc<Self>,
        ip: IpAddr,
        parent: &CancellationToken,
    ) -> Option<Admitted> {
        let mut state = self.state.lock();
        let of_ip = state.per_ip.get(&ip).copied().unwrap_or(0);
        let leaves = if of_ip >= self.per_ip_max {
            Some(state.silent.iter().find(|(_, (i, _))| *i == ip))
        } else if state.open >= self.max {
            Some(state.silent.iter().next())
        } else {
            None
        };
        if let Some(silent) = leaves {
            let id = *silent?.0;
            if let Some((_, stop)) = state.silent.remove(&id) {
                stop.cancel();
            }
        }
        let id = state.next;
        state.next += 1;
        state.open += 1;
        *state.per_ip.entry(ip).or_insert(0) += 1;
        let stop = parent.child_token();
        state.silent.insert(id, (ip, stop.clone()));
        Some(Admitted {
            door: Arc::clone(self),
            id,
            ip,
            stop,
        })
    }
}

impl Admitted {
    /// Cancelled when the connection is to end.
    pub(crate) fn stop(&self) -> CancellationToken {
        self.stop.clone()
    }

    /// The connection sent a whole request.
    pub(crate) fn greeted(&self) {
        self.door.state.lock().silent.remove(&self.id);
    }
}

impl Drop for Admitted {
    fn drop(&mut self) {
        let mut state = self.door.state.lock();
        state.silent.remove(&self.id);
        state.open -= 1;
        if let Some(n) = state.per_ip.get_mut(&self.ip) {
            *n -= 1;
            if *n == 0 {
                state.per_ip.remove(&self.ip);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::net::Ipv4Addr;

    use super::*;

    fn ip(last: u8) -> IpAddr {
        Ipv4Addr::new(10, 0, 0, last).into()
    }

    #[test]
    fn the_oldest_silent_connection_makes_room() {
        let door = Door::new(2, 2);
        let root = CancellationToken::new();
        let talks = door.enter(ip(1), &root).unwrap();
        talks.greeted();
        let silent = door.enter(ip(2), &root).unwrap();
        let next = door.enter(ip(3), &root).unwrap();
        assert!(silent.stop().is_cancelled());
        assert!(!talks.stop().is_cancelled() && !next.stop().is_cancelled());
    }

    #[test]
    fn nobody_who_talks_is_sent_away() {
        let door = Door::new(1, 1);
        let root = CancellationToken::new();
        let talks = door.enter(ip(1), &root).unwrap();
        talks.greeted();
        assert!(door.enter(ip(2), &root).is_none());
        assert!(door.enter(ip(1), &root).is_none());
        drop(talks);
        assert!(door.enter(ip(1), &root).is_some());
    }

    #[test]
    fn one_address_cannot_push_out_others() {
        let door = Door::new(10, 1);
        let root = CancellationToken::new();
        let other = door.enter(ip(1), &root).unwrap();
        let mine = door.enter(ip(2), &root).unwrap();
        let again = door.enter(ip(2), &root).unwrap();
        assert!(mine.stop().is_cancelled());
        assert!(!other.stop().is_cancelled() && !again.stop().is_cancelled());
    }
}
