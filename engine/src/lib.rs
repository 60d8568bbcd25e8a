#![doc = include_str!("../ARCHITECTURE.md")]

pub mod batch;
pub mod flow;
pub mod ledger;
