//! Putting the layers together: defaults, then the file, then `TIDEMARK_…`, then flags.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use super::ranges::{check, check_together};
use super::{SETTINGS, Settings};

/// A setting's documentation.
#[derive(Clone, Copy, Debug)]
pub struct SettingDoc {
    /// Section in the TOML file.
    pub section: &'static str,
    /// Key in the section.
    pub key: &'static str,
    /// What it is for, line by line.
    pub doc: &'static [&'static str],
}

impl SettingDoc {
    /// `section.key`, as messages name it.
    #[must_use]
    pub fn path(&self) -> String {
        format!("{}.{}", self.section, self.key)
    }

    /// The environment variable: `TIDEMARK_KAFKA_LISTEN`.
    #[must_use]
    pub fn env(&self) -> String {
        format!("TIDEMARK_{}_{}", self.section, self.key).to_uppercase()
    }

    /// The flag without its dashes: `kafka-listen`.
    #[must_use]
    pub fn flag(&self) -> String {
        format!("{}-{}", self.section, self.key).replace('_', "-")
    }
}

/// Where a value came from.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Source {
    /// A file, by its path.
    File(PathBuf),
    /// An environment variable, by its name.
    Env(String),
    /// A flag, by its name.
    Flag(String),
}

impl std::fmt::Display for Source {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::File(path) => write!(f, "{}", path.display()),
            Self::Env(name) => write!(f, "{name}"),
            Self::Flag(name) => write!(f, "--{name}"),
        }
    }
}

/// Why settings could not be loaded.
#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    /// The file cannot be read.
    #[error("read the configuration file {}: {why}", path.display())]
    Unreadable {
        /// The file.
        path: PathBuf,
        /// The operating system's word.
        why: String,
    },
    /// The file is not TOML.
    #[error("parse the configuration file {}: {why}", path.display())]
    Syntax {
        /// The file.
        path: PathBuf,
        /// Line, column and complaint.
        why: String,
    },
    /// A value does not fit its setting.
    #[error("set {path} from {source_name}: {why}")]
    Value {
        /// `section.key`.
        path: String,
        /// Where the value came from.
        source_name: String,
        /// What is wrong with it.
        why: String,
    },
}

/// Settings with what is worth telling about how they came to be.
#[derive(Debug)]
pub struct Loaded {
    /// The effective settings.
    pub settings: Settings,
    /// Where each non-default value came from, by `section.key`.
    pub sources: BTreeMap<String, Source>,
    /// Unknown keys and other things to warn about.
    pub warnings: Vec<String>,
}

/// Loads the settings.
///
/// `flags` maps `section.key` to text; `env` is the process's environment. A missing `file` is an error: it was named.
///
/// # Errors
/// When the file cannot be read or a value does not fit. Unknown keys are warnings.
pub fn load(
    file: Option<&Path>,
    env: impl IntoIterator<Item = (String, String)>,
    flags: &BTreeMap<String, String>,
) -> Result<Loaded, ConfigError> {
    let mut layers = Layers::new();
    if let Some(path) = file {
        layers.file(path)?;
    }
    layers.env(env)?;
    for doc in SETTINGS {
        if let Some(text) = flags.get(&doc.path()) {
            layers.text(doc, text, Source::Flag(doc.flag()))?;
        }
    }
    layers.together()?;
    Ok(layers.loaded)
}

struct Layers {
    loaded: Loaded,
}

impl Layers {
    fn new() -> Self {
        let settings = Settings::default();
        Self {
            loaded: Loaded {
                settings,
                sources: BTreeMap::new(),
                warnings: Vec::new(),
            },
        }
    }

    fn file(&mut self, path: &Path) -> Result<(), ConfigError> {
        let text = std::fs::read_to_string(path).map_err(|e| ConfigError::Unreadable {
            path: path.into(),
            why: e.to_string(),
        })?;
        let table: toml::Table = toml::from_str(&text).map_err(|e| ConfigError::Syntax {
            path: path.into(),
            why: e.to_string(),
        })?;
        for (section, body) in table {
            let toml::Value::Table(body) = body else {
                self.warn_unknown(path, &section);
                continue;
            };
            for (key, value) in body {
                match SETTINGS
                    .iter()
                    .find(|d| d.section == section && d.key == key)
                {
                    Some(doc) => self.value(doc, value, Source::File(path.into()))?,
                    None => self.warn_unknown(path, &format!("{section}.{key}")),
                }
            }
        }
        Ok(())
    }

    fn warn_unknown(&mut self, path: &Path, key: &str) {
        let hint = closest(key)
            .map(|near| format!("; did you mean {near}?"))
            .unwrap_or_default();
        self.loaded.warnings.push(format!(
            "{}: unknown setting {key} is ignored{hint}",
            path.display()
        ));
    }

    fn env(&mut self, env: impl IntoIterator<Item = (String, String)>) -> Result<(), ConfigError> {
        for (name, text) in env {
            if !name.starts_with("TIDEMARK_") || RESERVED_ENV.contains(&name.as_str()) {
                continue;
            }
            match SETTINGS.iter().find(|d| d.env() == name) {
                Some(doc) => self.text(doc, &text, Source::Env(name))?,
                None => self
                    .loaded
                    .warnings
                    .push(format!("environment: unknown setting {name} is ignored")),
            }
        }
        Ok(())
    }

    /// Sets a value from text: as the default's type where that is a number or a truth value, else as a string.
    fn text(&mut self, doc: &SettingDoc, text: &str, source: Source) -> Result<(), ConfigError> {
        let value = match self.as_table()[doc.section][doc.key] {
            toml::Value::Integer(_) => text.parse().map(toml::Value::Integer).ok(),
            toml::Value::Boolean(_) => text.parse().map(toml::Value::Boolean).ok(),
            _ => None,
        };
        self.value(
            doc,
            value.unwrap_or_else(|| toml::Value::String(text.into())),
            source,
        )
    }

    fn value(
        &mut self,
        doc: &SettingDoc,
        value: toml::Value,
        source: Source,
    ) -> Result<(), ConfigError> {
        let mut table = self.as_table();
        table[doc.section][doc.key] = value;
        self.loaded.settings =
            table
                .try_into()
                .map_err(|e: toml::de::Error| ConfigError::Value {
                    path: doc.path(),
                    source_name: source.to_string(),
                    why: e.message().to_owned(),
                })?;
        check(&self.loaded.settings, doc).map_err(|why| ConfigError::Value {
            path: doc.path(),
            source_name: source.to_string(),
            why,
        })?;
        self.loaded.sources.insert(doc.path(), source);
        Ok(())
    }

    /// What several settings say together is looked at once all of them are known.
    fn together(&self) -> Result<(), ConfigError> {
        let source = |path: &str| self.loaded.sources.get(path);
        check_together(&self.loaded.settings).map_err(|(paths, why)| {
            // The one that was set is to blame, not the default it does not go with.
            let path = paths.iter().find(|path| source(path).is_some());
            let path = path.unwrap_or(&paths[0]);
            ConfigError::Value {
                path: (*path).to_owned(),
                source_name: source(path).map_or("the default".to_owned(), ToString::to_string),
                why,
            }
        })
    }

    fn as_table(&self) -> toml::Table {
        toml::Table::try_from(&self.loaded.settings).expect("settings are plain values")
    }
}

/// Variables of the project that are no settings.
const RESERVED_ENV: [&str; 4] = [
    "TIDEMARK_WRITE",
    "TIDEMARK_CONFIG",
    "TIDEMARK_URL",
    "TIDEMARK_FDB_CLUSTER_FILE",
];

/// The known setting that shares the most with an unknown one, if it shares enough to be worth naming.
fn closest(key: &str) -> Option<String> {
    SETTINGS
        .iter()
        .map(|d| (strsim::jaro_winkler(key, &d.path()), d.path()))
        .filter(|(score, _)| *score > 0.85)
        .max_by(|a, b| a.0.total_cmp(&b.0))
        .map(|(_, path)| path)
}
