//! Seeds.

mod a_seed_decides_everything;
mod damage;
mod mutations;
mod named;
mod seeds;
mod wiped;
