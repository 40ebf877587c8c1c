//! numpy's legacy generator (`numpy.random.seed` and the functions of `numpy.random`), draw for draw.

use super::Mt19937;
use crate::error::{MediaError, Result};

/// numpy's legacy random stream.
#[derive(Clone, Debug, PartialEq)]
pub struct NumpyRng {
    engine: Mt19937,
    cached_normal: Option<f64>,
}

impl NumpyRng {
    /// `numpy.random.seed(seed)`.
    pub fn new(seed: u32) -> Self {
        Self { engine: Mt19937::from_seed(seed), cached_normal: None }
    }

    /// `numpy.random.seed(key)` with an array.
    pub fn from_key(key: &[u32]) -> Self {
        Self { engine: Mt19937::from_key(key), cached_normal: None }
    }

    /// `random_sample()`: 53 bits in [0, 1).
    pub fn random(&mut self) -> f64 {
        self.engine.next_f64()
    }

    /// `uniform(low, high)`.
    pub fn uniform(&mut self, low: f64, high: f64) -> f64 {
        low + (high - low) * self.random()
    }

    /// `randint(low, high)`; a range of one value draws nothing.
    ///
    /// # Panics
    /// If `high <= low`.
    pub fn randint(&mut self, low: i64, high: i64) -> i64 {
        assert!(low < high, "randint of an empty range [{low}, {high})");
        low.wrapping_add(self.interval((high.wrapping_sub(low) as u64) - 1) as i64)
    }

    /// `shuffle(values)`, in place.
    pub fn shuffle<T>(&mut self, values: &mut [T]) {
        for i in (1..values.len()).rev() {
            let j = self.interval(i as u64) as usize;
            values.swap(i, j);
        }
    }

    /// `permutation(n)`.
    pub fn permutation(&mut self, n: usize) -> Vec<i64> {
        let mut order: Vec<i64> = (0..n as i64).collect();
        self.shuffle(&mut order);
        order
    }

    /// `choice(n, size)`: with replacement, all equally likely.
    pub fn choice(&mut self, n: usize, size: usize) -> Vec<i64> {
        (0..size).map(|_| self.randint(0, n as i64)).collect()
    }

    /// `choice(len(p), size, replace=False, p=p)`.
    ///
    /// # Errors
    /// `AVJ_RANDOM` if a probability is negative or not finite, or fewer than `size` are above zero.
    pub fn choice_weighted_without_replacement(&mut self, p: &[f64], size: usize) -> Result<Vec<i64>> {
        if p.iter().any(|&x| !x.is_finite() || x < 0.0) {
            return Err(MediaError::new("AVJ_RANDOM", "probabilities must be finite and not negative"));
        }
        if p.iter().filter(|&&x| x > 0.0).count() < size {
            return Err(MediaError::new("AVJ_RANDOM", format!("fewer than {size} probabilities are above zero")));
        }
        let mut weights = p.to_vec();
        let mut found: Vec<i64> = Vec::with_capacity(size);
        while found.len() < size {
            let draws: Vec<f64> = (0..size - found.len()).map(|_| self.random()).collect();
            for &index in &found {
                weights[index as usize] = 0.0;
            }
            let mut cdf: Vec<f64> = Vec::with_capacity(weights.len());
            let mut sum = 0.0;
            cdf.extend(weights.iter().map(|w| {
                sum += w;
                sum
            }));
            let total = sum;
            cdf.iter_mut().for_each(|c| *c /= total);
            let before = found.len();
            for x in draws {
                let index = cdf.partition_point(|&c| c <= x) as i64;
                if !found[before..].contains(&index) {
                    found.push(index);
                }
            }
        }
        Ok(found)
    }

    /// `standard_normal()`: Marsaglia's polar method; the second value of a pair is kept for the next call.
    pub fn standard_normal(&mut self) -> f64 {
        if let Some(value) = self.cached_normal.take() {
            return value;
        }
        loop {
            let x1 = 2.0 * self.random() - 1.0;
            let x2 = 2.0 * self.random() - 1.0;
            let r2 = x1 * x1 + x2 * x2;
            if r2 < 1.0 && r2 != 0.0 {
                let f = (-2.0 * r2.ln() / r2).sqrt();
                self.cached_normal = Some(f * x1);
                return f * x2;
            }
        }
    }

    /// Uniform in 0..=max by masked rejection; draws nothing for 0.
    fn interval(&mut self, max: u64) -> u64 {
        if max == 0 {
            return 0;
        }
        let mask = u64::MAX >> max.leading_zeros();
        loop {
            let bits = if max <= u64::from(u32::MAX) {
                u64::from(self.engine.next_u32())
            } else {
                let high = u64::from(self.engine.next_u32());
                high << 32 | u64::from(self.engine.next_u32())
            };
            if bits & mask <= max {
                return bits & mask;
            }
        }
    }
}
