//! Seeds.

mod a_seed_decides_everything;
mod damage;
mod hour;
mod mutations;
mod named;
mod seeds;
mod steps;
mod wiped;
