//! Mersenne Twister MT19937: Matsumoto and Nishimura, ACM TOMACS 8(1), 1998. The engine under torch's CPU generator,
//! numpy's legacy `RandomState` and Python's `random`; they differ in seeding and in how words become numbers.

use crate::error::{MediaError, Result};

const N: usize = 624;
const M: usize = 397;

/// The 19937-bit state and the position of the next word in it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Mt19937 {
    state: [u32; N],
    next: usize,
}

impl Mt19937 {
    /// `init_genrand` of the reference implementation.
    pub fn from_seed(seed: u32) -> Self {
        let mut state = [0; N];
        state[0] = seed;
        for i in 1..N {
            let previous = state[i - 1];
            state[i] = 1_812_433_253_u32.wrapping_mul(previous ^ (previous >> 30)).wrapping_add(i as u32);
        }
        Self { state, next: N }
    }

    /// `init_by_array` of the reference implementation. An empty key counts as `[0]`.
    pub fn from_key(key: &[u32]) -> Self {
        let key = if key.is_empty() { &[0][..] } else { key };
        let mut mt = Self::from_seed(19_650_218);
        let state = &mut mt.state;
        let (mut i, mut j) = (1, 0);
        for _ in 0..N.max(key.len()) {
            let mixed = (state[i - 1] ^ (state[i - 1] >> 30)).wrapping_mul(1_664_525);
            state[i] = (state[i] ^ mixed).wrapping_add(key[j]).wrapping_add(j as u32);
            i += 1;
            j = (j + 1) % key.len();
            if i == N {
                state[0] = state[N - 1];
                i = 1;
            }
        }
        for _ in 0..N - 1 {
            let mixed = (state[i - 1] ^ (state[i - 1] >> 30)).wrapping_mul(1_566_083_941);
            state[i] = (state[i] ^ mixed).wrapping_sub(i as u32);
            i += 1;
            if i == N {
                state[0] = state[N - 1];
                i = 1;
            }
        }
        state[0] = 0x8000_0000;
        mt
    }

    /// The next 32 random bits.
    pub fn next_u32(&mut self) -> u32 {
        if self.next == N {
            self.twist();
        }
        let mut y = self.state[self.next];
        self.next += 1;
        y ^= y >> 11;
        y ^= (y << 7) & 0x9d2c_5680;
        y ^= (y << 15) & 0xefc6_0000;
        y ^ (y >> 18)
    }

    /// A double in [0, 1) of 53 bits from two words, high word first: numpy's and Python's `random()`.
    pub fn next_f64(&mut self) -> f64 {
        let high = f64::from(self.next_u32() >> 5);
        let low = f64::from(self.next_u32() >> 6);
        (high * 67_108_864.0 + low) / 9_007_199_254_740_992.0
    }

    /// The 624 state words followed by the position: what a checkpoint keeps.
    pub fn to_words(&self) -> Vec<u32> {
        let mut words = self.state.to_vec();
        words.push(self.next as u32);
        words
    }

    /// Restores what [`Mt19937::to_words`] gave.
    ///
    /// # Errors
    /// `AVJ_RANDOM` unless there are 625 words and the position is at most 624.
    pub fn from_words(words: &[u32]) -> Result<Self> {
        let (Ok(state), Some(&next)) = (words[..words.len().min(N)].try_into(), words.get(N)) else {
            return Err(MediaError::new("AVJ_RANDOM", format!("a generator state has 625 words, not {}", words.len())));
        };
        if words.len() != N + 1 || next as usize > N {
            let message = format!("not a generator state: {} words, position {next}", words.len());
            return Err(MediaError::new("AVJ_RANDOM", message));
        }
        Ok(Self { state, next: next as usize })
    }

    fn twist(&mut self) {
        for i in 0..N {
            let y = (self.state[i] & 0x8000_0000) | (self.state[(i + 1) % N] & 0x7fff_ffff);
            let odd = if y & 1 == 1 { 0x9908_b0df } else { 0 };
            self.state[i] = self.state[(i + M) % N] ^ (y >> 1) ^ odd;
        }
        self.next = 0;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn published_outputs() {
        // mt19937ar.out of the authors: init_by_array {0x123, 0x234, 0x345, 0x456}.
        let mut mt = Mt19937::from_key(&[0x123, 0x234, 0x345, 0x456]);
        let first: Vec<u32> = (0..5).map(|_| mt.next_u32()).collect();
        assert_eq!(first, [1_067_595_299, 955_945_823, 477_289_528, 4_107_218_783, 4_228_976_476]);
        // C++ standard, [rand.predef]: the 10000th output of a default-constructed mt19937.
        let mut mt = Mt19937::from_seed(5489);
        assert_eq!((0..10_000).map(|_| mt.next_u32()).last(), Some(4_123_659_995));
    }

    #[test]
    fn state_survives_a_round_trip() {
        let mut mt = Mt19937::from_seed(7);
        (0..1000).for_each(|_| _ = mt.next_u32());
        let mut copy = Mt19937::from_words(&mt.to_words()).unwrap();
        assert!((0..700).all(|_| mt.next_u32() == copy.next_u32()));
        assert!(Mt19937::from_words(&[0; 624]).is_err());
        assert!(Mt19937::from_words(&[700; 625]).is_err());
    }
}
