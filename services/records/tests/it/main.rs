//! Behaviour of the codec as its users see it.

#![expect(
    clippy::unwrap_used,
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "tests say what they expect, on numbers they chose"
)]

#[path = "../../fuzz/checks.rs"]
mod checks;
mod corpus;
mod hostile;
mod memory;
mod oracle;
mod rewrite;
mod rules;
mod samples;
