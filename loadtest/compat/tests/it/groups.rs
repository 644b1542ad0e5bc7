//! Consumer groups as an operator handles them, with the binary's own commands.

use std::process::{Command, Output, Stdio};

use serde_json::Value;
use tidemark_compat::{Server, release_binary};

fn tidemark(server: &Server, args: &[&str]) -> Output {
    Command::new(release_binary())
        .args(["--url", &server.url("")])
        .args(args)
        .stdin(Stdio::null())
        .output()
        .expect("the binary runs")
}

/// What a command that succeeds prints.
fn said(server: &Server, args: &[&str]) -> String {
    let output = tidemark(server, args);
    let (out, err) = (output.stdout, String::from_utf8_lossy(&output.stderr));
    assert!(output.status.success(), "{args:?}: {err}");
    String::from_utf8_lossy(&out).into_owned()
}

fn committed(server: &Server) -> Value {
    let offsets = said(server, &["--json", "group", "offsets", "billing"]);
    let offsets: Value = serde_json::from_str(&offsets).unwrap();
    offsets["offsets"][0]["offset"].clone()
}

#[test]
fn offsets_are_moved_and_groups_deleted_from_the_command_line() {
    let data = tempfile::tempdir().unwrap();
    let mut server = Server::start(data.path(), &[]);
    server.create_topic("orders", 1);
    for _ in 0..5 {
        said(&server, &["produce", "orders", "paid"]);
    }
    let reset = ["group", "reset-offsets", "billing"];
    let with = |more: &[&'static str]| [&reset[..], more].concat();

    let plan = said(&server, &with(&["--topic", "orders:0", "--to-offset", "3"]));
    for part in ["NEW_OFFSET", "orders", "3"] {
        assert!(plan.contains(part), "{plan}");
    }
    let missing = tidemark(&server, &["group", "delete", "billing"]);
    assert!(!missing.status.success());
    let why = String::from_utf8_lossy(&missing.stderr).into_owned();
    assert!(
        why.contains("group_id_not_found"),
        "the plan changed nothing: {why}"
    );

    said(
        &server,
        &with(&["--topic", "orders", "--to-offset", "3", "--execute"]),
    );
    assert_eq!(committed(&server), 3);
    server.kill();
    server.restart();
    assert_eq!(committed(&server), 3);
    let moved = with(&["--all-topics", "--shift-by", "-1", "--execute", "--json"]);
    let moved: Value = serde_json::from_str(&said(&server, &moved)).unwrap();
    assert_eq!(moved["applied"], true);
    assert_eq!(moved["offsets"][0]["offset"], 3);
    assert_eq!(moved["offsets"][0]["new_offset"], 2);
    assert_eq!(committed(&server), 2);

    said(&server, &["group", "delete", "billing"]);
    let listed = said(&server, &["group", "list"]);
    assert!(!listed.contains("billing"), "{listed}");
}
