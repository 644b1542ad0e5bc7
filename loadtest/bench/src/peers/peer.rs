//! A peer: one TOML file that says how to install, configure and start a server.
//!
//! In every text `{cache}` (kept between runs), `{data}` (empty at every start of a round), `{here}` (the folder of the
//! peers' files), `{tidemark}` (the binary under test) and `{kafka}`, `{http}`, `{nats}`, `{other}` (free ports) are
//! replaced.

use std::collections::BTreeMap;

use serde::Deserialize;

use crate::LoadError;
use crate::scenario::Protocol;

/// A server to compare with.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Peer {
    /// Its name in tables.
    pub name: String,
    /// Version and settings, in a line.
    #[serde(default)]
    pub about: String,
    /// What it speaks, its own first.
    pub protocols: Vec<Protocol>,
    /// How it comes onto the machine.
    #[serde(default)]
    pub install: Install,
    /// Files written into `{data}` before every start of a round, by name.
    #[serde(default)]
    pub files: BTreeMap<String, String>,
    /// Commands run before the first start on an empty folder.
    #[serde(default)]
    pub format: Vec<Vec<String>>,
    /// The command that runs the server in the foreground.
    pub start: Vec<String>,
    /// Its environment, besides this process's.
    #[serde(default)]
    pub env: BTreeMap<String, String>,
}

/// How a peer comes onto the machine.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Install {
    /// When this file exists there is nothing to do.
    pub makes: String,
    /// Commands, in order.
    pub run: Vec<Vec<String>>,
}

impl Peer {
    /// Reads a peer's file.
    ///
    /// # Errors
    /// When it is not of this shape, or names no protocol or command.
    pub fn parse(text: &str) -> Result<Self, LoadError> {
        let usage = |what: String, hint: &str| LoadError::Usage {
            what,
            hint: hint.to_owned(),
        };
        let peer: Self = toml::from_str(text)
            .map_err(|e| usage(format!("read peer: {e}"), "see loadtest/bench/peers/"))?;
        if peer.protocols.is_empty() || peer.start.is_empty() {
            let what = format!("peer {} has no protocols or no start", peer.name);
            return Err(usage(
                what,
                "name at least one protocol and the start command",
            ));
        }
        Ok(peer)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_peer_of_the_repository_can_be_read() {
        let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/peers");
        let mut names = Vec::new();
        for entry in std::fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            if path.extension().is_some_and(|e| e == "toml") {
                names.push(
                    Peer::parse(&std::fs::read_to_string(path).unwrap())
                        .unwrap()
                        .name,
                );
            }
        }
        names.sort_unstable();
        assert_eq!(
            names,
            ["kafka", "kafka-fsync", "nats", "tidemark", "tidemark-cold"]
        );
    }

    #[test]
    fn an_unknown_field_is_named() {
        let said =
            Peer::parse("name = \"x\"\nprotocols = [\"kafka\"]\nstart = [\"x\"]\nstop = \"y\"");
        assert!(said.unwrap_err().to_string().contains("stop"));
    }
}
