//! One tap while it is captured from: its interface goes and comes back.

use std::sync::Mutex;

use super::{
    LiveError, NicCounters, TapSettings,
    attach::{self, Attached, Hook},
    pin::TapPins,
    sweep::held,
    tap::Tap,
};

/// One tap and what is attached to it.
#[derive(Debug)]
pub(super) struct Tapped {
    /// `None`: the interface is gone.
    pub(super) attached: Option<Attached>,
    /// The newest.
    pub(super) hook: Hook,
    pub(super) tap: Tap,
    pub(super) settings: TapSettings,
    pub(super) pins: Option<TapPins>,
    /// Why an interface that is back is not metered.
    pub(super) refused: Option<String>,
    /// Of interfaces of this name that are gone.
    pub(super) counted_before: NicCounters,
    /// Of the interface, when it was last there.
    pub(super) counted: NicCounters,
}

impl Tapped {
    pub(super) fn counters(&self) -> Option<NicCounters> {
        self.tap.counters().map(|now| now.plus(&self.counted_before))
    }

    /// Notices that the interface is gone, or back; says so.
    pub(super) fn tend(&mut self, object: &Mutex<aya::Ebpf>) -> Option<String> {
        let name = self.settings.name.clone();
        if self.attached.is_some() {
            self.counted = self.counters().unwrap_or(self.counted);
            if self.tap.is_present() {
                return None;
            }
            self.attached = None;
            self.refused = None;
            self.tap.forget();
            return Some(format!("interface {name} is gone: nothing is metered there until one of that name is back"));
        }
        let tap = match Tap::open(&self.settings) {
            Ok(tap) => tap,
            Err(LiveError::NoInterface { .. }) => return None,
            Err(error) => return self.refuse(&error),
        };
        match attach::attach(&mut held(object), &tap, self.settings.hook, self.pins.as_ref()) {
            Ok(attached) => {
                let said = format!("interface {name} is back, metered by {}", attached.hook);
                (self.hook, self.attached, self.tap, self.counted_before) = (attached.hook, Some(attached), tap, self.counted);
                Some(said)
            }
            Err(error) => self.refuse(&error),
        }
    }

    /// Says why, once.
    fn refuse(&mut self, error: &LiveError) -> Option<String> {
        let why = Some(error.to_string());
        if self.refused == why {
            return None;
        }
        self.refused.clone_from(&why);
        why
    }
}
