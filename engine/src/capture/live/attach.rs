//! A loaded object to a program on an interface: which hook, and why not a better one.

use std::{
    fmt, fs,
    os::fd::{AsFd as _, OwnedFd},
    path::{Path, PathBuf},
};

use aya::{
    Ebpf,
    programs::{ProgramError, SchedClassifier, XdpMode, xdp::XdpLink},
};

use super::{
    error::LiveError,
    link::{self, Place},
    object,
    pin::{self, TapPins},
    tap::Tap,
};

/// Largest MTU whose frames fit the one page that single-buffer XDP has: a page less headroom, link header and the kernel's
/// trailer. Only decides what is tried first.
const MTU_SINGLE_BUFFER: u32 = 3498;

/// What the configuration asks for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum HookChoice {
    /// Native XDP, else generic XDP, else TCX.
    #[default]
    Auto,
    /// Native XDP (in the driver), or fail.
    Native,
    /// Generic XDP (in the stack), or fail.
    Generic,
    /// TCX ingress, or fail.
    Tcx,
}

/// Where the tap program sits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Hook {
    /// Native XDP, one buffer a frame.
    Native,
    /// Native XDP, several buffers a frame.
    NativeFrags,
    /// Generic XDP.
    Generic,
    /// TCX ingress.
    Tcx,
}

impl Hook {
    /// The hook's name in reports and metrics.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Native => "xdp_native",
            Self::NativeFrags => "xdp_native_frags",
            Self::Generic => "xdp_generic",
            Self::Tcx => "tcx",
        }
    }
}

impl fmt::Display for Hook {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(self.name())
    }
}

/// A hook that was tried first, and why it was not to be had.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Refused {
    /// The hook.
    pub hook: Hook,
    /// One line.
    pub reason: String,
}

impl fmt::Display for Refused {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{}: {}", self.hook, self.reason)
    }
}

/// An attached program; dropping it detaches, unless the process dies first.
#[derive(Debug)]
pub(super) struct Attached {
    pub(super) hook: Hook,
    pub(super) refused: Vec<Refused>,
    /// An engine before this one had attached it: no frame went by unmetered.
    pub(super) adopted: bool,
    /// Why it will not outlive this process, when it should.
    pub(super) unpinned: Option<String>,
    _link: Link,
}

#[derive(Debug)]
enum Link {
    Plain(OwnedFd),
    Pinned(OwnedFd, PathBuf),
    /// Attached by netlink, which no pin can hold: a killed engine leaves it attached.
    Netlink(#[expect(dead_code, reason = "held for what dropping it does")] XdpLink),
}

impl Drop for Link {
    fn drop(&mut self) {
        if let Self::Pinned(link, path) = self {
            // An interface that is gone has detached it.
            let _ = link::detach(link.as_fd());
            let _ = fs::remove_file(path);
        }
    }
}

/// Attaches at the first hook of the choice that takes a program, or takes over the link that an earlier engine has pinned there.
pub(super) fn attach(ebpf: &mut Ebpf, tap: &Tap, choice: HookChoice, pins: Option<&TapPins>) -> Result<Attached, LiveError> {
    let candidates = candidates(choice, tap.mtu());
    if let Some(pins) = pins {
        if let Some(attached) = take_over(ebpf, tap, candidates, pins) {
            return Ok(attached);
        }
        pins.detach();
    }
    // The next hook may be behind that one, where no frame comes.
    if let Some(taken) = pin::metered_by(tap.index(), pins) {
        return Err(LiveError::Taken { name: tap.name().to_owned(), pins: taken.display().to_string() });
    }
    let mut refused = Vec::new();
    for &hook in candidates {
        match attach_at(ebpf, tap, hook) {
            Ok(link) => {
                let (link, unpinned) = match pins {
                    Some(pins) => pinned(link, &pins.link(hook.name())),
                    None => (link, None),
                };
                return Ok(Attached { hook, refused, adopted: false, unpinned, _link: link });
            }
            Err(reason) => refused.push(Refused { hook, reason }),
        }
    }
    let reasons = refused.iter().map(Refused::to_string).collect::<Vec<_>>().join("; ");
    Err(LiveError::NoHook { name: tap.name().to_owned(), reasons })
}

/// Puts this engine's program in the place of an earlier one's.
fn take_over(ebpf: &mut Ebpf, tap: &Tap, candidates: &[Hook], pins: &TapPins) -> Option<Attached> {
    let (name, path) = pins.links().into_iter().next().filter(|_| pins.native)?;
    let hook = *candidates.iter().find(|hook| hook.name() == name)?;
    let found = link::open(&path).ok()?;
    if link::interface(found.as_fd()).ok()? != Some(tap.index()) {
        return None;
    }
    let program = load(ebpf, hook).ok()?;
    link::update(found.as_fd(), program.as_fd()).ok()?;
    Some(Attached { hook, refused: Vec::new(), adopted: true, unpinned: None, _link: Link::Pinned(found, path) })
}

fn pinned(link: Link, path: &Path) -> (Link, Option<String>) {
    let Link::Plain(fd) = &link else {
        return (link, Some("its driver takes programs by netlink only".to_owned()));
    };
    // A clone, because a value with a `Drop` of its own cannot be taken apart.
    let pinned = link::pin(fd.as_fd(), path).and_then(|()| fd.try_clone());
    match pinned {
        Ok(fd) => (Link::Pinned(fd, path.to_owned()), None),
        Err(error) => (link, Some(format!("{} cannot be made: {error}", path.display()))),
    }
}

/// Hooks in the order in which they are tried.
fn candidates(choice: HookChoice, mtu: u32) -> &'static [Hook] {
    let jumbo = mtu > MTU_SINGLE_BUFFER;
    match choice {
        HookChoice::Auto if jumbo => &[Hook::NativeFrags, Hook::Native, Hook::Generic, Hook::Tcx],
        HookChoice::Auto => &[Hook::Native, Hook::NativeFrags, Hook::Generic, Hook::Tcx],
        HookChoice::Native if jumbo => &[Hook::NativeFrags, Hook::Native],
        HookChoice::Native => &[Hook::Native, Hook::NativeFrags],
        HookChoice::Generic => &[Hook::Generic],
        HookChoice::Tcx => &[Hook::Tcx],
    }
}

/// Loads the program of a hook, if it is not, and gives its descriptor.
fn load(ebpf: &mut Ebpf, hook: Hook) -> Result<OwnedFd, String> {
    let text = |error: ProgramError| object::one_line(&error);
    let loaded = match hook {
        Hook::Tcx => {
            let program = ebpf.program_mut("tap_tcx").ok_or("the object has no program tap_tcx")?;
            let program: &mut SchedClassifier = program.try_into().map_err(text)?;
            if program.fd().is_err() {
                program.load().map_err(text)?;
            }
            program.fd().map_err(text)?.as_fd().try_clone_to_owned()
        }
        _ => {
            let program = object::xdp(ebpf, program_of(hook))?;
            if program.fd().is_err() {
                program.load().map_err(text)?;
            }
            program.fd().map_err(text)?.as_fd().try_clone_to_owned()
        }
    };
    loaded.map_err(|error| error.to_string())
}

const fn program_of(hook: Hook) -> &'static str {
    match hook {
        Hook::NativeFrags => "tap_xdp_frags",
        Hook::Native | Hook::Generic => "tap_xdp",
        Hook::Tcx => "tap_tcx",
    }
}

fn attach_at(ebpf: &mut Ebpf, tap: &Tap, hook: Hook) -> Result<Link, String> {
    let program = load(ebpf, hook)?;
    let (place, mode) = match hook {
        Hook::Native | Hook::NativeFrags => (Place::XdpNative, Some(XdpMode::Driver)),
        Hook::Generic => (Place::XdpGeneric, Some(XdpMode::Skb)),
        Hook::Tcx => (Place::Tcx, None),
    };
    match (link::create(program.as_fd(), tap.index(), place), mode) {
        (Ok(link), _) => Ok(Link::Plain(link)),
        // Some drivers take no links: the library goes on to netlink.
        (Err(error), Some(mode)) if error.raw_os_error() == Some(libc::EINVAL) => {
            attach_xdp(ebpf, tap.index(), program_of(hook), mode)
        }
        (Err(error), _) => Err(error.to_string()),
    }
}

fn attach_xdp(ebpf: &mut Ebpf, interface: u32, name: &str, mode: XdpMode) -> Result<Link, String> {
    let text = |error: ProgramError| object::one_line(&error);
    let program = object::xdp(ebpf, name)?;
    let link = program.attach_to_if_index(interface, mode).map_err(text)?;
    program.take_link(link).map(Link::Netlink).map_err(text)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn jumbo_frames_try_several_buffers_first() {
        assert_eq!(candidates(HookChoice::Auto, 1500), [Hook::Native, Hook::NativeFrags, Hook::Generic, Hook::Tcx]);
        assert_eq!(candidates(HookChoice::Auto, 9000), [Hook::NativeFrags, Hook::Native, Hook::Generic, Hook::Tcx]);
        assert_eq!(candidates(HookChoice::Native, 3499)[0], Hook::NativeFrags);
        assert_eq!(candidates(HookChoice::Generic, 9000), [Hook::Generic]);
        assert_eq!(candidates(HookChoice::Tcx, 1500), [Hook::Tcx]);
    }
}
