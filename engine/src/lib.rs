#![doc = include_str!("../ARCHITECTURE.md")]

pub mod batch;
pub mod coverage;
pub mod flow;
pub mod lake;
pub mod ledger;
