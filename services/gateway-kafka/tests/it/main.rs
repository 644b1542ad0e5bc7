//! Codecs against an independent implementation, hostile bytes, and the fuzzers' corpus as regression tests.

mod alloc;
mod corpus;
mod differential;
mod hostile;
mod samples;
