use super::*;

const SMALL: &str = r#"
name = "small"
[[phases]]
name = "produce"
duration = "5s"
[phases.produce]
rate = 100
"#;

#[test]
fn a_small_scenario_has_the_clients_defaults() {
    let scenario = Scenario::parse(SMALL).unwrap();
    let produce = scenario.phases[0].produce.as_ref().unwrap();
    assert_eq!(
        (produce.batch_bytes, produce.in_flight),
        (Size(16 << 10), 5)
    );
    assert!(produce.idempotent);
    assert_eq!(scenario.record.size.mean(), 1024);
}

fn refused(text: &str, needles: &[&str]) {
    let said = Scenario::parse(text).unwrap_err().to_string();
    for needle in needles {
        assert!(said.contains(needle), "{said:?} does not say {needle:?}");
    }
}

#[test]
fn what_cannot_be_run_is_refused_with_a_hint() {
    refused(
        &SMALL.replace(
            "rate = 100",
            "rate = 100\n[[phases]]\nname = \"k\"\nkill = true\n[phases.idle]",
        ),
        &["kills without a restart", "hint:"],
    );
    refused(&SMALL.replace("rate", "rat"), &["rat", "line 7", "rate"]);
    refused(
        &SMALL.replace("\"5s\"", "\"5 parsecs\""),
        &["5 parsecs", "\"5s\""],
    );
    refused(
        &SMALL.replace("duration = \"5s\"", ""),
        &["without an end", "hint: give it a duration"],
    );
    refused(&SMALL.replace("rate = 100", "rate = 0"), &["rate", "hint:"]);
    refused(
        &SMALL.replace("rate = 100", "in_flight = 6"),
        &["6 idempotent", "idempotent = false"],
    );
    refused(
        &SMALL.replace("rate = 100", "protocol = \"http\""),
        &["sequential = true"],
    );
    refused(
        &SMALL.replace("rate = 100", "protocol = \"amqp\""),
        &["amqp", "kafka"],
    );
    refused("name = \"x\"\nphases = []", &["no phase", "[[phases]]"]);
    let tiny = format!("{SMALL}\n[record]\nsize = 10");
    refused(&tiny, &["10 bytes", "24 bytes or more"]);
    refused(
        "name = \"x\"\n[[phases]]\nname = \"p\"",
        &["does nothing", "hint:"],
    );
}

#[test]
fn sizes_are_picked_within_their_bounds() {
    let text = format!("{SMALL}\n[record]\nsize = {{ from = \"100B\", to = \"200B\" }}");
    let sizes = Scenario::parse(&text).unwrap().record.size;
    assert_eq!(
        (sizes.pick(0), sizes.pick(100), sizes.pick(101)),
        (100, 200, 100)
    );
    let text = format!(
        "{SMALL}\n[record]\nsize = [{{ bytes = 100, weight = 9 }}, {{ bytes = \"1KiB\", weight = 1 }}]"
    );
    let sizes = Scenario::parse(&text).unwrap().record.size;
    let large = (0..1000).filter(|draw| sizes.pick(*draw) == 1024).count();
    assert_eq!(large, 100);
}

#[test]
fn every_scenario_of_the_repository_can_be_read() {
    let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/scenarios");
    let mut seen = 0;
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        let text = std::fs::read_to_string(&path).unwrap();
        if let Err(error) = Scenario::parse(&text) {
            panic!("{}: {error}", path.display());
        }
        seen += 1;
    }
    assert!(seen > 0);
}
