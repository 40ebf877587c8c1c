//! The random numbers of one sample, addressed rather than streamed.

use std::f64::consts::TAU;

use super::philox4x32_10;

/// What the numbers are for. Each purpose has a stream of its own, so that, say, one more draw for a crop does not
/// change the masks.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Purpose {
    /// Which frames make the clips.
    Clip,
    /// Crop, flip, erasing and RandAugment of clip `clip`.
    Transform {
        clip: u16,
    },
    /// The masks of generator `generator` for clip `clip`.
    Mask {
        generator: u8,
        clip: u16,
    },
    /// Which sample stands in for one that cannot be read; the pass's order.
    Replacement,
    Order,
    /// A choice between data sets.
    Mixture,
    /// For anything else, numbered by its user.
    Other(u16),
}

impl Purpose {
    fn code(self) -> u32 {
        match self {
            Self::Clip => 1 << 24,
            Self::Transform { clip } => 2 << 24 | u32::from(clip),
            Self::Mask { generator, clip } => 3 << 24 | u32::from(generator) << 16 | u32::from(clip),
            Self::Replacement => 4 << 24,
            Self::Order => 5 << 24,
            Self::Mixture => 6 << 24,
            Self::Other(n) => 255 << 24 | u32::from(n),
        }
    }
}

/// A random stream that is a pure function of (seed, pass, sample index, purpose).
///
/// One Philox block with `seed` as key and (`index`, `pass`) as counter gives the stream's own key and the upper half of
/// its counter; word n of the stream comes from block n/4 under that key, with the purpose in the counter too.
#[derive(Clone, Debug)]
pub struct SampleRng {
    key: [u32; 2],
    counter: [u32; 4],
    block: [u32; 4],
    used: usize,
    cached_normal: Option<f64>,
}

impl SampleRng {
    /// The stream of sample `index` in traversal `pass` of the data, for `purpose`.
    pub fn new(seed: u64, pass: u64, index: u64, purpose: Purpose) -> Self {
        let halves = |x: u64| [x as u32, (x >> 32) as u32];
        let ([i0, i1], [p0, p1]) = (halves(index), halves(pass));
        let [k0, k1, c2, c3] = philox4x32_10([i0, i1, p0, p1], halves(seed));
        Self { key: [k0, k1], counter: [0, purpose.code(), c2, c3], block: [0; 4], used: 4, cached_normal: None }
    }

    /// The next 32 random bits. A stream repeats after 2^34 words.
    pub fn next_u32(&mut self) -> u32 {
        if self.used == 4 {
            self.block = philox4x32_10(self.counter, self.key);
            self.counter[0] = self.counter[0].wrapping_add(1);
            self.used = 0;
        }
        self.used += 1;
        self.block[self.used - 1]
    }

    /// The next 64 random bits.
    pub fn next_u64(&mut self) -> u64 {
        let high = u64::from(self.next_u32());
        high << 32 | u64::from(self.next_u32())
    }

    /// Uniform in [0, 1), 53 bits.
    pub fn random(&mut self) -> f64 {
        (self.next_u64() >> 11) as f64 * (1.0 / 9_007_199_254_740_992.0)
    }

    /// Uniform in [low, high).
    pub fn uniform(&mut self, low: f64, high: f64) -> f64 {
        low + (high - low) * self.random()
    }

    /// Uniform in 0..n, without bias: Lemire, "Fast random integer generation in an interval", 2019.
    ///
    /// # Panics
    /// If n is 0.
    pub fn below(&mut self, n: u64) -> u64 {
        assert!(n > 0, "a choice from nothing");
        let reject_below = n.wrapping_neg() % n;
        loop {
            let product = u128::from(self.next_u64()) * u128::from(n);
            if product as u64 >= reject_below {
                return (product >> 64) as u64;
            }
        }
    }

    /// Uniform in 0..n.
    ///
    /// # Panics
    /// If n is 0.
    pub fn index(&mut self, n: usize) -> usize {
        self.below(n as u64) as usize
    }

    /// Uniform in low..=high.
    ///
    /// # Panics
    /// If `high < low`.
    pub fn randint(&mut self, low: i64, high: i64) -> i64 {
        assert!(low <= high, "randint({low}, {high})");
        low + self.below((high - low) as u64 + 1) as i64
    }

    /// N(0, 1) by Box and Muller.
    pub fn normal(&mut self) -> f64 {
        self.cached_normal.take().unwrap_or_else(|| {
            let radius = (-2.0 * (1.0 - self.random()).ln()).sqrt();
            let angle = TAU * self.random();
            self.cached_normal = Some(radius * angle.sin());
            radius * angle.cos()
        })
    }

    /// A uniformly random order, in place: Fisher and Yates.
    pub fn shuffle<T>(&mut self, values: &mut [T]) {
        for i in (1..values.len()).rev() {
            values.swap(i, self.index(i + 1));
        }
    }

    /// `count` of the values, each subset equally likely, in their old order. All of them if there are no more.
    pub fn subset<T: Copy + Ord>(&mut self, values: &mut Vec<T>, count: usize) {
        if values.len() > count {
            for i in 0..count {
                let j = i + self.index(values.len() - i);
                values.swap(i, j);
            }
            values.truncate(count);
            values.sort_unstable();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_stream_is_a_function_of_its_address() {
        let words = |seed, pass, index, purpose| {
            let mut rng = SampleRng::new(seed, pass, index, purpose);
            [rng.next_u64(), rng.next_u64(), rng.next_u64()]
        };
        let base = words(1, 2, 3, Purpose::Clip);
        assert_eq!(base, words(1, 2, 3, Purpose::Clip));
        let others = [
            words(2, 2, 3, Purpose::Clip),
            words(1, 3, 3, Purpose::Clip),
            words(1, 2, 4, Purpose::Clip),
            words(1, 2, 3, Purpose::Transform { clip: 0 }),
            words(1, 2, 3, Purpose::Mask { generator: 0, clip: 0 }),
            words(1, 2, 3, Purpose::Mask { generator: 1, clip: 0 }),
            words(1 << 32 | 1, 2, 3, Purpose::Clip),
        ];
        for (i, other) in others.iter().enumerate() {
            assert_ne!(&base, other, "case {i}");
            assert!(!others[..i].contains(other), "case {i}");
        }
    }

    #[test]
    fn moments_are_right() {
        let mut rng = SampleRng::new(0, 0, 0, Purpose::Other(0));
        let n = 100_000;
        let (mut mean, mut normal_mean, mut normal_square) = (0.0, 0.0, 0.0);
        let mut counts = [0_u32; 7];
        for _ in 0..n {
            mean += rng.random() / f64::from(n);
            let z = rng.normal();
            normal_mean += z / f64::from(n);
            normal_square += z * z / f64::from(n);
            counts[rng.index(7)] += 1;
        }
        assert!((mean - 0.5).abs() < 0.005, "{mean}");
        assert!(normal_mean.abs() < 0.015 && (normal_square - 1.0).abs() < 0.03, "{normal_mean} {normal_square}");
        // Each count is binomial with standard deviation 111.
        assert!(counts.iter().all(|&c| (f64::from(c) - f64::from(n) / 7.0).abs() < 600.0), "{counts:?}");
    }

    #[test]
    fn subset_is_ascending_and_of_the_right_size() {
        let mut rng = SampleRng::new(9, 0, 0, Purpose::Other(1));
        let mut values: Vec<i32> = (0..50).collect();
        rng.subset(&mut values, 7);
        assert_eq!(values.len(), 7);
        assert!(values.is_sorted());
        rng.subset(&mut values, 100);
        assert_eq!(values.len(), 7);
    }
}
