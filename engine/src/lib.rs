#![doc = include_str!("../ARCHITECTURE.md")]

pub mod batch;
pub mod biflow;
pub mod flow;
pub mod ledger;
