//! What the benches share: seeded workloads, measures, and kernel objects loaded for `BPF_PROG_TEST_RUN`.

pub mod capture;
pub mod flow;
pub mod hospital;
pub mod kernel;
pub mod measure;
pub mod peer;
mod shift;

/// A small, seeded generator of numbers (splitmix64): the same everywhere and for ever.
#[derive(Clone, Debug)]
pub struct Dice(u64);

impl Dice {
    /// From a seed.
    pub const fn new(seed: u64) -> Self {
        Self(seed)
    }

    /// The next number.
    pub fn roll(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    /// A number below `end`.
    pub fn below(&mut self, end: u64) -> u64 {
        ((u128::from(self.roll()) * u128::from(end)) >> 64) as u64
    }

    /// True `percent` times of a hundred.
    pub fn chance(&mut self, percent: u64) -> bool {
        self.below(100) < percent
    }

    /// One of `choices`.
    pub fn pick<T: Copy>(&mut self, choices: &[T]) -> T {
        choices[self.below(choices.len() as u64) as usize]
    }

    /// A positive number around `mean` with a long tail (exponential).
    pub fn around(&mut self, mean: f64) -> f64 {
        let unit = (self.roll() >> 11) as f64 / (1u64 << 53) as f64;
        -(1.0 - unit).ln() * mean
    }
}
