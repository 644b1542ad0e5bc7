//! `kill -9` at random moments under load; `clients/python/crash_load.py` is the load and the checker.

use std::io::{Read, Write};
use std::process::{Command, Stdio};
use std::time::Duration;

use tidemark_compat::{Server, tools};

const ROUNDS: u32 = 50;
/// A server lives this long at the most before it is killed, ms: long enough for hundreds of commits.
const LIFE_MS_MAX: u64 = 800;

#[test]
#[expect(
    clippy::disallowed_methods,
    reason = "the moment of each kill is random on purpose; the seed is printed"
)]
fn fifty_kills_lose_nothing_acked_and_duplicate_nothing() {
    tools::with(tools::python, |python| {
        let seed = std::env::var("TIDEMARK_CRASH_SEED")
            .map_or_else(|_| fastrand::u64(..), |s| s.parse().unwrap());
        println!("TIDEMARK_CRASH_SEED={seed}");
        let mut random = fastrand::Rng::with_seed(seed);
        let data = tempfile::tempdir().unwrap();
        // Small segments and extents, so that the kills also hit rolls and recycled segments.
        let small = [
            "--wal-segment-size",
            "4MiB",
            "--log-roll-size",
            "2MiB",
            "--groups-initial-rebalance-delay",
            "0s",
        ];
        let mut server = Server::start(data.path(), &small);
        server.create_topic("crash", 4);
        let mut load = Command::new(python)
            .arg(tools::python_client("crash_load.py"))
            .args([server.bootstrap().as_str(), "crash", "crash-group"])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .expect("the load starts");
        for round in 0..ROUNDS {
            std::thread::sleep(Duration::from_millis(random.u64(..LIFE_MS_MAX)));
            server.kill();
            assert!(
                load.try_wait().unwrap().is_none(),
                "the load died in round {round}"
            );
            server.restart();
        }
        writeln!(load.stdin.take().unwrap(), "stop").unwrap();
        let mut said = String::new();
        load.stdout
            .take()
            .unwrap()
            .read_to_string(&mut said)
            .unwrap();
        let status = load.wait().unwrap();
        println!("{said}");
        assert!(status.success(), "seed {seed}: {status}");
    });
}
