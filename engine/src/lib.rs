#![doc = include_str!("../ARCHITECTURE.md")]

pub mod batch;
pub mod flow;
pub mod lab;
pub mod ledger;
pub mod scene;
