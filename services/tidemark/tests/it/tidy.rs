//! The tree's own rules: who may depend on whom, how long a file may be, what lies at the top level.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

/// Crates by layer: a crate depends on lower layers only (DESIGN, "where the code lives").
const LAYERS: &[&[&str]] = &[
    &["types", "golden", "direct", "fdb-client"],
    &["runtime", "wire"],
    &["records", "segment", "telemetry", "meta", "journal", "blob"],
    &["compaction", "migrations", "lease", "lognode", "topics"],
    &["log"],
    &["groups"],
    &["gateway-kafka", "gateway-http"],
    &["tidemark", "sim", "compat", "loadtest"],
];

/// Dependencies that have one home each.
const ROOMS: &[(&str, &[&str])] = &[
    ("fjall", &["meta"]),
    ("foundationdb", &["meta"]),
    ("kacrab-protocol", &["wire"]),
    ("aws-sdk-s3", &["blob"]),
    ("aws-config", &["blob"]),
    ("aws-credential-types", &["blob"]),
    ("axum", &["gateway-http"]),
    (
        "rustix",
        &["direct", "lognode", "tidemark", "compat", "loadtest"],
    ),
    ("clap", &["tidemark", "loadtest"]),
    ("prometheus", &["telemetry"]),
];

const TOP_LEVEL: &[&str] = &[
    ".cargo",
    ".ci",
    ".clippy.toml",
    ".dockerignore",
    ".gitignore",
    "ARCHITECTURE.md",
    "CHANGELOG.md",
    "CONTRIBUTING.md",
    "Cargo.lock",
    "Cargo.toml",
    "LICENSE",
    "README.md",
    "api",
    "deny.toml",
    "infra",
    "loadtest",
    "migrations",
    "rustfmt.toml",
    "services",
];

/// Non-test lines of a source file at the most.
const LINES_MAX: usize = 500;
/// How many files are over 400 non-test lines. Only ever lowered.
const LONG_FILES: usize = 0;

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("../..")
        .canonicalize()
        .unwrap()
}

fn tracked(pattern: &str) -> Vec<PathBuf> {
    let listed = std::process::Command::new("git")
        .args([
            "ls-files",
            "-z",
            "--cached",
            "--others",
            "--exclude-standard",
            pattern,
        ])
        .current_dir(root())
        .output()
        .expect("git is there");
    let text = String::from_utf8(listed.stdout).unwrap();
    text.split_terminator('\0')
        .map(PathBuf::from)
        .filter(|p| root().join(p).exists())
        .collect()
}

fn manifests() -> BTreeMap<String, toml::Table> {
    tracked("*Cargo.toml")
        .into_iter()
        .filter(|p| p.components().count() > 1 && !p.iter().any(|c| c == "fuzz"))
        .map(|p| {
            let manifest: toml::Table = std::fs::read_to_string(root().join(p))
                .unwrap()
                .parse()
                .unwrap();
            let name = manifest["package"]["name"].as_str().unwrap().to_owned();
            (name.trim_start_matches("tidemark-").to_owned(), manifest)
        })
        .collect()
}

fn dependencies(manifest: &toml::Table) -> impl Iterator<Item = &String> {
    manifest
        .get("dependencies")
        .and_then(|d| d.as_table())
        .into_iter()
        .flat_map(|d| d.keys())
}

#[test]
fn dependencies_point_down_only() {
    let layer_of = |name: &str| LAYERS.iter().position(|crates| crates.contains(&name));
    for (name, manifest) in manifests() {
        let layer =
            layer_of(&name).unwrap_or_else(|| panic!("{name} has no layer: add it to LAYERS"));
        for dependency in dependencies(&manifest).filter_map(|d| d.strip_prefix("tidemark-")) {
            let below = layer_of(dependency).is_some_and(|l| l < layer);
            assert!(
                below,
                "{name} depends on {dependency}, which is not below it"
            );
        }
    }
}

#[test]
fn heavy_dependencies_stay_in_their_rooms() {
    for (name, manifest) in manifests() {
        for dependency in dependencies(&manifest) {
            if let Some((_, rooms)) = ROOMS.iter().find(|(d, _)| d == dependency) {
                assert!(
                    rooms.contains(&name.as_str()),
                    "{name} depends on {dependency}; its room is {rooms:?}"
                );
            }
        }
    }
}

#[test]
fn files_stay_short() {
    let lines: Vec<(PathBuf, usize)> = tracked("*.rs")
        .into_iter()
        .filter(|p| !p.to_string_lossy().ends_with("tests.rs") && !p.iter().any(|c| c == "tests"))
        .map(|p| {
            let text = std::fs::read_to_string(root().join(&p)).unwrap();
            let code = text
                .split("\n#[cfg(test)]")
                .next()
                .unwrap_or_default()
                .lines()
                .count();
            (p, code)
        })
        .collect();
    let over: Vec<_> = lines.iter().filter(|(_, n)| *n > LINES_MAX).collect();
    assert!(over.is_empty(), "over {LINES_MAX} non-test lines: {over:?}");
    let long: Vec<_> = lines.iter().filter(|(_, n)| *n > 400).collect();
    assert_eq!(long.len(), LONG_FILES, "files over 400 lines: {long:?}");
}

#[test]
fn the_top_level_holds_only_what_it_should() {
    for path in tracked("*") {
        let first = path.iter().next().unwrap().to_string_lossy().into_owned();
        assert!(
            TOP_LEVEL.contains(&first.as_str()),
            "{first} does not belong at the top level"
        );
    }
}

#[test]
fn no_file_tells_of_a_machine() {
    let words = ["/wo".to_owned() + "rk/", "/tmp/w".to_owned() + "t/"];
    for path in tracked("*") {
        let Ok(text) = std::fs::read_to_string(root().join(&path)) else {
            continue;
        };
        for word in &words {
            assert!(
                !text.contains(word.as_str()),
                "{} names {word}",
                path.display()
            );
        }
    }
}
