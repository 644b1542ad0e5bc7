//! The generator against the real server, and against nothing.

use std::path::Path;

use tidemark_compat::Server;
use tidemark_loadtest::progress::Progress;
use tidemark_loadtest::run::{Foreign, run};
use tidemark_loadtest::scenario::Scenario;
use tidemark_loadtest::shared::Target;

fn scenario(name: &str) -> Scenario {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join(format!("scenarios/{name}.toml"));
    let text = std::fs::read_to_string(path).expect("the scenario is there");
    Scenario::parse(&text).expect("it can be read")
}

fn foreign() -> Foreign {
    Foreign {
        name: "test".to_owned(),
        pid: None,
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn nobody_there_is_said_with_the_address_and_a_hint() {
    let target = Target {
        kafka: Some("127.0.0.1:1".to_owned()),
        ..Target::default()
    };
    let said = run(
        &scenario("smoke"),
        target,
        &mut foreign(),
        &Progress::default(),
    )
    .await;
    let said = said.unwrap_err().to_string();
    assert!(said.contains("connect to 127.0.0.1:1"), "{said}");
    assert!(said.contains("hint: is the server running"), "{said}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_the_real_server_acknowledges_is_read_back_as_it_was_written() {
    let folder = tempfile::tempdir().unwrap();
    let server = Server::start(folder.path(), &[]);
    let target = Target {
        kafka: Some(server.bootstrap()),
        http: Some(server.url("").trim_start_matches("http://").to_owned()),
        nats: None,
    };
    let report = run(
        &scenario("smoke"),
        target,
        &mut foreign(),
        &Progress::default(),
    )
    .await
    .unwrap();
    assert!(report.findings.is_clean(), "{:?}", report.findings);
    let produced: u64 = report
        .phases
        .iter()
        .map(|p| p.produce.as_ref().map_or(0, |s| s.records))
        .sum();
    // Two groups follow the first phase, one more catches up with both.
    assert!(produced > 4000, "{produced}");
    assert!(
        report.findings.checked > 3 * produced,
        "{:?}",
        report.findings
    );
    let series = &report.phases[0].series;
    assert!(
        series.iter().any(|p| p.produce.records_per_s > 1000.0),
        "{series:?}"
    );
}
