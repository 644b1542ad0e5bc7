//! Each real client through the scenario of `clients/README.md`, with a `kill -9` in its middle.

use std::io::{BufRead, BufReader, Write};
use std::process::{Command, Stdio};

use tidemark_compat::{Server, tools};

/// Runs a client program; when it prints `restart`, kills the server and starts it again.
fn scenario(name: &str, mut command: Command) {
    let data = tempfile::tempdir().unwrap();
    let mut server = Server::start(data.path(), &["--groups-initial-rebalance-delay", "200ms"]);
    let topic = format!("compat-{name}");
    server.create_topic(&topic, 4);
    command.args([server.bootstrap(), topic, format!("group-{name}")]);
    let mut client = command
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .expect("the client starts");
    let mut to_client = client.stdin.take().unwrap();
    let mut last = String::new();
    for line in BufReader::new(client.stdout.take().unwrap()).lines() {
        last = line.expect("the client prints text");
        if last == "restart" {
            server.kill();
            server.restart();
            writeln!(to_client, "restarted").expect("the client waits for the restart");
        }
    }
    let status = client.wait().expect("the client is reaped");
    assert!(
        status.success() && last.starts_with("ok "),
        "{name} ended with {status}, last line {last:?}"
    );
}

#[test]
fn kafka_python() {
    tools::with(tools::python, |python| {
        let mut command = Command::new(python);
        command.arg(tools::python_client("kafka_python_client.py"));
        scenario("kafka-python", command);
    });
}

#[test]
fn confluent_kafka() {
    tools::with(tools::python, |python| {
        let mut command = Command::new(python);
        command.arg(tools::python_client("confluent_client.py"));
        scenario("confluent-kafka", command);
    });
}

#[test]
fn kafkajs() {
    tools::with(tools::javascript, |dir| {
        let mut command = Command::new("node");
        command.arg("client.js").current_dir(dir);
        scenario("kafkajs", command);
    });
}

fn java_scenario(name: &str, program: &str) {
    tools::with(tools::java, |class_path| {
        let mut command = Command::new("java");
        command.args(["-cp", &class_path, program]);
        scenario(name, command);
    });
}

#[test]
fn java() {
    java_scenario("java", "Client");
}

#[test]
fn java_static_members() {
    java_scenario("java-members", "Members");
}

#[test]
fn java_consumer_protocol_of_kip_848_is_refused() {
    java_scenario("java-848", "NewProtocol");
}

#[test]
fn java_admin() {
    java_scenario("java-admin", "Administration");
}

#[test]
fn kcat() {
    tools::with(
        || tools::program("kcat", "kcat", "-V"),
        |kcat| {
            let mut command = Command::new("bash");
            command
                .arg(concat!(
                    env!("CARGO_MANIFEST_DIR"),
                    "/clients/kcat/client.sh"
                ))
                .env("KCAT", kcat);
            scenario("kcat", command);
        },
    );
}
