#![doc = include_str!("../ARCHITECTURE.md")]

pub mod account;
pub mod batch;
pub mod biflow;
pub mod capture;
pub mod cli;
pub mod config;
pub mod coverage;
pub mod device;
pub mod dissect;
pub mod flow;
pub mod identify;
<<<<<<< HEAD
pub mod inventory;
=======
>>>>>>> part-f
pub mod lab;
pub mod lake;
pub mod ledger;
pub mod limit;
pub mod observation;
pub mod pipeline;
pub mod progress;
pub mod scene;
pub mod serve;
pub mod shutdown;
pub mod sidedness;
pub mod summary;
pub mod telemetry;
pub mod time;
