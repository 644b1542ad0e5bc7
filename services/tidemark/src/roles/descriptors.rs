//! How many files and sockets the process may have open.
//!
//! Systems start processes with a soft limit of 1,024 for the sake of programs that use `select`; the hard limit is what
//! the operator means to allow. A listener that runs out of descriptors refuses connections long before its own
//! bound, and so would the disk: hence the limit is raised at start, and told when it is still too low.

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

use crate::config::Settings;

/// Descriptors beside connections: segments of the write-ahead log, tables of the metadata store, listeners, pipes.
const OTHERS: u64 = 512;

/// Raises the soft limit to the hard one. Gives the limit that then holds; `None` is no limit.
pub fn raise_limit() -> Option<u64> {
    let found = getrlimit(Resource::Nofile);
    if found.current == found.maximum {
        return found.current;
    }
    let wanted = Rlimit {
        current: found.maximum,
        maximum: found.maximum,
    };
    match setrlimit(Resource::Nofile, wanted) {
        Ok(()) => found.maximum,
        // Some systems cap the soft limit below an unlimited hard one: what there was stays.
        Err(_) => found.current,
    }
}

/// What to tell the operator when `limit` allows fewer connections than the settings do.
#[must_use]
pub fn shortfall(limit: Option<u64>, settings: &Settings) -> Option<String> {
    let (kafka, http) = (
        settings.kafka.connections_max,
        settings.http.connections_max,
    );
    let needed = (kafka as u64)
        .saturating_add(http as u64)
        .saturating_add(OTHERS);
    let limit = limit.filter(|limit| *limit < needed)?;
    Some(format!(
        "the system allows {limit} open files and sockets, kafka.connections_max ({kafka}) and http.connections_max \
         ({http}) need {needed}: raise the hard limit (ulimit -Hn, LimitNOFILE=) or lower the settings"
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_soft_limit_becomes_the_hard_one() {
        let limit = raise_limit();
        let now = getrlimit(Resource::Nofile);
        assert_eq!(limit, now.current);
        assert_eq!(now.current, now.maximum);
    }

    #[test]
    fn too_low_a_limit_is_told_with_what_is_needed() {
        let mut settings = Settings::default();
        settings.kafka.connections_max = 1_000;
        settings.http.connections_max = 100;
        assert_eq!(shortfall(None, &settings), None);
        assert_eq!(shortfall(Some(1_612), &settings), None);
        let told = shortfall(Some(1_611), &settings).unwrap();
        assert!(told.contains("1611") && told.contains("1612"), "{told}");
        settings.kafka.connections_max = usize::MAX;
        assert!(shortfall(Some(1 << 20), &settings).is_some());
    }
}
