//! Listening: a queue long enough for a storm, and telling a listener that is lost from one that only has to wait.

use std::io;
use std::net::SocketAddr;

use tokio::net::{TcpListener, TcpSocket};

/// Connections that may wait to be accepted; the system caps it (Linux: `net.core.somaxconn`, 4,096 by default). The
/// usual 128 overflow when clients come back all at once or a peer opens thousands, and whoever is dropped then tries
/// again after a second, and after two.
const BACKLOG: u32 = 4_096;

/// Listens on `address`, with a long queue. A port whose last listener just went is taken again at once.
///
/// # Errors
/// The system's, as of `bind` and `listen`.
pub fn listen(address: SocketAddr) -> io::Result<TcpListener> {
    let socket = if address.is_ipv4() {
        TcpSocket::new_v4()?
    } else {
        TcpSocket::new_v6()?
    };
    socket.set_reuseaddr(true)?;
    socket.bind(address)?;
    socket.listen(BACKLOG)
}

/// `ECONNABORTED`, `EMFILE`, `ENFILE`, `ENOBUFS`, `ENOMEM`, `EINTR`, `EAGAIN`: Linux's numbers for errors of `accept`
/// that concern one peer or a shortage that passes as connections close.
const PASSING: [i32; 7] = [103, 24, 23, 105, 12, 4, 11];

/// Whether accepting may succeed later on the same socket.
#[must_use]
pub fn accept_error_passes(error: &io::Error) -> bool {
    error
        .raw_os_error()
        .is_some_and(|code| PASSING.contains(&code))
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use tokio::net::TcpStream;

    use super::*;

    #[tokio::test]
    async fn a_storm_of_connections_waits_in_the_queue() {
        const STORM: usize = 500;
        let most = std::fs::read_to_string("/proc/sys/net/core/somaxconn").unwrap_or_default();
        if !most.trim().parse().is_ok_and(|most: usize| most > STORM) {
            return;
        }
        for any in ["127.0.0.1:0", "[::1]:0"] {
            let Ok(listener) = listen(any.parse().unwrap()) else {
                assert!(any.starts_with('['), "every machine has an IPv4 loopback");
                continue;
            };
            let address = listener.local_addr().unwrap();
            let mut storm = Vec::new();
            for n in 0..STORM {
                // One that is dropped would be tried again for minutes.
                let joins =
                    tokio::time::timeout(Duration::from_secs(60), TcpStream::connect(address));
                let joined = joins
                    .await
                    .unwrap_or_else(|_| panic!("connection {n} is not taken"));
                storm.push(joined.unwrap());
            }
        }
    }

    #[test]
    fn running_out_of_descriptors_passes_and_a_closed_socket_does_not() {
        assert!(accept_error_passes(&io::Error::from_raw_os_error(24)));
        assert!(!accept_error_passes(&io::Error::from_raw_os_error(9)));
        assert!(!accept_error_passes(&io::Error::other("who knows")));
    }
}
