//! Identify: observations → claims → what a device is.

pub mod maker;
pub mod oui;
pub mod rules;
