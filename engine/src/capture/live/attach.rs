//! A loaded object to a program on an interface: which hook, and why not a better one.

use std::fmt;

use aya::{
    Ebpf,
    programs::{
        LinkOrder, ProgramError, SchedClassifier, TcAttachType, XdpMode, tc::SchedClassifierLink, tc::TcAttachOptions,
        xdp::XdpLink,
    },
};

use super::{error::LiveError, object, tap::Tap};

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

/// An attached program; dropping it detaches.
#[derive(Debug)]
pub(super) struct Attached {
    pub(super) hook: Hook,
    pub(super) refused: Vec<Refused>,
    _link: Link,
}

#[derive(Debug)]
#[expect(dead_code, reason = "held for what dropping them does")]
enum Link {
    Xdp(XdpLink),
    Tcx(SchedClassifierLink),
}

/// Attaches at the first hook of the choice that takes a program.
pub(super) fn attach(ebpf: &mut Ebpf, tap: &Tap, choice: HookChoice) -> Result<Attached, LiveError> {
    let mut refused = Vec::new();
    for &hook in candidates(choice, tap.mtu()) {
        match attach_at(ebpf, tap, hook) {
            Ok(link) => return Ok(Attached { hook, refused, _link: link }),
            Err(reason) => refused.push(Refused { hook, reason }),
        }
    }
    let reasons = refused.iter().map(Refused::to_string).collect::<Vec<_>>().join("; ");
    Err(LiveError::NoHook { name: tap.name().to_owned(), reasons })
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

fn attach_at(ebpf: &mut Ebpf, tap: &Tap, hook: Hook) -> Result<Link, String> {
    match hook {
        Hook::Native => attach_xdp(ebpf, tap.index(), "tap_xdp", XdpMode::Driver),
        Hook::NativeFrags => attach_xdp(ebpf, tap.index(), "tap_xdp_frags", XdpMode::Driver),
        Hook::Generic => attach_xdp(ebpf, tap.index(), "tap_xdp", XdpMode::Skb),
        Hook::Tcx => attach_tcx(ebpf, tap.name()),
    }
}

fn attach_xdp(ebpf: &mut Ebpf, interface: u32, name: &str, mode: XdpMode) -> Result<Link, String> {
    let text = |error: ProgramError| object::one_line(&error);
    let program = object::xdp(ebpf, name)?;
    if program.fd().is_err() {
        program.load().map_err(text)?;
    }
    let link = program.attach_to_if_index(interface, mode).map_err(text)?;
    program.take_link(link).map(Link::Xdp).map_err(text)
}

fn attach_tcx(ebpf: &mut Ebpf, interface: &str) -> Result<Link, String> {
    let text = |error: ProgramError| object::one_line(&error);
    let program = ebpf.program_mut("tap_tcx").ok_or("the object has no program tap_tcx")?;
    let program: &mut SchedClassifier = program.try_into().map_err(text)?;
    program.load().map_err(text)?;
    let first = TcAttachOptions::TcxOrder(LinkOrder::first());
    let link = program.attach_with_options(interface, TcAttachType::Ingress, first).map_err(text)?;
    program.take_link(link).map(Link::Tcx).map_err(text)
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
