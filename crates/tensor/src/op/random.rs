//! Random numbers: Philox4x32-10 (Salmon et al., SC 2011), so that equal arguments give equal bytes on every device.
//!
//! Element i comes from counter `counter + i/4` under the key `seed`: a stream is continued by adding ⌈n/4⌉ to the counter.

use super::check;
use crate::{
    backend::Distribution,
    device::Device,
    dtype::DType,
    error::{Error, Result},
    philox::Stream,
    tensor::Tensor,
};
use std::sync::Arc;

/// A tensor of random floats.
pub fn random(
    device: &Arc<Device>,
    shape: &[usize],
    dtype: DType,
    distribution: Distribution,
    seed: u64,
    counter: u64,
) -> Result<Tensor> {
    if !dtype.is_float() {
        return Err(Error::dtype("random", format!("it does not make {dtype}")));
    }
    let (numbers, in_order) = match distribution {
        Distribution::Uniform { low, high } => (vec![low, high], low <= high && (high - low).is_finite()),
        Distribution::Normal { mean, std } => (vec![mean, std], std >= 0.0),
        Distribution::TruncatedNormal { mean, std, low, high } => {
            let probability = Stream::new(distribution, seed, counter).probability();
            (vec![mean, std, low, high], std > 0.0 && low < high && probability > 0.0)
        }
    };
    numbers.iter().try_for_each(|&v| check::finite("random", "a parameter of the distribution", v))?;
    if !in_order {
        return Err(Error::argument("random", format!("{distribution:?} is no distribution")));
    }
    let y = Tensor::empty(device, shape, dtype);
    let out = y.clone();
    device.submit("random", move |b| b.random(&out, distribution, seed, counter));
    Ok(y)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::op::testing::{cpu, to_f64};

    fn draw(n: usize, distribution: Distribution, seed: u64, counter: u64) -> Vec<f64> {
        to_f64(&random(&cpu(), &[n], DType::F32, distribution, seed, counter).unwrap())
    }

    /// Mean and standard deviation.
    fn moments(x: &[f64]) -> (f64, f64) {
        let mean = x.iter().sum::<f64>() / x.len() as f64;
        (mean, (x.iter().map(|v| (v - mean).powi(2)).sum::<f64>() / x.len() as f64).sqrt())
    }

    #[test]
    fn distributions() {
        let n = 40_000;
        let x = draw(n, Distribution::Uniform { low: -1.0, high: 3.0 }, 1, 0);
        assert!(x.iter().all(|v| (-1.0..3.0).contains(v)));
        let (mean, std) = moments(&x);
        assert!((mean - 1.0).abs() < 0.03 && (std - 4.0 / 12f64.sqrt()).abs() < 0.02, "{mean} {std}");
        let (mean, std) = moments(&draw(n, Distribution::Normal { mean: 2.0, std: 0.5 }, 2, 0));
        assert!((mean - 2.0).abs() < 0.015 && (std - 0.5).abs() < 0.01, "{mean} {std}");
        let x = draw(n, Distribution::TruncatedNormal { mean: 0.0, std: 1.0, low: -2.0, high: 2.0 }, 3, 0);
        assert!(x.iter().all(|v| (-2.0..=2.0).contains(v)));
        let (mean, std) = moments(&x);
        assert!(mean.abs() < 0.03 && (std - 0.8796).abs() < 0.015, "{mean} {std}");
    }

    #[test]
    fn streams() {
        let uniform = Distribution::Uniform { low: 0.0, high: 1.0 };
        let x = draw(103, uniform, 7, 5);
        assert_eq!(x, draw(103, uniform, 7, 5));
        assert_eq!(x[8..], draw(95, uniform, 7, 7)[..]);
        assert_ne!(x, draw(103, uniform, 8, 5));
        assert_eq!(draw(0, uniform, 1, 1), []);
        // Counters may reach past 2^32 and turn over past 2^64.
        let far = draw(8, uniform, 7, u64::MAX);
        assert_eq!(far[4..], draw(4, uniform, 7, 0)[..]);
    }

    #[test]
    fn refusals() {
        let message = |dtype, d| random(&cpu(), &[2], dtype, d, 0, 0).expect_err("not allowed").message;
        let normal = |std| Distribution::Normal { mean: 0.0, std };
        assert_eq!(message(DType::I32, normal(1.0)), "random: it does not make int32");
        assert_eq!(message(DType::F32, normal(-1.0)), "random: Normal { mean: 0.0, std: -1.0 } is no distribution");
        assert_eq!(message(DType::F32, normal(f64::NAN)), "random: a parameter of the distribution is NaN");
        // Nothing to draw from: so far out that no probability is left in a double, or of no width.
        for (std, low, high) in [(0.02, 50.0, 60.0), (0.0, -1.0, 1.0), (1.0, 2.0, -2.0)] {
            let cut = Distribution::TruncatedNormal { mean: 0.0, std, low, high };
            assert!(message(DType::F32, cut).ends_with("is no distribution"));
        }
        let wide = Distribution::Uniform { low: -1e308, high: 1e308 };
        assert!(message(DType::F32, wide).ends_with("is no distribution"));
    }
}
