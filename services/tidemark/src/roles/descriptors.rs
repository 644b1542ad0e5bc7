//! How many files and sockets the process may have open.
//!
//! Systems start processes with a soft limit of 1,024 for the sake of programs that use `select`; the hard limit is what
//! the operator means to allow. A listener that runs out of descriptors refuses connections long before its own
//! bound, and so would the disk: hence the limit is raised at start, and where it is still too low the bounds follow it.

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

use crate::config::Settings;

/// Descriptors beside connections: segments of the write-ahead log, tables of the metadata store, listeners, pipes; and the rings
/// of threads that read.
const OTHERS: u64 = 512 + tidemark_direct::RINGS_MAX as u64;

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

/// Lowers the bounds on connections to what `limit` allows, in proportion. Gives what to tell the operator then.
pub fn fit(limit: Option<u64>, settings: &mut Settings) -> Option<String> {
    let (kafka, http) = (
        settings.kafka.connections_max as u64,
        settings.http.connections_max as u64,
    );
    let wanted = u128::from(kafka) + u128::from(http);
    let needed = wanted + u128::from(OTHERS);
    let limit = limit.filter(|limit| u128::from(*limit) < needed)?;
    // Under a very low limit connections get half of it: the log's own files are fewer then.
    let allowed = limit.saturating_sub(OTHERS).max(limit / 2);
    let share = |of: u64| {
        let share = u128::from(allowed) * u128::from(of) / wanted.max(1);
        usize::try_from(share).unwrap_or(usize::MAX).max(1)
    };
    (
        settings.kafka.connections_max,
        settings.http.connections_max,
    ) = (share(kafka), share(http));
    Some(format!(
        "the system allows {limit} open files and sockets, kafka.connections_max ({kafka}) and http.connections_max \
         ({http}) need {needed}: going on with {} and {}. Raise the hard limit (ulimit -Hn, LimitNOFILE=) or lower the \
         settings",
        settings.kafka.connections_max, settings.http.connections_max
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

    fn settings(kafka: usize, http: usize) -> Settings {
        let mut settings = Settings::default();
        settings.kafka.connections_max = kafka;
        settings.http.connections_max = http;
        settings
    }

    #[test]
    fn a_limit_that_suffices_changes_nothing() {
        for limit in [None, Some(1_676)] {
            let mut asked = settings(1_000, 100);
            assert_eq!(fit(limit, &mut asked), None);
            assert_eq!(asked, settings(1_000, 100));
        }
    }

    #[test]
    fn too_low_a_limit_is_told_and_the_connections_fit_it() {
        let mut few = settings(2_000, 200);
        let told = fit(Some(1_676), &mut few).unwrap();
        for part in ["1676", "2776", "1000", "100"] {
            assert!(told.contains(part), "{told}");
        }
        assert_eq!(few, settings(1_000, 100));
        for (limit, asked) in [(1 << 20, usize::MAX), (64, 20_000), (0, 1), (600, 20_000)] {
            let mut fitted = settings(asked, asked);
            assert!(fit(Some(limit), &mut fitted).is_some());
            let (kafka, http) = (fitted.kafka.connections_max, fitted.http.connections_max);
            assert!(kafka >= 1 && http >= 1);
            let open = (kafka as u64).saturating_add(http as u64);
            assert!(open <= limit.max(2), "{limit} {asked}: {open}");
        }
    }
}
