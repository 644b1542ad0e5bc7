//! A write-ahead log damaged below what was acked: the shard stays closed and says why, until an operator decides.
#![expect(
    clippy::disallowed_methods,
    reason = "these tests damage files on purpose"
)]

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use serde_json::Value;
use tidemark_compat::{Server, eventually, get, release_binary};

const RECORDS: usize = 40;

/// The WAL file that holds `needle`, and where.
fn find(data: &Path, needle: &[u8]) -> (PathBuf, usize) {
    for entry in fs::read_dir(data.join("wal")).unwrap() {
        let path = entry.unwrap().path();
        let Ok(bytes) = fs::read(&path) else { continue };
        if let Some(at) = bytes
            .windows(needle.len())
            .position(|window| window == needle)
        {
            return (path, at);
        }
    }
    panic!("no WAL file holds the record");
}

fn produce(server: &Server, value: &str) {
    ureq::post(server.url("/v1/topics/damaged/records"))
        .send_json(serde_json::json!({ "records": [{ "value": value }] }))
        .expect("the record is acked");
}

fn values(server: &Server) -> Vec<String> {
    let read = get(&server.url("/v1/topics/damaged/partitions/0/records?from=earliest")).unwrap();
    let page: Value = serde_json::from_str(&read).unwrap();
    let records = page["records"].as_array().unwrap();
    records
        .iter()
        .map(|r| r["value"].as_str().unwrap().to_owned())
        .collect()
}

fn closed_shard(server: &Server) -> Option<(u64, String)> {
    let status: Value = serde_json::from_str(&get(&server.url("/v1/status")).ok()?).ok()?;
    let closed = status["shards"]
        .as_array()?
        .iter()
        .find(|s| s["state"] == "closed")?
        .clone();
    Some((
        closed["shard"].as_u64()?,
        closed["why"].as_str()?.to_owned(),
    ))
}

#[test]
fn damage_below_the_acked_end_closes_the_shard_until_an_unclean_seal() {
    let data = tempfile::tempdir().unwrap();
    let mut server = Server::start(data.path(), &[])
        .expecting("shard stays closed")
        .expecting("damage");
    server.create_topic("damaged", 1);
    let sent: Vec<String> = (0..RECORDS)
        .map(|i| format!("record number {i:04} of the damaged topic"))
        .collect();
    sent.iter().for_each(|value| produce(&server, value));
    server.kill();

    let (file, at) = find(data.path(), sent[RECORDS / 2].as_bytes());
    let mut bytes = fs::read(&file).unwrap();
    bytes[at + 3] ^= 0x40;
    fs::write(&file, bytes).unwrap();

    server.spawn();
    eventually("the damaged shard is shown as closed", || {
        closed_shard(&server).is_some()
    });
    let (shard, why) = closed_shard(&server).unwrap();
    let name = file.file_name().unwrap().to_string_lossy().into_owned();
    assert!(
        why.contains(&name),
        "the message names the file {name}: {why}"
    );
    assert!(
        get(&server.url("/readyz")).is_err(),
        "a service with a closed shard is not ready"
    );
    server.kill();

    let seal = |consent: &[&str]| {
        Command::new(release_binary())
            .args(["unclean-seal", &shard.to_string(), "--node-data-dir"])
            .arg(data.path())
            .args(consent)
            .output()
            .unwrap()
    };
    let refused = seal(&[]);
    assert!(
        !refused.status.success(),
        "without consent nothing is given up"
    );
    let sealed = seal(&["--accept-loss"]);
    assert!(
        sealed.status.success(),
        "{}",
        String::from_utf8_lossy(&sealed.stderr)
    );

    server.restart();
    let kept = values(&server);
    assert_eq!(
        kept,
        sent[..kept.len()],
        "what is before the damage is kept as it was"
    );
    assert_eq!(
        kept.len(),
        RECORDS / 2,
        "everything before the damage is kept"
    );
    produce(&server, "after the loss");
    assert_eq!(values(&server).last().unwrap(), "after the loss");
}
