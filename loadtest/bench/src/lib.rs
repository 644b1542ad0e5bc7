//! Load, and what it shows: a workload generator, and side-by-side runs of servers on one machine.
//!
//! # Overview
//! A [`scenario`] says what load to make. [`run`] makes it: producers ([`kafka`], [`sequential`]) follow a schedule
//! ([`pace`]) that does not wait for the server, readers check every record ([`verify`]) against what the seeded
//! generator ([`payload`]) wrote and the acks promised. What was measured ([`measure`]) becomes a [`report`].
//!
//! This crate sees the ambient clock through `runtime` only, so its own accounting is tested in virtual time.

pub mod error;
pub mod html;
pub mod http;
pub mod instructions;
pub mod kafka;
pub mod layout;
pub mod measure;
pub mod nats;
pub mod pace;
pub mod payload;
pub mod peers;
pub mod process;
pub mod progress;
pub mod report;
pub mod run;
pub mod scenario;
pub mod sequential;
pub mod shared;
pub mod source;
pub mod text;
pub mod verify;

pub use error::LoadError;
