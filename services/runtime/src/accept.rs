//! Telling a listener that is lost from one that only has to wait.

use std::io;

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
    use super::*;

    #[test]
    fn running_out_of_descriptors_passes_and_a_closed_socket_does_not() {
        assert!(accept_error_passes(&io::Error::from_raw_os_error(24)));
        assert!(!accept_error_passes(&io::Error::from_raw_os_error(9)));
        assert!(!accept_error_passes(&io::Error::other("who knows")));
    }
}
