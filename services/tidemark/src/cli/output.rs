//! Tables for people, JSON for programs.

use std::io::Write;

use comfy_table::{Table, presets};
use serde_json::Value;

use super::CliError;

/// How a command prints.
#[derive(Clone, Copy, Debug)]
pub(super) struct Output {
    pub(super) json: bool,
}

impl Output {
    /// Prints `value` as JSON, or the table that `rows` makes of it.
    pub(super) fn show(
        self,
        value: &Value,
        header: &[&str],
        rows: impl FnOnce(&Value) -> Vec<Vec<String>>,
    ) -> Result<(), CliError> {
        if self.json {
            return self.line(&serde_json::to_string_pretty(value).unwrap_or_default());
        }
        let rows = rows(value);
        if rows.is_empty() {
            return self.line("(none)");
        }
        let mut table = Table::new();
        table
            .load_style(presets::NOTHING)
            .set_header(header.iter().map(|h| h.to_uppercase()));
        table.add_rows(rows);
        self.line(table.trim_fmt().as_str())
    }

    /// Prints one line to standard output.
    pub(super) fn line(self, text: &str) -> Result<(), CliError> {
        writeln!(std::io::stdout(), "{text}").map_err(CliError::from)
    }

    /// Prints `done` for people, the service's answer for programs.
    pub(super) fn done(self, value: &Value, done: &str) -> Result<(), CliError> {
        if self.json {
            self.line(&value.to_string())
        } else {
            self.line(done)
        }
    }
}

/// A JSON value as a table cell.
pub(super) fn cell(value: &Value) -> String {
    match value {
        Value::Null => "-".to_owned(),
        Value::String(s) => s.clone(),
        other => other.to_string(),
    }
}

/// The array under `key`, or nothing.
pub(super) fn array<'v>(value: &'v Value, key: &str) -> &'v [Value] {
    value[key].as_array().map_or(&[], Vec::as_slice)
}
