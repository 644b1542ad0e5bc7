//! The process as an operator meets it: start, refusals, drain.

use std::process::{Command, Output, Stdio};

use tidemark_compat::{Server, get, release_binary};

fn serve(args: &[&str]) -> Output {
    Command::new(release_binary())
        .arg("serve")
        .args(args)
        .stdin(Stdio::null())
        .output()
        .expect("the binary runs")
}

fn stderr(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

#[test]
fn a_data_folder_in_use_is_refused_with_a_message() {
    let data = tempfile::tempdir().unwrap();
    let _running = Server::start(data.path(), &[]);
    let dir = data.path().to_string_lossy().into_owned();
    let second = serve(&[
        "--node-data-dir",
        &dir,
        "--kafka-listen",
        "127.0.0.1:0",
        "--http-listen",
        "127.0.0.1:0",
    ]);
    assert!(!second.status.success());
    let said = stderr(&second);
    assert!(said.contains("in use") && said.contains(&dir), "{said}");
}

#[test]
fn a_port_in_use_is_refused_with_a_message() {
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap().to_string();
    let data = tempfile::tempdir().unwrap();
    let dir = data.path().to_string_lossy().into_owned();
    for flag in ["--kafka-listen", "--http-listen"] {
        let other = if flag == "--kafka-listen" {
            "--http-listen"
        } else {
            "--kafka-listen"
        };
        let refused = serve(&[
            "--node-data-dir",
            &dir,
            flag,
            &address,
            other,
            "127.0.0.1:0",
        ]);
        assert!(!refused.status.success());
        let said = stderr(&refused);
        assert!(said.contains(&address), "{said}");
    }
}

#[test]
fn an_address_beyond_loopback_is_refused_without_auth() {
    let data = tempfile::tempdir().unwrap();
    let dir = data.path().to_string_lossy().into_owned();
    let refused = serve(&["--node-data-dir", &dir, "--kafka-listen", "0.0.0.0:0"]);
    assert!(!refused.status.success());
    assert!(
        stderr(&refused).contains("loopback"),
        "{}",
        stderr(&refused)
    );
}

#[test]
fn sigterm_drains_and_exits_zero_and_the_data_is_there_afterwards() {
    let data = tempfile::tempdir().unwrap();
    let mut server = Server::start(data.path(), &[]);
    server.create_topic("kept", 1);
    ureq::post(server.url("/v1/topics/kept/records"))
        .send_json(serde_json::json!({ "records": [{ "value": "still here" }] }))
        .unwrap();
    assert!(server.terminate().success());
    server.restart();
    let read = get(&server.url("/v1/topics/kept/partitions/0/records?offset=0")).unwrap();
    assert!(read.contains("still here"), "{read}");
}

#[test]
fn an_unknown_setting_is_a_warning_and_a_bad_value_is_an_error_that_names_it() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("tidemark.toml");
    #[expect(clippy::disallowed_methods, reason = "a test's fixture")]
    std::fs::write(
        &file,
        "[kafka]\nlissten = \"x\"\n[wal]\nsegment_size = \"many\"\n",
    )
    .unwrap();
    let refused = serve(&["--config", &file.to_string_lossy()]);
    assert!(!refused.status.success());
    assert!(
        stderr(&refused).contains("wal.segment_size"),
        "{}",
        stderr(&refused)
    );
}
