//! `tidemark fsck` beside a running service, on a stopped one, and on a damaged disk.
#![allow(
    clippy::disallowed_methods,
    reason = "it damages files and looks what is there"
)]

use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use serde_json::{Value, json};
use tidemark_compat::{Server, release_binary};

const RECORD: &str = "a record that no other bytes of the disk look like";

/// Beside a service that runs.
fn beside(data: &Path, server: &Server, flags: &[&str]) -> Output {
    let url = server.url("");
    fsck(data, &[&["--url", &url], flags].concat())
}

fn fsck(data: &Path, flags: &[&str]) -> Output {
    Command::new(release_binary())
        .args(["fsck", "--node-data-dir"])
        .arg(data)
        .args(flags)
        .output()
        .expect("the binary runs")
}

fn found(output: &Output) -> Value {
    let text = String::from_utf8_lossy(&output.stdout);
    serde_json::from_str(&text).unwrap_or_else(|e| panic!("{e}: {text} {output:?}"))
}

/// The segment file that holds the record, and where.
fn find(data: &Path) -> (PathBuf, usize) {
    for entry in std::fs::read_dir(data.join("wal")).unwrap() {
        let path = entry.unwrap().path();
        let content = std::fs::read(&path).unwrap();
        let at = content
            .windows(RECORD.len())
            .position(|bytes| bytes == RECORD.as_bytes());
        if let Some(at) = at {
            return (path, at);
        }
    }
    panic!("the record is not in the WAL");
}

#[test]
fn fsck_checks_what_it_can_reach_and_names_what_is_damaged() {
    let data = tempfile::tempdir().unwrap();
    let mut server = Server::start(data.path(), &[]);
    server.create_topic("checked", 1);
    ureq::post(server.url("/v1/topics/checked/records"))
        .send_json(json!({ "records": [{ "value": RECORD }, { "value": "and one behind it" }] }))
        .unwrap();

    let running = beside(data.path(), &server, &["--json"]);
    assert!(running.status.success(), "{running:?}");
    let report = found(&running);
    assert_eq!(report["sound"], true, "{report}");
    assert_eq!(report["running"], true, "{report}");
    let extents = report["extents"].as_array().unwrap().len();
    assert_eq!(report["metadata"]["rows"], extents, "{report}");
    assert_eq!(report["unreferenced"], json!([]));
    let table = beside(data.path(), &server, &[]);
    let table = String::from_utf8_lossy(&table.stdout).into_owned();
    assert!(table.contains("where its open extents end"), "{table}");
    // From elsewhere there is no WAL to look at.
    let elsewhere = tempfile::tempdir().unwrap();
    let report = found(&beside(elsewhere.path(), &server, &["--json"]));
    assert_eq!(
        (&report["sound"], &report["node"]),
        (&json!(true), &json!(null))
    );
    // Another service's folder is not this one's, and a service that does not answer is no success.
    let other = Server::start(elsewhere.path(), &[]);
    let refused = beside(data.path(), &other, &[]);
    assert!(!refused.status.success());
    let said = String::from_utf8_lossy(&refused.stderr).into_owned();
    assert!(said.contains("other_service"), "{said}");
    let refused = fsck(data.path(), &["--url", "http://127.0.0.1:9"]);
    assert!(!refused.status.success());
    let said = String::from_utf8_lossy(&refused.stderr).into_owned();
    assert!(said.contains("unreachable"), "{said}");
    drop(other);

    assert!(server.terminate().success());
    let stopped = fsck(data.path(), &["--json"]);
    assert!(stopped.status.success(), "{stopped:?}");
    let report = found(&stopped);
    let extents = report["extents"].as_array().unwrap().len();
    assert!(extents > 0, "{report}");
    assert_eq!(report["metadata"]["rows"], extents, "{report}");
    assert_eq!(report["unreferenced"], json!([]));

    let (file, at) = find(data.path());
    let mut content = std::fs::read(&file).unwrap();
    content[at] ^= 1;
    std::fs::write(&file, content).unwrap();
    let damaged = fsck(data.path(), &["--json"]);
    assert!(!damaged.status.success(), "{damaged:?}");
    let report = found(&damaged);
    assert_eq!(report["sound"], false);
    let name = file.file_name().unwrap().to_str().unwrap();
    let damage = report["damage"].as_array().unwrap();
    let range = |d: &Value| d["from"].as_u64().unwrap()..d["to"].as_u64().unwrap();
    let named = |d: &&Value| d["file"] == name && range(d).contains(&(at as u64));
    assert_eq!(damage.iter().filter(named).count(), 1, "{report}");
    let said = String::from_utf8_lossy(&damaged.stderr).into_owned();
    assert!(said.contains("\"damaged\""), "{said}");
    let table = fsck(data.path(), &[]);
    let (table, said) = (
        String::from_utf8_lossy(&table.stdout).into_owned(),
        String::from_utf8_lossy(&table.stderr).into_owned(),
    );
    let bytes = range(&damage[0]);
    let words = format!(
        "damaged below the synced mark: {name} bytes {}..{}",
        bytes.start, bytes.end
    );
    assert!(table.contains(&words), "{table}");
    assert!(said.contains("unclean-seal"), "{said}");
}

/// Files under a folder, by path.
fn files(folder: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            found.extend(files(&path));
        } else {
            found.push(path);
        }
    }
    found.sort();
    found
}

#[test]
fn fsck_reads_every_object_and_names_what_is_gone_and_what_is_left_over_stopped_or_running() {
    let data = tempfile::tempdir().unwrap();
    let mut server = Server::start(data.path(), &[]);
    server.create_topic("tiered", 1);
    let objects = data.path().join("objects").join("cold");
    // What a start finds is sealed, and so it moves to the object store. A kill before that is noted would leave an object
    // that nothing names.
    for _ in 0..3 {
        ureq::post(server.url("/v1/topics/tiered/records"))
            .send_json(json!({ "records": [{ "value": RECORD }] }))
            .unwrap();
        server.kill();
        server.restart();
        tidemark_compat::eventually("it is tiered", || {
            server.metric("tidemark_tier_objects_total") > 0
        });
    }
    let healthy = found(&beside(data.path(), &server, &["--json"]));
    assert!(server.terminate().success());
    let report = found(&fsck(data.path(), &["--json"]));
    assert_eq!(report["sound"], true, "{report}");
    assert_eq!(healthy["sound"], true, "{healthy}");
    assert_eq!(healthy["cold"]["orphans"], json!([]));
    // And one that holds the shard's state; those that it replaced wait to be deleted.
    let mut held = files(&objects);
    held.retain(|path| std::fs::read(path).unwrap().starts_with(b"tidemkL0"));
    assert_eq!(report["cold"]["objects"], held.len() + 1, "{report}");
    assert_eq!(report["cold"]["orphans"], json!([]));

    let stray = objects.join("00").join("stray");
    std::fs::create_dir_all(stray.parent().unwrap()).unwrap();
    std::fs::copy(&held[0], &stray).unwrap();
    let long_ago = std::time::SystemTime::UNIX_EPOCH;
    let file = std::fs::File::options().write(true).open(&stray).unwrap();
    file.set_modified(long_ago).unwrap();
    std::fs::remove_file(&held[1]).unwrap();
    let damaged = fsck(data.path(), &["--json"]);
    assert!(!damaged.status.success(), "{damaged:?}");
    let report = found(&damaged);
    let name = |path: &Path| {
        let within = path.strip_prefix(data.path().join("objects")).unwrap();
        within.to_str().unwrap().to_owned()
    };
    let bad = &report["cold"]["bad"];
    assert_eq!(bad.as_array().map(Vec::len), Some(1), "{report}");
    assert_eq!(bad[0]["object"], name(&held[1]));
    assert_eq!(bad[0]["why"], "it is not there");
    assert!(bad[0]["repair"].as_str().unwrap().contains("restore"));
    let orphans = report["cold"]["orphans"].as_array().unwrap();
    assert_eq!(orphans.len(), 1, "{report}");
    assert_eq!(orphans[0]["object"], name(&stray));
    let table = fsck(data.path(), &[]);
    let table = String::from_utf8_lossy(&table.stdout).into_owned();
    assert!(table.contains("is named by nothing"), "{table}");
    assert!(
        table.contains("repair: the service did not write it"),
        "{table}"
    );

    // The running service says the same of its objects.
    server.restart();
    let running = beside(data.path(), &server, &["--json", "--read-rate", "10MiB"]);
    assert_eq!(running.status.code(), damaged.status.code());
    let beside = found(&running);
    for kind in ["bad", "uncovered", "orphans"] {
        assert_eq!(beside["cold"][kind], report["cold"][kind]);
    }
}

#[test]
fn a_folder_without_a_log_is_refused_and_left_alone() {
    let data = tempfile::tempdir().unwrap();
    let refused = fsck(data.path(), &[]);
    assert!(!refused.status.success());
    let said = String::from_utf8_lossy(&refused.stderr).into_owned();
    assert!(
        said.contains("error[fsck]") && said.contains("wal"),
        "{said}"
    );
    assert_eq!(std::fs::read_dir(data.path()).unwrap().count(), 0);
}
