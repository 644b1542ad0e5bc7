//! Many connections of one process, held open.

use std::io::Write;
use std::net::TcpStream;

use parking_lot::{Mutex, MutexGuard};
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

/// Descriptors of the test process beside a crowd: other tests' pipes, logs and servers.
const OTHERS: u64 = 500;

/// One crowd at a time: two of them are more than many systems let a process open.
static ONE: Mutex<()> = Mutex::new(());

/// Connections that sent the beginning of something, held until dropped.
#[derive(Debug)]
pub struct Crowd {
    held: Vec<TcpStream>,
    _one: MutexGuard<'static, ()>,
}

impl Crowd {
    /// Opens `count` connections to `address`, each of which sends `begun` and no more.
    ///
    /// # Panics
    /// When the system does not allow so many open files, or the server does not accept.
    #[must_use]
    pub fn gather(address: &str, count: usize, begun: &[u8]) -> Self {
        let one = ONE.lock();
        let limit = getrlimit(Resource::Nofile);
        let raised = Rlimit {
            current: limit.maximum,
            maximum: limit.maximum,
        };
        setrlimit(Resource::Nofile, raised).expect("the soft limit can be the hard one");
        let needed = count as u64 + OTHERS;
        assert!(
            limit.maximum.is_none_or(|most| most >= needed),
            "{count} connections need {needed} open files, the system allows {:?}: raise it with ulimit -Hn",
            limit.maximum
        );
        let join = |_| {
            let mut stream = TcpStream::connect(address).expect("the server accepts");
            // Who was closed at once is no longer part of it.
            let _ = stream.write_all(begun);
            stream
        };
        Self {
            held: (0..count).map(join).collect(),
            _one: one,
        }
    }

    /// How many of them the server still holds open.
    #[must_use]
    pub fn open(&self) -> usize {
        let open = |stream: &&TcpStream| {
            stream
                .set_nonblocking(true)
                .expect("a socket can be set so");
            let waits = |e: std::io::Error| e.kind() == std::io::ErrorKind::WouldBlock;
            stream.peek(&mut [0]).is_err_and(waits)
        };
        self.held.iter().filter(open).count()
    }
}
