//! The write-ahead log's disk is gone: the service refuses to start, says why, and goes on when it is told to.
#![allow(
    clippy::disallowed_methods,
    reason = "it takes the disk away and looks what is there"
)]

use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

use serde_json::{Value, json};
use tidemark_compat::{Server, get, release_binary};

fn serve(data: &Path, flags: &[&str]) -> Output {
    Command::new(release_binary())
        .args(["serve", "--kafka-listen", "127.0.0.1:0"])
        .args(["--http-listen", "127.0.0.1:0", "--node-data-dir"])
        .arg(data)
        .args(flags)
        .output()
        .expect("the binary runs")
}

fn produce(server: &Server, from: usize, count: usize) {
    let value = |i| json!({ "partition": 1, "key": format!("k{i}"), "value": format!("{i} {}", "x".repeat(500)) });
    let records: Vec<Value> = (from..from + count).map(value).collect();
    ureq::post(server.url("/v1/topics/kept/records"))
        .send_json(json!({ "records": records }))
        .unwrap();
}

/// What a reader is given of a partition, from the beginning.
fn records(server: &Server) -> Vec<Value> {
    let (mut all, mut next) = (Vec::new(), 0);
    loop {
        let path = format!("/v1/topics/kept/partitions/1/records?offset={next}&limit=500");
        let page: Value = serde_json::from_str(&get(&server.url(&path)).unwrap()).unwrap();
        let some = page["records"].as_array().unwrap();
        let Some(last) = some.last() else { return all };
        next = last["offset"].as_i64().unwrap() + 1;
        all.extend(some.iter().cloned());
    }
}

fn end_of_disk(data: &Path) {
    std::fs::remove_dir_all(data.join("wal")).unwrap();
}

#[test]
fn a_service_outlives_its_disk_when_it_is_told_to() {
    let data = tempfile::tempdir().unwrap();
    let mut server = Server::start(data.path(), &[]);
    server.create_topic("kept", 3);
    for round in 0..10 {
        produce(&server, round * 100, 100);
    }
    let before = records(&server);
    assert_eq!(before.len(), 1_000);
    assert!(server.terminate().success());

    end_of_disk(data.path());
    let refused = serve(data.path(), &[]);
    assert_eq!(refused.status.code(), Some(1));
    let said = String::from_utf8_lossy(&refused.stderr).into_owned();
    for part in [
        "error[disk_gone]",
        "is gone",
        &data.path().join("wal").display().to_string(),
        "shard 0: in the object store up to lsn",
        "all that was written is in the object store",
        "3 partitions live there: kept-",
        "serve --rebuild",
    ] {
        assert!(said.contains(part), "{part} is not in {said}");
    }
    assert!(!data.path().join("wal").exists(), "nothing was made");

    let mut server = Server::start(data.path(), &["--rebuild"]);
    assert_eq!(records(&server), before);
    produce(&server, 1_000, 10);
    assert!(server.terminate().success());
    drop(server);
    // From now on it needs no word, and one too many does no harm.
    for flags in [&[][..], &["--rebuild"]] {
        let mut server = Server::start(data.path(), flags);
        let all = records(&server);
        assert_eq!((all.len(), &all[..1_000]), (1_010, &before[..]));
        assert!(server.terminate().success());
    }
}

#[test]
fn what_a_killed_service_had_not_tiered_is_named_before_it_is_given_up() {
    let data = tempfile::tempdir().unwrap();
    let mut server = Server::start(data.path(), &[]);
    server.create_topic("kept", 3);
    produce(&server, 0, 100);
    assert!(server.terminate().success());
    server.restart();
    produce(&server, 100, 50);
    let before = records(&server);
    server.kill();
    drop(server);

    end_of_disk(data.path());
    let refused = serve(data.path(), &["--json"]);
    let said = String::from_utf8_lossy(&refused.stderr).into_owned();
    let said: Value = serde_json::from_str(said.lines().last().unwrap()).unwrap();
    assert_eq!(said["code"], "disk_gone");
    let detail = said["detail"].as_str().unwrap();
    assert!(detail.contains("on whatever was written"), "{detail}");

    let server = Server::start(data.path(), &["--rebuild"]).expecting("rebuild shard");
    assert_eq!(records(&server), before[..100]);
    produce(&server, 100, 1);
    let after = records(&server);
    assert_eq!((after.len(), &after[..100]), (101, &before[..100]));
}

/// Every file under a folder.
fn files(folder: &Path, found: &mut Vec<PathBuf>) {
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        match path.is_dir() {
            true => files(&path, found),
            false => found.push(path),
        }
    }
}

#[test]
fn a_lost_state_object_is_done_without_when_that_is_said() {
    let data = tempfile::tempdir().unwrap();
    let mut server = Server::start(data.path(), &["--log-shards", "1"]);
    server.create_topic("kept", 3);
    produce(&server, 0, 100);
    let before = records(&server);
    assert!(server.terminate().success());
    drop(server);
    let give_up = |consent: &[&str]| {
        Command::new(release_binary())
            .args(["unclean-seal", "0", "--without-state", "--node-data-dir"])
            .arg(data.path())
            .args(consent)
            .output()
            .unwrap()
    };
    let refused = give_up(&["--accept-loss"]);
    let said = String::from_utf8_lossy(&refused.stderr).into_owned();
    assert!(
        !refused.status.success() && said.contains("there and whole"),
        "{said}"
    );

    let mut objects = Vec::new();
    files(&data.path().join("objects"), &mut objects);
    objects.retain(|file| std::fs::read(file).unwrap().starts_with(b"tidemkS0"));
    assert_eq!(objects.len(), 1, "{objects:?}");
    std::fs::remove_file(&objects[0]).unwrap();
    end_of_disk(data.path());
    let mut closed = Command::new(release_binary())
        .args(["serve", "--rebuild", "--kafka-listen", "127.0.0.1:0"])
        .args([
            "--log-shards",
            "1",
            "--http-listen",
            "127.0.0.1:0",
            "--node-data-dir",
        ])
        .arg(data.path())
        .stderr(Stdio::piped())
        .spawn()
        .expect("the binary runs");
    let log = BufReader::new(closed.stderr.take().unwrap());
    let told = log
        .lines()
        .map(Result::unwrap)
        .find(|line| line.contains("--without-state"));
    assert!(told.is_some(), "it says how to go on");
    closed.kill().unwrap();
    closed.wait().unwrap();

    let refused = give_up(&[]);
    let said = String::from_utf8_lossy(&refused.stderr).into_owned();
    assert!(
        !refused.status.success() && said.contains("needs_consent"),
        "{said}"
    );
    let given_up = give_up(&["--accept-loss"]);
    let said = String::from_utf8_lossy(&given_up.stderr).into_owned();
    assert!(given_up.status.success(), "{said}");
    let server = Server::start(data.path(), &["--log-shards", "1"]);
    assert_eq!(records(&server), before);
    produce(&server, 100, 10);
    assert_eq!(records(&server).len(), 110);
}

#[test]
fn without_metadata_nothing_is_pretended() {
    let data = tempfile::tempdir().unwrap();
    let refused = serve(data.path(), &["--rebuild"]);
    assert_eq!(refused.status.code(), Some(1));
    let said = String::from_utf8_lossy(&refused.stderr).into_owned();
    assert!(said.contains("error[metadata_gone]"), "{said}");

    let mut server = Server::start(data.path(), &[]);
    server.create_topic("kept", 3);
    produce(&server, 0, 10);
    assert!(server.terminate().success());
    drop(server);
    std::fs::remove_dir_all(data.path().join("meta")).unwrap();
    for flags in [&[][..], &["--rebuild"]] {
        let refused = serve(data.path(), flags);
        assert_eq!(refused.status.code(), Some(1));
        let said = String::from_utf8_lossy(&refused.stderr).into_owned();
        assert!(said.contains("error[metadata_gone]"), "{said}");
        assert!(!data.path().join("meta").exists(), "nothing was made");
    }
}
