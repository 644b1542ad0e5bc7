//! Our codec against Apache Kafka's own: every request and every answer of every version served, with a value of its
//! own in every field, empty, and with negative numbers and two of everything.

use std::collections::BTreeSet;
use std::process::Command;

use bytes::Bytes;
use tidemark_compat::tools;
use tidemark_gateway_kafka::served_apis;
use tidemark_wire::inspect;

use crate::fields::fields;

fn unhex(text: &str) -> Bytes {
    let digits = text.as_bytes().chunks(2);
    let bytes = digits.map(|two| {
        let two = std::str::from_utf8(two).expect("digits");
        u8::from_str_radix(two, 16).expect("two digits")
    });
    bytes.collect()
}

/// The lowest version that the generated codec knows: the ones below are refused, or they have no message here.
const fn lowest(key: i16, min: i16) -> i16 {
    if key == 0 { 3 } else { min }
}

/// One message as `Messages.java` prints it.
fn check(line: &str) -> (bool, i16, i16) {
    let mut parts = line.split('\t');
    let mut next = || parts.next().expect("four columns");
    let is_request = next() == "request";
    let key = next().parse().expect("a key");
    let version = next().parse().expect("a version");
    let body = unhex(next());
    let what = format!(
        "{} {key} version {version}",
        if is_request { "request" } else { "answer" }
    );
    let read = inspect(key, version, body.clone(), is_request).expect("the API has messages");
    let (ours, again) = read.unwrap_or_else(|e| panic!("{what}: {e}"));
    let found = fields(&ours);
    for field in parts {
        let (path, value) = field.split_once('=').expect("path=value");
        let mine = found.get(path).map(String::as_str);
        assert_eq!(mine, Some(value), "{what}: {path} in {ours}");
    }
    assert_eq!(again, body, "{what}: {ours}");
    (is_request, key, version)
}

#[test]
fn messages_are_what_apache_kafka_writes() {
    tools::with(tools::java, |class_path| {
        let apis: Vec<_> = served_apis().collect();
        let ranges = apis
            .iter()
            .map(|a| format!("{}:{}:{}", a.key, lowest(a.key, a.min), a.max));
        let mut java = Command::new("java");
        java.args(["-cp", &class_path, "Messages"]).args(ranges);
        let output = java.output().expect("java starts");
        let errors = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "{errors}");
        let text = String::from_utf8(output.stdout).expect("text");
        let seen: BTreeSet<_> = text.lines().map(check).collect();
        for api in &apis {
            for version in lowest(api.key, api.min)..=api.max {
                for is_request in [true, false] {
                    assert!(
                        seen.contains(&(is_request, api.key, version)),
                        "{}",
                        api.name
                    );
                }
            }
        }
    });
}
