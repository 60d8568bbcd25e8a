//! A network interface to a tap: it hears everything, joins no frames, and (when dedicated) says nothing (PASSIVE-1). What is changed is
//! restored when the [`Tap`] is dropped. After a kill, promiscuity ends by itself; the other settings stay changed.

use std::{
    fs::File,
    io::{self, Read as _, Seek as _, Write as _},
    os::fd::OwnedFd,
};

use super::{
    error::LiveError,
    host,
    netdev::{NetDevice, NicCounters},
    offload::{self, SwitchedOff},
};

const UP: i16 = libc::IFF_UP as i16;
const NO_ARP: i16 = libc::IFF_NOARP as i16;

/// How an interface is tapped.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TapSettings {
    /// Interface name.
    pub name: String,
    /// Hook to use.
    pub hook: super::HookChoice,
    /// The port serves the tap alone: its frames end at the tap, IPv6 and ARP are switched off and it never transmits.
    pub dedicated: bool,
    /// Hear frames for other stations.
    pub promiscuous: bool,
    /// Leave offloads as they are.
    pub keep_offloads: bool,
}

impl TapSettings {
    /// A dedicated, promiscuous tap at the best hook.
    pub fn dedicated(name: &str) -> Self {
        Self { name: name.to_owned(), hook: super::HookChoice::Auto, dedicated: true, promiscuous: true, keep_offloads: false }
    }
}

/// An interface in the state of a tap.
#[derive(Debug)]
pub(super) struct Tap {
    device: NetDevice,
    flags_before: i16,
    flags_changed: i16,
    ipv6: Option<Sysctl>,
    offloads: Option<SwitchedOff>,
    promiscuity: Option<OwnedFd>,
    mtu: u32,
    start: NicCounters,
    warnings: Vec<String>,
}

impl Tap {
    /// Finds the interface and makes it a tap. Quiet first, then up.
    pub(super) fn open(settings: &TapSettings) -> Result<Self, LiveError> {
        let refuse = |action: &'static str| move |source| interface_error(&settings.name, action, source);
        let device = NetDevice::open(&settings.name).map_err(refuse("open sockets"))?;
        let device = device
            .ok_or_else(|| LiveError::NoInterface { name: settings.name.clone(), present: host::interfaces().join(", ") })?;
        let (mtu, flags_before) = (device.mtu().map_err(refuse("read the mtu"))?, device.flags().map_err(refuse("read flags"))?);
        let mut tap = Self {
            device,
            flags_before,
            flags_changed: 0,
            ipv6: None,
            offloads: None,
            promiscuity: None,
            mtu,
            start: NicCounters::default(),
            warnings: Vec::new(),
        };
        if settings.dedicated {
            tap.silence().map_err(refuse("switch IPv6 off"))?;
        }
        if !settings.keep_offloads {
            tap.switch_offloads_off();
        }
        let wanted = if settings.dedicated { UP | NO_ARP } else { UP };
        tap.flags_changed = wanted & !flags_before;
        tap.device.change_flags(wanted, wanted).map_err(refuse("bring it up"))?;
        if settings.promiscuous {
            tap.promiscuity = Some(tap.device.promiscuous().map_err(refuse("make it promiscuous"))?);
        }
        tap.start = tap.device.counters().map_err(refuse("read counters"))?;
        Ok(tap)
    }

    pub(super) fn name(&self) -> &str {
        self.device.name()
    }

    pub(super) fn index(&self) -> u32 {
        self.device.index()
    }

    pub(super) fn mtu(&self) -> u32 {
        self.mtu
    }

    /// Whether the interface is there.
    pub(super) fn is_present(&self) -> bool {
        self.device.is_present()
    }

    /// The interface is gone, and its settings with it: another one of its name is not to be given them.
    pub(super) fn forget(&mut self) {
        (self.flags_changed, self.ipv6, self.offloads) = (0, None, None);
    }

    /// What could not be had.
    pub(super) fn warnings(&self) -> &[String] {
        &self.warnings
    }

    /// The interface's counters since it became a tap; `None` when it is gone.
    pub(super) fn counters(&self) -> Option<NicCounters> {
        self.device.counters().ok().map(|now| now.since(&self.start))
    }

    fn silence(&mut self) -> io::Result<()> {
        self.ipv6 = Sysctl::set(&format!("/proc/sys/net/ipv6/conf/{}/disable_ipv6", self.device.name()), "1")?;
        if self.device.has_ipv4() {
            let name = self.device.name();
            self.warnings.push(format!("dedicated tap {name} has an IPv4 address; remove it, so that it can never answer"));
        }
        Ok(())
    }

    fn switch_offloads_off(&mut self) {
        let name = self.device.name();
        match offload::switch_off(&self.device) {
            Ok(switched) => {
                if !switched.fixed.is_empty() {
                    let fixed = switched.fixed.join(", ");
                    self.warnings.push(format!(
                        "offloads {fixed} of {name} cannot be switched off; frames may be joined or lack their VLAN tag"
                    ));
                }
                self.offloads = Some(switched);
            }
            Err(error) => self.warnings.push(format!("offloads of {name} are unknown: {error}; frames may be joined")),
        }
    }

    /// Names of the offloads that were switched off.
    pub(super) fn switched_off(&self) -> &[String] {
        self.offloads.as_ref().map_or(&[], |switched| &switched.names)
    }
}

impl Drop for Tap {
    /// The other way round: down or as loud as before only after the rest is restored. Failures cannot be acted on here.
    fn drop(&mut self) {
        self.promiscuity = None;
        if self.flags_changed != 0 {
            let _ = self.device.change_flags(self.flags_changed, self.flags_before);
        }
        if let Some(offloads) = &self.offloads {
            let _ = offloads.restore(&self.device);
        }
        if let Some(ipv6) = &mut self.ipv6 {
            let _ = ipv6.restore();
        }
    }
}

fn interface_error(name: &str, action: &'static str, source: io::Error) -> LiveError {
    LiveError::Interface { name: name.to_owned(), action, source }
}

/// A changed kernel setting. The open file keeps to the namespace of the thread that opened it.
#[derive(Debug)]
struct Sysctl {
    file: File,
    before: String,
}

impl Sysctl {
    /// Writes `value`; `None` when the setting does not exist or has that value.
    fn set(path: &str, value: &str) -> io::Result<Option<Self>> {
        let mut file = match File::options().read(true).write(true).open(path) {
            Ok(file) => file,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(error),
        };
        let mut before = String::new();
        file.read_to_string(&mut before)?;
        if before.trim() == value {
            return Ok(None);
        }
        let mut sysctl = Self { file, before };
        sysctl.write(value)?;
        Ok(Some(sysctl))
    }

    fn restore(&mut self) -> io::Result<()> {
        let before = std::mem::take(&mut self.before);
        self.write(before.trim())
    }

    fn write(&mut self, value: &str) -> io::Result<()> {
        self.file.rewind()?;
        self.file.write_all(value.as_bytes())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_missing_interface_is_named_with_those_that_exist() {
        let error = Tap::open(&TapSettings::dedicated("no-such-tap")).expect_err("there is none");
        let message = error.to_string();
        assert!(message.starts_with("interface no-such-tap does not exist; interfaces here: "), "{message}");
        assert!(message.contains("lo"), "{message}");
    }
}
