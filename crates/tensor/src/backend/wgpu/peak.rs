//! What an adapter does at the most, measured: the other kernels' figures are fractions of it.

use super::{
    Wgpu,
    call::{Call, Family, family},
    source::Access,
};
use crate::{backend::Backend, dtype::DType, error::Result};
use std::time::Instant;

const PEAK: Family = family!("peak");

/// Threads of the multiply-adds, operations that one of them does in a round, and elements of the copy.
const THREADS: usize = 1 << 16;
const CHAINS: usize = 2 * 32;
const ELEMENTS: usize = 1 << 24;
/// Seconds that a run should last at least: far longer than it takes to hand it over.
const SECONDS: f64 = 0.1;

/// Operations, and bytes read and written, a second.
#[derive(Clone, Copy, Debug)]
pub struct Peaks {
    pub flops: f64,
    pub bytes: f64,
}

impl Wgpu {
    /// Takes about a second.
    ///
    /// # Errors
    /// Those of the device.
    pub fn peaks(&self) -> Result<Peaks> {
        let (x, y) = (self.scratch(ELEMENTS)?, self.scratch(ELEMENTS)?);
        let multiply_add = |rounds: usize| {
            let call = Call::new(self, PEAK, "multiply_add").block("y", &y, DType::F32, Access::Write)?;
            let call = call.float("factor", 0.999).float("shift", 0.5).word("count", THREADS).word("rounds", rounds);
            call.run(THREADS / 256)
        };
        let copy = |times: usize| {
            for _ in 0..times {
                let call = Call::new(self, PEAK, "copy").block("x", &x, DType::F32, Access::Read)?;
                let call = call.block("y", &y, DType::F32, Access::Write)?;
                call.word("count", ELEMENTS).run(ELEMENTS / 1024)?;
            }
            Ok(())
        };
        Ok(Peaks {
            flops: self.rate(multiply_add)? * (THREADS * CHAINS) as f64,
            bytes: self.rate(copy)? * (2 * 4 * ELEMENTS) as f64,
        })
    }

    /// How many times a second `run(times)` does what it does, at best: in ever longer runs until they are long enough.
    fn rate(&self, run: impl Fn(usize) -> Result<()>) -> Result<f64> {
        let timed = |times: usize| {
            let start = Instant::now();
            run(times)?;
            self.finish()?;
            Ok(start.elapsed().as_secs_f64() / times as f64)
        };
        let (mut times, mut each) = (1, f64::INFINITY);
        // The first run compiles the kernel.
        timed(times)?;
        for _ in 0..40 {
            each = timed(times)?;
            if each * times as f64 >= SECONDS {
                break;
            }
            times *= 2;
        }
        for _ in 0..2 {
            each = each.min(timed(times)?);
        }
        Ok(1.0 / each)
    }
}
