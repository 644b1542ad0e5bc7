//! Deterministic simulation of the production code.
//!
//! # Overview
//! [`run`] takes a seed and plays one life of the service on one thread in virtual time: log nodes over simulated
//! disks, the metadata store with faults, owner processes (leases, topics and log, wired as the binary wires them),
//! and clients. Blows fall on all of them. A checker follows everything that clients are answered and reports
//! what the invariants of DESIGN section 9 forbid. The seed decides everything, so it is all that a failure needs.
//!
//! # What is simulated
//! One log node, or three of which two make an ack, with a machine each; in every other seed an object store that the
//! log's older part moves to, with budgets so small that it must. Object store ([`tidemark_blob::faulty`]), disks ([`tidemark_lognode::sim`]), metadata ([`tidemark_meta::faulty`]), the ways between them, the clock and
//! randomness. Everything else is what production runs. A process dies or pauses at its seams: no call of it
//! gets out, no answer in.
//!
//! # Reading order
//! `plan` (what a seed decides), `world`, `machine` and `process` (what there is), `chaos`, `takeovers`,
//! `outages` and `rot` (what goes wrong), `clients` (who works), `ledger`, `table`, `starts`, `facts`, `covered`, `kept` and `audit` (what
//! is checked), `broken` (what is broken on purpose); and runs of one kind of trouble: `damage`, `hour` and `steps`.

mod audit;
mod broken;
mod chaos;
mod clients;
mod covered;
mod damage;
mod disk;
mod facts;
mod hour;
mod kept;
mod ledger;
mod life;
mod link;
mod machine;
mod metadata;
mod objects;
mod outages;
mod plan;
mod process;
mod rot;
mod run;
mod saved;
mod starts;
mod steps;
mod table;
mod takeovers;
mod tap;
mod trace;
mod verdict;
mod wiped;
mod world;

pub use broken::{Broken, Flaw};
pub use damage::{Damage, run_damage};
pub use hour::{Hour, run_hour};
pub use run::{Outcome, run};
pub use steps::{Steps, run_steps};
pub use verdict::Violation;
pub use wiped::{Ending, run_wiped};
