//! What lies in `infra/` fits this binary: flags parse, settings exist, ports and paths are the defaults.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use super::command;
use crate::config::{Settings, load};

fn infra(path: &str) -> String {
    let file = root().join("infra").join(path);
    std::fs::read_to_string(&file).unwrap_or_else(|e| panic!("{}: {e}", file.display()))
}

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..")
}

/// What follows `prefix` in each line that begins with it.
fn lines<'t>(text: &'t str, prefix: &str) -> Vec<&'t str> {
    let after = text.lines().filter_map(|l| l.trim().strip_prefix(prefix));
    after.map(str::trim).collect()
}

#[track_caller]
fn only<'t>(text: &'t str, prefix: &str) -> &'t str {
    let found = lines(text, prefix);
    assert_eq!(found.len(), 1, "{prefix}: {found:?}");
    found[0]
}

/// Words that start the binary parse as the binary parses them.
#[track_caller]
fn starts(words: &[&str]) {
    let parsed = command().try_get_matches_from(words);
    let parsed = parsed.unwrap_or_else(|e| panic!("{words:?}: {e}"));
    assert_eq!(parsed.subcommand_name(), Some("serve"), "{words:?}");
}

/// Every variable is a setting with a value that it takes.
#[track_caller]
fn settings_of(pairs: &[&str]) -> Settings {
    let split = |pair: &&str| {
        let (name, value) = pair.split_once('=').expect("name=value");
        (name.to_owned(), value.to_owned())
    };
    assert!(
        pairs.iter().all(|p| p.starts_with("TIDEMARK_")),
        "{pairs:?}"
    );
    let loaded = load(None, pairs.iter().map(split), &Default::default());
    let loaded = loaded.unwrap_or_else(|e| panic!("{pairs:?}: {e}"));
    assert!(loaded.warnings.is_empty(), "{:?}", loaded.warnings);
    assert_eq!(loaded.sources.len(), pairs.len());
    loaded.settings
}

#[test]
fn the_unit_starts_this_binary_with_settings_it_knows() {
    let unit = infra("systemd/tidemark.service");
    let words: Vec<_> = only(&unit, "ExecStart=").split(' ').collect();
    assert!(words[0].starts_with('/') && words[0].ends_with("/tidemark"));
    starts(&words);
    let settings = settings_of(&lines(&unit, "Environment="));
    let state = Path::new("/var/lib").join(only(&unit, "StateDirectory="));
    assert_eq!(
        settings.node.data_dir, state,
        "the one folder it may write to"
    );
    // The drain, then the threads' end, before the system gives up on it.
    let stop: u64 = only(&unit, "TimeoutStopSec=").parse().unwrap();
    assert!(stop > settings.node.drain.0.as_secs() + 2);
    let files: u64 = only(&unit, "LimitNOFILE=").parse().unwrap();
    let mut fitted = settings.clone();
    assert_eq!(crate::roles::fit(Some(files), &mut fitted), None);
}

#[test]
#[expect(
    clippy::disallowed_methods,
    reason = "a test's copy, and systemd's own check"
)]
fn systemd_understands_the_unit() {
    let unit = infra("systemd/tidemark.service");
    let folder = tempfile::tempdir().unwrap();
    let copy = folder.path().join("tidemark.service");
    // It demands that the binary is there.
    let here = std::env::current_exe().unwrap();
    let words = only(&unit, "ExecStart=");
    let binary = words.split(' ').next().unwrap();
    let verify = |text: &str| {
        let text = text.replace(binary, &here.to_string_lossy());
        std::fs::write(&copy, text).unwrap();
        let mut tool = Command::new("systemd-analyze");
        let ran = tool.arg("verify").arg(&copy).stdin(Stdio::null()).output();
        Some(String::from_utf8_lossy(&ran.ok()?.stderr).into_owned())
    };
    let Some(said) = verify(&unit) else {
        // Without systemd the other test stands alone.
        return;
    };
    let ours = |said: &str| said.lines().any(|l| l.contains("tidemark.service"));
    assert!(!ours(&said), "{said}");
    let misspelt = verify(&unit.replace("Restart=", "Restrat=")).unwrap_or_default();
    assert!(ours(&misspelt), "the check finds nothing: {misspelt}");
}

#[test]
fn the_container_builds_what_there_is_and_starts_it() {
    let recipe = infra("container/Containerfile");
    let manifest: toml::Table = include_str!("../../Cargo.toml").parse().unwrap();
    let build: Vec<_> = only(&recipe, "RUN cargo ").split(' ').collect();
    let after = |flag: &str| {
        let at = build.iter().position(|w| *w == flag);
        build[at.unwrap_or_else(|| panic!("{flag}: {build:?}")) + 1]
    };
    assert_eq!(
        after("--package"),
        manifest["package"]["name"].as_str().unwrap()
    );
    for feature in after("--features").split(',') {
        assert!(manifest["features"].get(feature).is_some(), "{feature}");
    }
    assert!(build.contains(&"--release") && build.contains(&"--locked"));
    let workspace = std::fs::read_to_string(root().join("Cargo.toml")).unwrap();
    let workspace: toml::Table = workspace.parse().unwrap();
    let rust = workspace["workspace"]["package"]["rust-version"]
        .as_str()
        .unwrap();
    let image = lines(&recipe, "FROM ")[0];
    assert!(image.contains(&format!("rust:{rust}-")), "{image}");

    let copied = only(&recipe, "COPY --from=build ");
    let (from, to) = copied.split_once(' ').unwrap();
    assert_eq!(from, "/src/target/release/tidemark");
    let list = |prefix| -> Vec<String> { serde_json::from_str(only(&recipe, prefix)).unwrap() };
    let words = [list("ENTRYPOINT "), list("CMD ")].concat();
    let words: Vec<_> = words.iter().map(String::as_str).collect();
    assert!(to.ends_with(words[0]), "{to} is what starts");
    starts(&words);

    let environment: Vec<_> = only(&recipe, "ENV ").split(' ').collect();
    let settings = settings_of(&environment);
    let volume = only(&recipe, "VOLUME ");
    assert_eq!(settings.node.data_dir, Path::new(volume));
    let ports = [settings.kafka.listen, settings.http.listen].map(|a| a.port().to_string());
    assert_eq!(
        only(&recipe, "EXPOSE ").split(' ').collect::<Vec<_>>(),
        ports
    );
    assert_eq!(only(&recipe, "STOPSIGNAL "), "SIGTERM");
    assert_ne!(only(&recipe, "USER "), "root");
}

#[test]
fn prometheus_scrapes_where_metrics_are() {
    let scrape = infra("prometheus/scrape.yml");
    let path = only(&scrape, "metrics_path:");
    let routes = tidemark_gateway_http::openapi().paths.paths;
    let metrics = routes
        .get(path)
        .unwrap_or_else(|| panic!("no route {path}"));
    assert!(metrics.get.is_some());
    let target = Settings::default().http.listen;
    let targets = only(&scrape, "- targets:");
    assert_eq!(targets, format!("['{target}']"));
}
