//! The CPU generator of PyTorch (`torch.Generator`, `torch.manual_seed`), draw for draw.

use super::Mt19937;

/// From this range on, `randint` takes 64 random bits instead of 32 (PyTorch 2.7 and later).
const WIDE_RANGE: u64 = 1 << 28;

/// PyTorch's CPU random stream.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TorchRng {
    engine: Mt19937,
}

impl TorchRng {
    /// `torch.manual_seed(seed)`: only the low 32 bits of the seed count.
    pub fn new(seed: u64) -> Self {
        Self { engine: Mt19937::from_seed(seed as u32) }
    }

    /// A stream that continues from `engine`.
    pub fn from_engine(engine: Mt19937) -> Self {
        Self { engine }
    }

    /// The engine, for a checkpoint.
    pub fn engine(&self) -> &Mt19937 {
        &self.engine
    }

    /// One element of `torch.rand`, float32: 24 bits in [0, 1).
    pub fn rand(&mut self) -> f32 {
        (self.engine.next_u32() & 0x00ff_ffff) as f32 * (1.0 / 16_777_216.0)
    }

    /// One element of `Tensor.uniform_(low, high)`, float32.
    pub fn uniform(&mut self, low: f32, high: f32) -> f32 {
        self.rand() * (high - low) + low
    }

    /// One element of `torch.randint(low, high)`; draws even if the range has one value.
    ///
    /// # Panics
    /// If `high <= low`.
    pub fn randint(&mut self, low: i64, high: i64) -> i64 {
        assert!(low < high, "randint of an empty range [{low}, {high})");
        let range = high.wrapping_sub(low) as u64;
        let offset =
            if range >= WIDE_RANGE { self.next_u64() % range } else { u64::from(self.engine.next_u32()) % range };
        low.wrapping_add(offset as i64)
    }

    /// `torch.randperm(n)`.
    pub fn randperm(&mut self, n: usize) -> Vec<i64> {
        let mut order: Vec<i64> = (0..n as i64).collect();
        for i in 0..n.saturating_sub(1) {
            let j = self.engine.next_u32() as usize % (n - i);
            order.swap(i, i + j);
        }
        order
    }

    /// `torch.empty((), dtype=torch.int64).random_()`: how a data loader draws the seed of its workers; 63 bits.
    pub fn base_seed(&mut self) -> i64 {
        (self.next_u64() & i64::MAX as u64) as i64
    }

    fn next_u64(&mut self) -> u64 {
        let high = u64::from(self.engine.next_u32());
        high << 32 | u64::from(self.engine.next_u32())
    }
}
