#![doc = include_str!("../ARCHITECTURE.md")]

pub mod batch;
pub mod capture;
pub mod cli;
pub mod config;
pub mod flow;
pub mod ledger;
pub mod limit;
pub mod pipeline;
pub mod progress;
pub mod serve;
pub mod shutdown;
pub mod summary;
pub mod telemetry;
pub mod time;
