//! What people say of many devices: a table of comma-separated values into settings.
//!
//! The first row names the columns. The first of `device_id`, `mac`, `serial` and `ip` that a device answers to tells which
//! device a row is about; the other columns say something of it, and an empty cell says nothing. Rows without a device are
//! reported and passed by. If anything else is wrong, all of it is reported by line and nothing is written.

use std::{
    collections::{BTreeMap, HashMap},
    net::IpAddr,
};

use super::{
    Batch, Inventory, InventoryError, Overrides, Setting,
    csv::{Record, Records},
    history::mac,
};
use crate::{
    device::{Attribute, Device, DeviceId, Lifecycle},
    flow::{Mac, UnixNanos},
};

/// Largest table, octets.
const TABLE_OCTETS_MAX: usize = 64 << 20;
/// Most rows that are reported one by one, of each kind.
const REPORTED_MAX: usize = 1000;

/// A row that cannot be followed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Refused {
    /// Its line, from 1.
    pub line: u32,
    /// What is wrong.
    pub why: Box<str>,
}

/// A row that was followed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Applied {
    /// Its line, from 1.
    pub line: u32,
    /// Whom it is about.
    pub device_id: DeviceId,
    /// How many changes it made; none if all was so already.
    pub changes: usize,
}

/// What became of a table.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Report {
    /// Rows that were followed, or would be.
    pub applied: Vec<Applied>,
    /// Rows that no device answers to, at most 1000.
    pub unmatched: Vec<Refused>,
    /// What is wrong with the table, at most 1000. If there is any, nothing was written.
    pub errors: Vec<Refused>,
    /// It was written: there was no error, and it was no rehearsal.
    pub written: bool,
}

/// What a table says, row by row.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Plan {
    /// Line, device, and what is said of it.
    pub rows: Vec<(u32, DeviceId, Vec<Setting>)>,
    /// As in [`Report`].
    pub unmatched: Vec<Refused>,
    /// As in [`Report`].
    pub errors: Vec<Refused>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Column {
    DeviceId,
    Mac,
    Ip,
    Owner,
    Place,
    Tags,
    Lifecycle,
    Value(Attribute),
}

impl Column {
    fn named(name: &str) -> Option<Self> {
        Some(match name.trim() {
            "device_id" => Self::DeviceId,
            "mac" => Self::Mac,
            "ip" => Self::Ip,
            "owner" => Self::Owner,
            "place" => Self::Place,
            "tags" => Self::Tags,
            "lifecycle" => Self::Lifecycle,
            "serial" => Self::Value(Attribute::Serial),
            "category" => Self::Value(Attribute::Category),
            "manufacturer" => Self::Value(Attribute::Manufacturer),
            "model" => Self::Value(Attribute::Model),
            "hostname" => Self::Value(Attribute::Hostname),
            _ => return None,
        })
    }
}

/// Makes a plan of a table, for the devices that there are.
pub fn plan(table: &[u8], devices: &[Device]) -> Plan {
    let mut plan = Plan::default();
    if table.len() > TABLE_OCTETS_MAX {
        report(&mut plan.errors, 1, "the table is larger than 64 MiB; split it");
        return plan;
    }
    let text = match std::str::from_utf8(table) {
        Ok(text) => text,
        Err(error) => {
            let before = table.get(..error.valid_up_to()).unwrap_or_default();
            let line = before.iter().filter(|octet| **octet == b'\n').count().saturating_add(1);
            report(&mut plan.errors, u32::try_from(line).unwrap_or(u32::MAX), "not UTF-8; save the table as UTF-8");
            return plan;
        }
    };
    let mut records = Records::new(text);
    let columns = match records.next() {
        Some(Ok(header)) => columns(&header, &mut plan.errors),
        Some(Err(malformed)) => return refused(plan, malformed.line, malformed.why),
        None => return refused(plan, 1, "the table is empty; its first row names the columns"),
    };
    let index = Index::of(devices);
    let mut lines: HashMap<DeviceId, u32> = HashMap::new();
    for record in records {
        match record {
            Ok(record) => follow(&mut plan, &columns, &index, &mut lines, &record),
            Err(malformed) => return refused(plan, malformed.line, malformed.why),
        }
    }
    plan
}

fn refused(mut plan: Plan, line: u32, why: &str) -> Plan {
    report(&mut plan.errors, line, why);
    plan
}

fn report(list: &mut Vec<Refused>, line: u32, why: &str) {
    if list.len() < REPORTED_MAX {
        list.push(Refused { line, why: super::one_line(why) });
    }
}

/// What each column is. Unknown and repeated ones are errors.
fn columns(header: &Record, errors: &mut Vec<Refused>) -> Vec<Option<Column>> {
    let mut columns = Vec::new();
    for name in &header.cells {
        let column = Column::named(name);
        if column.is_none() {
            let known = "device_id, mac, ip, serial, owner, place, tags, lifecycle, category, manufacturer, model and hostname";
            report(errors, header.line, &format!("unknown column `{}`; known are {known}", short(name)));
        } else if columns.contains(&column) {
            report(errors, header.line, &format!("column `{}` is there twice", short(name)));
        }
        columns.push(column);
    }
    let names_devices = |column: &Option<Column>| {
        matches!(column, Some(Column::DeviceId | Column::Mac | Column::Ip | Column::Value(Attribute::Serial)))
    };
    if !columns.iter().any(names_devices) {
        report(errors, header.line, "no column tells the devices; give one of device_id, mac, serial, ip");
    }
    columns
}

fn follow(plan: &mut Plan, columns: &[Option<Column>], index: &Index<'_>, lines: &mut HashMap<DeviceId, u32>, record: &Record) {
    let line = record.line;
    if record.cells.len() != columns.len() {
        let why = format!("{} cells where the first row has {}", record.cells.len(), columns.len());
        return report(&mut plan.errors, line, &why);
    }
    let named = columns.iter().zip(&record.cells).filter_map(|(column, cell)| Some(((*column)?, cell.trim())));
    let cells: Vec<_> = named.filter(|(_, cell)| !cell.is_empty()).collect();
    let (device, by_serial) = match index.find(&cells) {
        Ok(Some(found)) => found,
        Ok(None) => return report(&mut plan.unmatched, line, "no device answers to it"),
        Err(why) => return report(&mut plan.errors, line, &why),
    };
    if let Some(other) = lines.insert(device.device_id, line) {
        return report(&mut plan.errors, line, &format!("about the same device as line {other}; put both in one"));
    }
    let mut settings = Vec::new();
    for (column, cell) in cells {
        match column {
            Column::DeviceId | Column::Mac | Column::Ip => {}
            Column::Value(Attribute::Serial) if by_serial => {}
            Column::Value(attribute) => settings.push(Setting::Attribute(attribute, Some(cell.into()))),
            Column::Owner => settings.push(Setting::Owner(Some(cell.into()))),
            Column::Place => settings.push(Setting::Place(Some(cell.into()))),
            Column::Tags => {
                let tags = cell.split(';').map(str::trim).filter(|tag| !tag.is_empty());
                settings.push(Setting::Tags(tags.map(Into::into).collect()));
            }
            Column::Lifecycle => match Lifecycle::named(cell) {
                Some(state) => settings.push(Setting::Lifecycle(state)),
                None => {
                    let known = Lifecycle::ALL.map(Lifecycle::name).join(", ");
                    return report(&mut plan.errors, line, &format!("lifecycle `{}` is none of {known}", short(cell)));
                }
            },
        }
    }
    plan.rows.push((line, device.device_id, settings));
}

/// The first octets of what a table says.
fn short(cell: &str) -> String {
    cell.chars().take(40).collect()
}

/// Devices by what they answer to; those that are parts of others answer by number alone, and the whole answers for them.
struct Index<'d> {
    ids: HashMap<DeviceId, &'d Device>,
    macs: HashMap<Mac, Vec<&'d Device>>,
    ips: HashMap<IpAddr, Vec<&'d Device>>,
    serials: HashMap<&'d str, Vec<&'d Device>>,
}

impl<'d> Index<'d> {
    fn of(devices: &'d [Device]) -> Self {
        let ids = devices.iter().map(|device| (device.device_id, device)).collect();
        let mut index = Self { ids, macs: HashMap::new(), ips: HashMap::new(), serials: HashMap::new() };
        for device in devices.iter().filter(|device| device.merged_into.is_none()) {
            for mac in &device.macs {
                index.macs.entry(*mac).or_default().push(device);
            }
            for ip in &device.ips {
                index.ips.entry(*ip).or_default().push(device);
            }
            if let Some(serial) = device.value(Attribute::Serial) {
                index.serials.entry(serial).or_default().push(device);
            }
        }
        index
    }

    /// The device that a row is about, and whether its serial number told so.
    fn find(&self, cells: &[(Column, &str)]) -> Result<Option<(&'d Device, bool)>, String> {
        let cell = |wanted: Column| cells.iter().find(|(column, _)| *column == wanted).map(|(_, cell)| *cell);
        if let Some(text) = cell(Column::DeviceId) {
            let device_id = text.parse().map_err(|why| format!("device_id `{}`: {why}", short(text)))?;
            if let Some(device) = self.whole(device_id) {
                return Ok(Some((device, false)));
            }
        }
        if let Some(text) = cell(Column::Mac) {
            let mac = mac(text).ok_or_else(|| format!("mac `{}` is not six pairs of digits between colons", short(text)))?;
            if let Some(device) = only(self.macs.get(&mac), "mac", text)? {
                return Ok(Some((device, false)));
            }
        }
        if let Some(text) = cell(Column::Value(Attribute::Serial))
            && let Some(device) = only(self.serials.get(text), "serial", text)?
        {
            return Ok(Some((device, true)));
        }
        if let Some(text) = cell(Column::Ip) {
            let ip: IpAddr = text.parse().map_err(|_| format!("ip `{}` is not an address", short(text)))?;
            return Ok(only(self.ips.get(&ip), "ip", text)?.map(|device| (device, false)));
        }
        Ok(None)
    }

    /// The device of that number, or what it was merged into.
    fn whole(&self, device_id: DeviceId) -> Option<&'d Device> {
        let mut device = *self.ids.get(&device_id)?;
        for _ in 0..16 {
            match device.merged_into {
                Some(into) => device = self.ids.get(&into)?,
                None => return Some(device),
            }
        }
        None
    }
}

fn only<'d>(found: Option<&Vec<&'d Device>>, what: &str, text: &str) -> Result<Option<&'d Device>, String> {
    match found.map(Vec::as_slice) {
        None | Some([]) => Ok(None),
        Some([device]) => Ok(Some(device)),
        Some([a, b, ..]) => {
            Err(format!("{what} `{}` is ambiguous: {} and {} have it; give the device_id", short(text), a.device_id, b.device_id))
        }
    }
}

impl Inventory {
    /// Imports a table in one transaction; a rehearsal reports what it would do. While an engine runs, it must do this itself,
    /// with [`plan`] and [`Overrides::set`].
    ///
    /// # Errors
    /// The file is damaged or the disk refuses. What is wrong with the table is in the report.
    pub fn import(&mut self, table: &[u8], by: &str, at: UnixNanos, rehearsal: bool) -> Result<Report, InventoryError> {
        let mut stored: BTreeMap<DeviceId, (Device, Overrides)> = BTreeMap::new();
        self.load(|of| {
            stored.insert(of.device.device_id, (of.device, of.overrides));
        })?;
        let devices: Vec<_> = stored.values().map(|(device, _)| device.clone()).collect();
        let Plan { rows, unmatched, errors } = plan(table, &devices);
        let mut report_of = Report { unmatched, errors, ..Report::default() };
        let (mut devices, mut overrides, mut changes) = (Vec::new(), Vec::new(), Vec::new());
        for (line, device_id, settings) in rows {
            let Some((mut device, mut set)) = stored.remove(&device_id) else { continue };
            let before = changes.len();
            for setting in settings {
                match set.set(&mut device, &setting, by, at) {
                    Ok(more) => changes.extend(more),
                    Err(error) => report(&mut report_of.errors, line, &error.to_string()),
                }
            }
            report_of.applied.push(Applied { line, device_id, changes: changes.len() - before });
            devices.push(device);
            overrides.push((device_id, set));
        }
        if report_of.errors.is_empty() && !rehearsal {
            self.write(&Batch { devices: &devices, overrides: &overrides, changes: &changes, ..Batch::default() })?;
            report_of.written = true;
        }
        Ok(report_of)
    }
}

#[cfg(test)]
#[path = "import_tests.rs"]
mod tests;
