//! Settings on the command line, and `tidemark config`.

use std::collections::BTreeMap;
use std::path::PathBuf;

use clap::{Arg, ArgMatches, Args};
use serde_json::{Value, json};

use super::{CliError, Output};
use crate::config::{self, Loaded, SETTINGS, SettingDoc, Settings};

/// `tidemark config`.
#[derive(Args, Debug)]
pub(super) struct ConfigArgs {
    /// Print every setting with its documentation, default, environment variable and flag, as Markdown.
    #[arg(long)]
    reference: bool,
}

/// Adds `--config` and one flag per setting.
pub(super) fn with_flags(command: clap::Command) -> clap::Command {
    let file = Arg::new("config")
        .long("config")
        .value_name("FILE")
        .env("TIDEMARK_CONFIG")
        .value_parser(clap::value_parser!(PathBuf))
        .help("TOML file with settings");
    let flags = SETTINGS.iter().map(|doc| {
        Arg::new(doc.path())
            .long(doc.flag())
            .value_name("VALUE")
            .help(help(doc))
            .help_heading(format!("Settings: {}", doc.section))
    });
    command.arg(file).args(flags)
}

fn help(doc: &SettingDoc) -> String {
    format!("{} [default: {}]", prose(doc), default_of(doc))
}

fn prose(doc: &SettingDoc) -> String {
    doc.doc
        .iter()
        .map(|line| line.trim())
        .collect::<Vec<_>>()
        .join(" ")
}

fn default_of(doc: &SettingDoc) -> String {
    value_of(&Settings::default(), doc)
}

fn value_of(settings: &Settings, doc: &SettingDoc) -> String {
    let table = serde_json::to_value(settings).unwrap_or_default();
    match &table[doc.section][doc.key] {
        Value::String(s) if s.is_empty() => "\"\"".to_owned(),
        Value::String(s) => s.clone(),
        other => other.to_string(),
    }
}

/// Loads the settings from the file, the environment and the flags of `matches`.
pub(super) fn load(matches: Option<&ArgMatches>) -> Result<Loaded, CliError> {
    let file = match matches {
        Some(m) => m.get_one::<PathBuf>("config").cloned(),
        None => std::env::var_os("TIDEMARK_CONFIG").map(PathBuf::from),
    };
    let given = |doc: &SettingDoc| matches?.get_one::<String>(&doc.path()).cloned();
    let flags: BTreeMap<_, _> = SETTINGS
        .iter()
        .filter_map(|doc| Some((doc.path(), given(doc)?)))
        .collect();
    config::load(file.as_deref(), std::env::vars(), &flags).map_err(|e| {
        CliError::local(
            "config",
            "load the settings",
            e,
            "`tidemark config --reference` documents every setting.",
        )
    })
}

/// Runs `tidemark config`.
pub(super) fn run(
    args: &ConfigArgs,
    matches: Option<&ArgMatches>,
    out: Output,
) -> Result<(), CliError> {
    if args.reference {
        return out.line(reference().trim_end());
    }
    let loaded = load(matches)?;
    for warning in &loaded.warnings {
        eprintln!("warning: {warning}");
    }
    let settings: Vec<Value> = SETTINGS
        .iter()
        .map(|doc| {
            let source = loaded.sources.get(&doc.path()).map_or_else(|| "default".to_owned(), ToString::to_string);
            json!({ "setting": doc.path(), "value": value_of(&loaded.settings, doc), "from": source })
        })
        .collect();
    out.show(
        &Value::Array(settings),
        &["setting", "value", "from"],
        |settings| {
            let row = |s: &Value| {
                ["setting", "value", "from"]
                    .map(|k| super::output::cell(&s[k]))
                    .to_vec()
            };
            settings.as_array().into_iter().flatten().map(row).collect()
        },
    )
}

/// The reference of all settings as Markdown; `services/tidemark/SETTINGS.md` is this text.
fn reference() -> String {
    let mut text = String::from(
        "# Settings\n\nFlags win over the environment, the environment over the file named by `--config`, the file over the defaults.\n\
         Written by `tidemark config --reference`; a test keeps the two equal.\n",
    );
    let mut section = "";
    for doc in SETTINGS {
        if doc.section != section {
            section = doc.section;
            text += &format!(
                "\n## [{section}]\n\n| key | default | environment | flag | meaning |\n|---|---|---|---|---|\n"
            );
        }
        text += &format!(
            "| `{}` | `{}` | `{}` | `--{}` | {} |\n",
            doc.key,
            default_of(doc),
            doc.env(),
            doc.flag(),
            prose(doc)
        );
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_reference_in_the_tree_is_the_generated_one() {
        let path = concat!(env!("CARGO_MANIFEST_DIR"), "/SETTINGS.md");
        if std::env::var_os("TIDEMARK_WRITE").is_some() {
            #[expect(
                clippy::disallowed_methods,
                reason = "a test that rewrites its fixture"
            )]
            std::fs::write(path, reference()).unwrap();
        }
        let found = std::fs::read_to_string(path).unwrap_or_default();
        assert_eq!(found, reference(), "run the test with TIDEMARK_WRITE=1");
    }

    #[test]
    fn flags_reach_the_settings() {
        let matches = with_flags(clap::Command::new("serve")).get_matches_from([
            "serve",
            "--log-shards",
            "9",
        ]);
        assert_eq!(load(Some(&matches)).unwrap().settings.log.shards, 9);
    }
}
