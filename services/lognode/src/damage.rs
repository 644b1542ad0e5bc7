//! Damage, for people and programs.

use std::fmt;

/// Bytes of a file that are not what was synced there.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Damage {
    /// The segment file; of a segment that no file holds, its number in words.
    pub file: String,
    /// First damaged byte.
    pub from: u64,
    /// Behind the last damaged byte; `from` when no bytes can be named.
    pub to: u64,
    /// What is wrong with them.
    pub why: String,
}

impl fmt::Display for Damage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            file,
            from,
            to,
            why,
        } = self;
        write!(f, "damaged below the synced mark: {file}")?;
        if from < to {
            write!(f, " bytes {from}..{to}")?;
        }
        write!(f, ": {why}")
    }
}

/// Several as one line.
pub(crate) fn in_words(damage: &[Damage]) -> String {
    let words: Vec<String> = damage.iter().map(ToString::to_string).collect();
    words.join("; ")
}
