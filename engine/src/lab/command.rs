//! The system's network tools: arguments → done, or an error that says what was run and what it answered.

use std::{
    io,
    process::{Command, Stdio},
};

use super::LabError;

/// Runs a tool; its arguments are one line, split at blanks.
pub(super) fn run(tool: &'static str, arguments: &str) -> Result<(), LabError> {
    let output = Command::new(tool).args(arguments.split_whitespace()).stdin(Stdio::null()).output();
    let output = output.map_err(|source| match source.kind() {
        io::ErrorKind::NotFound => LabError::NoTool { tool },
        _ => LabError::System { what: "start a network tool", source },
    })?;
    if output.status.success() {
        return Ok(());
    }
    let said = String::from_utf8_lossy(&output.stderr).trim().replace('\n', "; ");
    Err(LabError::Tool { command: format!("{tool} {arguments}"), said })
}
