#![doc = include_str!("../ARCHITECTURE.md")]

pub mod batch;
pub mod capture;
pub mod flow;
pub mod ledger;
