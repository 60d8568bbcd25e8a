//! The commands that ask the inventory, or tell it something.

use std::io::{self, Write};

use super::{
    CliError,
    args::{DeviceImportArgs, DeviceSetArgs, DevicesArgs, InventoryFileArgs, LogArgs, WhyArgs},
    listing, load, log_overrides,
};
use crate::{
    device::{Change, Known},
    inventory::Report,
    pipeline::devices::{self, DeviceSelection, Reasons},
    time,
};

pub(super) fn devices(args: &DevicesArgs, log: &LogArgs, out: &mut dyn Write) -> Result<(), CliError> {
    load(None, &log_overrides(log))?;
    let selection = DeviceSelection { conditions: args.conditions.clone(), as_of: args.as_of, limit: args.limit };
    let found = devices::devices(&args.data, &selection)?;
    if args.json {
        return Ok(listing::write_json(&found, out)?);
    }
    listing::write_table(&found, out)?;
    if found.more {
        writeln!(out, "… and more: --limit N shows them, --where narrows the list")?;
    }
    Ok(())
}

pub(super) fn why(args: &WhyArgs, log: &LogArgs, out: &mut dyn Write) -> Result<(), CliError> {
    load(None, &log_overrides(log))?;
    let reasons = devices::why(&args.data, &args.device)?;
    if args.json {
        serde_json::to_writer_pretty(&mut *out, &reasons.json()).map_err(io::Error::from)?;
        writeln!(out)?;
        return Ok(());
    }
    Ok(write_reasons(&reasons, out)?)
}

/// In words: each attribute with what supports it, then what else was observed, then what changed.
fn write_reasons(reasons: &Reasons, out: &mut dyn Write) -> io::Result<()> {
    let device = &reasons.device;
    let list = |items: Vec<String>| if items.is_empty() { "-".to_owned() } else { items.join(", ") };
    writeln!(out, "{}  {}", device.device_id, device.category().name())?;
    writeln!(out, "  mac {}", list(device.macs.iter().map(ToString::to_string).collect()))?;
    writeln!(out, "  ip {}", list(device.ips.iter().map(ToString::to_string).collect()))?;
    writeln!(out, "  seen {} to {}", time::format(device.first_seen), time::format(device.last_seen))?;
    if device.routed {
        writeln!(out, "  behind a router: its MAC is not known, and nothing is concluded from the router's")?;
    }
    for (attribute, known) in &device.attributes {
        writeln!(out, "\n{}: {}", attribute.name(), claim(known))?;
        for (piece, weight) in reasons.supporting(*attribute, &known.value) {
            write_piece(out, piece, Some(weight))?;
        }
        for (value, confidence) in &known.conflicts {
            writeln!(out, "  against it: {value} ({confidence:.2})")?;
            for (piece, weight) in reasons.supporting(*attribute, value) {
                write!(out, "  ")?;
                write_piece(out, piece, Some(weight))?;
            }
        }
    }
    let rest: Vec<_> = reasons.evidence.iter().filter(|piece| piece.supports.is_empty()).collect();
    if !rest.is_empty() {
        writeln!(out, "\nobserved, too:")?;
        rest.into_iter().try_for_each(|piece| write_piece(out, piece, None))?;
    }
    writeln!(out, "\nchanges:")?;
    reasons.changes.iter().try_for_each(|change| write_change(change, out))
}

fn claim(known: &Known) -> String {
    if known.set_by_hand {
        format!("{} (set by hand)", known.value)
    } else {
        format!("{} ({:.2} sure)", known.value, known.confidence)
    }
}

fn write_piece(out: &mut dyn Write, piece: &crate::device::Evidence, weight: Option<f32>) -> io::Result<()> {
    let weight = weight.map_or(String::new(), |weight| format!("{weight:.2}  "));
    let peer = piece.peer.map_or(String::new(), |peer| format!(" with {peer}"));
    let flow = piece.flow_id.map_or_else(|| "flow not over yet".to_owned(), |flow| format!("flow {flow}"));
    let rules: Vec<&str> = piece.supports.iter().map(|claim| &*claim.rule).collect();
    let rules = if rules.is_empty() { String::new() } else { format!("; rule {}", rules.join(", ")) };
    let (field, value, count) = (piece.field.name(), &piece.value, piece.count);
    writeln!(out, "  {weight}{field} = {value:?}{peer}, {count} times since {}; {flow}{rules}", time::format(piece.first_seen))
}

fn write_change(change: &Change, out: &mut dyn Write) -> io::Result<()> {
    let text = |side: &Option<Box<str>>| side.as_deref().unwrap_or("-").to_owned();
    writeln!(
        out,
        "  {}  {}: {} → {} by {}",
        time::format(change.at),
        change.what,
        text(&change.before),
        text(&change.after),
        change.by
    )
}

pub(super) fn set(args: &DeviceSetArgs, log: &LogArgs, out: &mut dyn Write) -> Result<(), CliError> {
    load(None, &log_overrides(log))?;
    let changes = devices::set(&args.data, &args.device, &args.settings, &args.by)?;
    if changes.is_empty() {
        writeln!(out, "nothing changed: it was so already")?;
    }
    changes.iter().try_for_each(|change| write_change(change, out))?;
    Ok(())
}

pub(super) fn import(args: &DeviceImportArgs, log: &LogArgs, out: &mut dyn Write) -> Result<(), CliError> {
    load(None, &log_overrides(log))?;
    let Report { applied, unmatched, errors, written } = devices::import(&args.data, &args.file, &args.by, args.dry_run)?;
    for row in &applied {
        writeln!(out, "line {}: {}, {} changes", row.line, row.device_id, row.changes)?;
    }
    for row in unmatched.iter().chain(&errors) {
        writeln!(out, "line {}: {}", row.line, row.why)?;
    }
    let what = if written { "set" } else { "would be set" };
    writeln!(out, "{} rows {what}, {} match no device, {} are wrong", applied.len(), unmatched.len(), errors.len())?;
    if errors.is_empty() {
        return Ok(());
    }
    Err(CliError::Import(format!(
        "{}: {} rows are wrong and nothing was set: mend them and import it again",
        args.file.display(),
        errors.len()
    )))
}

pub(super) fn backup(args: &InventoryFileArgs, log: &LogArgs, out: &mut dyn Write) -> Result<(), CliError> {
    load(None, &log_overrides(log))?;
    let bytes = devices::backup(&args.data, &args.file)?;
    Ok(writeln!(out, "{}: {bytes} bytes", args.file.display())?)
}

pub(super) fn restore(args: &InventoryFileArgs, log: &LogArgs, out: &mut dyn Write) -> Result<(), CliError> {
    load(None, &log_overrides(log))?;
    let devices = devices::restore(&args.file, &args.data)?;
    Ok(writeln!(out, "{}: {devices} devices", args.data.display())?)
}
