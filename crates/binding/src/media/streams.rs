//! Random streams, for tests and tools.

use super::{argument, call};
use avjepa_media::error::MediaError;
use avjepa_media::random::{NumpyRng, Purpose, PythonRng, SampleRng, TorchRng, distributed_sampler};
use napi::bindgen_prelude::Float64Array;
use napi_derive::napi;

enum Stream {
    Torch(TorchRng),
    Numpy(NumpyRng),
    Python(PythonRng),
    Sample(SampleRng),
}

/// A random stream: `torch`, `numpy`, `python` (the reference's, draw for draw) or `sample` (ours).
#[napi]
pub struct RandomStream(Stream);

#[napi]
impl RandomStream {
    /// `seed` is decimal, so that large ones are exact; for `sample` it is "seed pass index purpose".
    #[napi(factory)]
    pub fn open(kind: String, seed: String) -> napi::Result<Self, String> {
        call(|| {
            let number = |text: &str| text.parse::<u64>().map_err(|_| argument(format!("\"{text}\" is not a seed")));
            Ok(Self(match kind.as_str() {
                "torch" => Stream::Torch(TorchRng::new(number(&seed)?)),
                "numpy" => {
                    let seed = u32::try_from(number(&seed)?)
                        .map_err(|_| argument(format!("numpy's seed {seed} is above 2^32 - 1")))?;
                    Stream::Numpy(NumpyRng::new(seed))
                }
                "python" => Stream::Python(PythonRng::from_decimal(&seed)?),
                "sample" => {
                    let parts = seed.split(' ').map(number).collect::<Result<Vec<_>, _>>()?;
                    let &[seed, pass, index, purpose] = parts.as_slice() else {
                        return Err(argument("a sample's stream has a seed, a pass, an index and a purpose"));
                    };
                    Stream::Sample(SampleRng::new(seed, pass, index, Purpose::Other(purpose as u16)))
                }
                other => return Err(argument(format!("there is no random stream \"{other}\""))),
            }))
        })
    }

    /// `count` draws of `operation` (or one permutation, shuffle or choice, whose length is the first argument).
    #[napi]
    pub fn draw(&mut self, operation: String, arguments: Vec<f64>, count: u32) -> napi::Result<Float64Array, String> {
        call(|| {
            let at = |i: usize| {
                arguments.get(i).copied().ok_or_else(|| argument(format!("{operation} needs {} arguments", i + 1)))
            };
            let values = match (&mut self.0, operation.as_str()) {
                (Stream::Torch(rng), "permutation") => integers(&rng.randperm(at(0)? as usize)),
                (Stream::Numpy(rng), "permutation") => integers(&rng.permutation(at(0)? as usize)),
                (Stream::Numpy(rng), "choice") => integers(&rng.choice(range(0.0, at(0)?)?.1 as usize, count as usize)),
                (Stream::Numpy(rng), "choice_weighted") => {
                    integers(&rng.choice_weighted_without_replacement(&arguments, count as usize)?)
                }
                (Stream::Numpy(rng), "shuffle") => shuffled(arguments.clone(), |values| rng.shuffle(values)),
                (Stream::Python(rng), "shuffle") => shuffled(arguments.clone(), |values| rng.shuffle(values)),
                (Stream::Sample(rng), "shuffle") => shuffled(arguments.clone(), |values| rng.shuffle(values)),
                (stream, _) => {
                    (0..count).map(|_| one(stream, &operation, &at)).collect::<Result<Vec<f64>, MediaError>>()?
                }
            };
            Ok(values.into())
        })
    }
}

fn one(
    stream: &mut Stream,
    operation: &str,
    at: &impl Fn(usize) -> Result<f64, MediaError>,
) -> Result<f64, MediaError> {
    Ok(match (stream, operation) {
        (Stream::Torch(rng), "random") => f64::from(rng.rand()),
        (Stream::Torch(rng), "uniform") => f64::from(rng.uniform(at(0)? as f32, at(1)? as f32)),
        (Stream::Torch(rng), "randint") => {
            let (low, high) = range(at(0)?, at(1)?)?;
            rng.randint(low, high) as f64
        }
        (Stream::Torch(rng), "base_seed") => rng.base_seed() as f64,
        (Stream::Numpy(rng), "random") => rng.random(),
        (Stream::Numpy(rng), "uniform") => rng.uniform(at(0)?, at(1)?),
        (Stream::Numpy(rng), "randint") => {
            let (low, high) = range(at(0)?, at(1)?)?;
            rng.randint(low, high) as f64
        }
        (Stream::Numpy(rng), "normal") => rng.standard_normal(),
        (Stream::Python(rng), "random") => rng.random(),
        (Stream::Python(rng), "uniform") => rng.uniform(at(0)?, at(1)?),
        (Stream::Python(rng), "randint") => {
            let (low, high) = range(at(0)?, at(1)? + 1.0)?;
            rng.randint(low, high - 1) as f64
        }
        (Stream::Python(rng), "below") => rng.below(range(0.0, at(0)?)?.1 as u64) as f64,
        (Stream::Python(rng), "normal") => rng.gauss(at(0)?, at(1)?),
        (Stream::Sample(rng), "random") => rng.random(),
        (Stream::Sample(rng), "uniform") => rng.uniform(at(0)?, at(1)?),
        (Stream::Sample(rng), "randint") => {
            let (low, high) = range(at(0)?, at(1)?)?;
            rng.randint(low, high - 1) as f64
        }
        (Stream::Sample(rng), "normal") => rng.normal(),
        _ => return Err(argument(format!("this random stream has no \"{operation}\""))),
    })
}

/// low..high as integers, not empty.
fn range(low: f64, high: f64) -> Result<(i64, i64), MediaError> {
    match low < high && low.abs() < 9e15 && high.abs() < 9e15 {
        true => Ok((low as i64, high as i64)),
        false => Err(argument(format!("no integers from {low} up to {high}"))),
    }
}

fn integers(values: &[i64]) -> Vec<f64> {
    values.iter().map(|&value| value as f64).collect()
}

fn shuffled(mut values: Vec<f64>, shuffle: impl FnOnce(&mut [f64])) -> Vec<f64> {
    shuffle(&mut values);
    values
}

/// The order that torch's `DistributedSampler` gives a rank.
#[napi]
pub fn media_distributed_sampler(
    n: u32,
    world: u32,
    rank: u32,
    seed: f64,
    epoch: f64,
) -> napi::Result<Float64Array, String> {
    call(|| {
        let order = distributed_sampler(n as usize, world as usize, rank as usize, seed as u64, epoch as u64)?;
        Ok(integers(&order).into())
    })
}
