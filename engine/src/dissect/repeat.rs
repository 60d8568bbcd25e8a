//! What was said a moment ago is not said again: a device repeats itself far more often than it changes.

use std::hash::{BuildHasher, BuildHasherDefault, DefaultHasher};

use crate::observation::{Field, Observation, Value};

/// Places for what was said.
const PLACES: usize = 1 << 15;
/// How long something said is not said again (ns).
const QUIET_NANOS: u64 = 30_000_000_000;

/// Direct-mapped memory of what was said. A place that another one takes costs a repetition, never a loss.
pub struct Repeats {
    said: Box<[(u64, u64)]>,
    /// Of one key, so that the same samples say the same: whoever makes two collide makes a repetition.
    hash: BuildHasherDefault<DefaultHasher>,
}

impl Default for Repeats {
    fn default() -> Self {
        Self { said: vec![(0, 0); PLACES].into_boxed_slice(), hash: BuildHasherDefault::default() }
    }
}

impl Repeats {
    /// Leaves out of `out`, from `from` on, what was said less than [`QUIET_NANOS`] ago. What is counted is never left out.
    pub fn leave_out(&mut self, out: &mut Vec<Observation>, from: usize) {
        let mut at = from;
        while at < out.len() {
            if self.is_new(&out[at]) {
                at += 1;
            } else {
                out.remove(at);
            }
        }
    }

    fn is_new(&mut self, observation: &Observation) -> bool {
        // Whose an address is may change to and fro.
        let is_state = observation.subject.own_mac && observation.subject.ip.is_some();
        if is_state
            || matches!(observation.value, Value::Hash(_))
            || matches!(observation.field, Field::DicomCommand | Field::Hl7Message)
        {
            return true;
        }
        let Observation { at, subject, field, value, .. } = observation;
        let key = self.hash.hash_one((subject.mac, subject.ip, field, value)) | 1;
        let place = &mut self.said[key as usize / 2 % PLACES];
        // An earlier time comes with a new capture, or a clock that was set back.
        let is_repeat = place.0 == key && at.abs_diff(place.1) < QUIET_NANOS;
        if !is_repeat {
            *place = (key, *at);
        }
        !is_repeat
    }
}
