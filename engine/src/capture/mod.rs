//! Capture: frames in, from a tap or from files.

pub mod replay;
