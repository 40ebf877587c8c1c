//! Python's `random` module, draw for draw.

use std::f64::consts::TAU;

use super::Mt19937;
use crate::error::{MediaError, Result};

/// Python's random stream.
#[derive(Clone, Debug, PartialEq)]
pub struct PythonRng {
    engine: Mt19937,
    cached_gauss: Option<f64>,
}

impl PythonRng {
    /// `random.seed(seed)` with an integer below 2^64.
    pub fn new(seed: u64) -> Self {
        let (low, high) = (seed as u32, (seed >> 32) as u32);
        if high == 0 { Self::from_key(&[low]) } else { Self::from_key(&[low, high]) }
    }

    /// `random.seed(seed)` with an integer of any size in decimal; the sign does not count.
    ///
    /// # Errors
    /// `AVJ_RANDOM` if it is not a decimal integer.
    pub fn from_decimal(seed: &str) -> Result<Self> {
        let digits = seed.strip_prefix(['-', '+']).unwrap_or(seed);
        if digits.is_empty() || !digits.bytes().all(|b| b.is_ascii_digit()) {
            return Err(MediaError::new("AVJ_RANDOM", format!("{seed:?} is not a decimal integer")));
        }
        let mut key: Vec<u32> = Vec::new();
        for digit in digits.bytes() {
            let mut carry = u64::from(digit - b'0');
            for word in &mut key {
                carry += u64::from(*word) * 10;
                *word = carry as u32;
                carry >>= 32;
            }
            if carry > 0 {
                key.push(carry as u32);
            }
        }
        Ok(Self::from_key(&key))
    }

    fn from_key(key: &[u32]) -> Self {
        Self { engine: Mt19937::from_key(key), cached_gauss: None }
    }

    /// `random()`: 53 bits in [0, 1).
    pub fn random(&mut self) -> f64 {
        self.engine.next_f64()
    }

    /// `uniform(a, b)`.
    pub fn uniform(&mut self, a: f64, b: f64) -> f64 {
        a + (b - a) * self.random()
    }

    /// `getrandbits(k)`, k in 1..=64.
    ///
    /// # Panics
    /// If k is 0 or above 64.
    pub fn getrandbits(&mut self, k: u32) -> u64 {
        assert!((1..=64).contains(&k), "getrandbits({k})");
        if k <= 32 {
            return u64::from(self.engine.next_u32() >> (32 - k));
        }
        let low = u64::from(self.engine.next_u32());
        let high = u64::from(self.engine.next_u32() >> (64 - k));
        high << 32 | low
    }

    /// `randrange(n)`, and so `choice` of n things; draws even if n is 1.
    ///
    /// # Panics
    /// If n is 0.
    pub fn below(&mut self, n: u64) -> u64 {
        assert!(n > 0, "a choice from nothing");
        let bits = u64::BITS - n.leading_zeros();
        loop {
            let value = self.getrandbits(bits);
            if value < n {
                return value;
            }
        }
    }

    /// `randint(a, b)`, both ends included.
    ///
    /// # Panics
    /// If `b < a`.
    pub fn randint(&mut self, a: i64, b: i64) -> i64 {
        assert!(a <= b, "randint({a}, {b})");
        a.wrapping_add(self.below(b.wrapping_sub(a) as u64 + 1) as i64)
    }

    /// `shuffle(values)`, in place.
    pub fn shuffle<T>(&mut self, values: &mut [T]) {
        for i in (1..values.len()).rev() {
            let j = self.below(i as u64 + 1) as usize;
            values.swap(i, j);
        }
    }

    /// `gauss(mu, sigma)`: Box and Muller; the second value of a pair is kept for the next call.
    pub fn gauss(&mut self, mu: f64, sigma: f64) -> f64 {
        let z = self.cached_gauss.take().unwrap_or_else(|| {
            let angle = self.random() * TAU;
            let radius = (-2.0 * (1.0 - self.random()).ln()).sqrt();
            self.cached_gauss = Some(angle.sin() * radius);
            angle.cos() * radius
        });
        mu + z * sigma
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn decimal_and_binary_seeds_agree() {
        for seed in [0, 1, 234, 4_294_967_295, 4_294_967_296, 1_099_511_627_777, u64::MAX] {
            assert_eq!(PythonRng::new(seed), PythonRng::from_decimal(&seed.to_string()).unwrap());
        }
        assert_eq!(PythonRng::new(5), PythonRng::from_decimal("-0005").unwrap());
        assert!(PythonRng::from_decimal("1e3").is_err());
        assert!(PythonRng::from_decimal("").is_err());
    }

    #[test]
    fn a_seed_beyond_64_bits() {
        // CPython: random.seed(2**70 + 3); random.random()
        let mut rng = PythonRng::from_decimal("1180591620717411303427").unwrap();
        assert_eq!(rng.random(), 0.16339507200642456);
    }
}
