//! Where the transforms get their random numbers.

use crate::random::{NumpyRng, Purpose, PythonRng, SampleRng, TorchRng};

/// Random draws, named after the stream that the reference takes them from.
pub trait Draws {
    /// Python's `random.random()`.
    fn random(&mut self) -> f64;
    /// Python's `random.randint`, both ends included.
    fn randint(&mut self, low: i64, high: i64) -> i64;
    /// Python's `random.gauss`.
    fn gauss(&mut self, mean: f64, deviation: f64) -> f64;
    /// numpy's `uniform()`.
    fn numpy_uniform(&mut self) -> f64;
    /// numpy's `choice(n, count)`.
    fn numpy_choice(&mut self, n: usize, count: usize) -> Vec<usize>;
    /// torch's `rand(1)`.
    fn torch_rand(&mut self) -> f64;
    /// N(0, 1) for erased pixels.
    fn noise(&mut self) -> f32;

    /// Python's `random.uniform`.
    fn uniform(&mut self, [low, high]: [f64; 2]) -> f64 {
        low + (high - low) * self.random()
    }
}

/// The reference's three streams. Noise comes from one of our own: the reference's is not reproducible across versions.
#[derive(Clone, Debug)]
pub struct ReferenceDraws {
    pub python: PythonRng,
    pub numpy: NumpyRng,
    pub torch: TorchRng,
    noise: SampleRng,
}

impl ReferenceDraws {
    /// All streams seeded as `random.seed`, `numpy.random.seed` and `torch.manual_seed` would.
    pub fn new(python_seed: u64, numpy_seed: u32, torch_seed: u64) -> Self {
        Self {
            python: PythonRng::new(python_seed),
            numpy: NumpyRng::new(numpy_seed),
            torch: TorchRng::new(torch_seed),
            noise: SampleRng::new(python_seed, u64::from(numpy_seed), torch_seed, Purpose::Transform { clip: 0 }),
        }
    }
}

impl Draws for ReferenceDraws {
    fn random(&mut self) -> f64 {
        self.python.random()
    }

    fn randint(&mut self, low: i64, high: i64) -> i64 {
        self.python.randint(low, high)
    }

    fn gauss(&mut self, mean: f64, deviation: f64) -> f64 {
        self.python.gauss(mean, deviation)
    }

    fn numpy_uniform(&mut self) -> f64 {
        self.numpy.random()
    }

    fn numpy_choice(&mut self, n: usize, count: usize) -> Vec<usize> {
        self.numpy.choice(n, count).into_iter().map(|i| i as usize).collect()
    }

    fn torch_rand(&mut self) -> f64 {
        f64::from(self.torch.rand())
    }

    fn noise(&mut self) -> f32 {
        self.noise.normal() as f32
    }
}

impl Draws for SampleRng {
    fn random(&mut self) -> f64 {
        self.random()
    }

    fn randint(&mut self, low: i64, high: i64) -> i64 {
        self.randint(low, high)
    }

    fn gauss(&mut self, mean: f64, deviation: f64) -> f64 {
        mean + deviation * self.normal()
    }

    fn numpy_uniform(&mut self) -> f64 {
        self.random()
    }

    fn numpy_choice(&mut self, n: usize, count: usize) -> Vec<usize> {
        (0..count).map(|_| self.index(n)).collect()
    }

    fn torch_rand(&mut self) -> f64 {
        self.random()
    }

    fn noise(&mut self) -> f32 {
        self.normal() as f32
    }
}
