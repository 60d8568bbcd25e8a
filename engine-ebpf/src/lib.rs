//! Records, frame access, parser and flow-cache meter of Auscult: one body of code, compiled for BPF and natively.
#![no_std]

pub mod discard;
pub mod frame;
pub mod hash;
pub mod limit;
pub mod meter;
pub mod parse;
pub mod record;
pub mod sample;
pub mod settings;
