//! Tests of the tree itself.

mod tidy;
