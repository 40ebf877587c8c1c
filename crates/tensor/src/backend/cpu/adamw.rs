//! One pass of AdamW over a chunk of parameters, with clipping, the moving average and the bf16 copy.

use super::{
    element::{Input, Output, Real, with_real},
    parallel::{TASK, TILE, for_blocks, tiles},
};
use crate::{backend::AdamW, error::Result};

pub fn adamw(d: &AdamW) -> Result<()> {
    with_real!(d.param.dtype, A => run::<A>(d))
}

/// `min(1, limit/(norm + 1e-6))`, NaN when the norm is.
fn clip_factor<A: Real>(d: &AdamW) -> Result<A> {
    let Some((norm, limit)) = &d.clip else { return Ok(A::ONE) };
    let factor = A::of(*limit) / (Input::new(norm)?.to_vec::<A>()[0] + A::of(1e-6));
    Ok(if factor > A::ONE { A::ONE } else { factor })
}

fn run<A: Real>(d: &AdamW) -> Result<()> {
    // Read before written: all of them must have been.
    let [p, g, m, v] = [
        Output::add_to(&d.param, true)?,
        Output::add_to(&d.grad, true)?,
        Output::add_to(&d.m, true)?,
        Output::add_to(&d.v, true)?,
    ];
    let ema = d.ema.as_ref().map(|t| Output::add_to(t, true)).transpose()?;
    let shadow = d.shadow.as_ref().map(Output::new).transpose()?;
    let clip = clip_factor::<A>(d)?;
    let t = d.step as f64;
    let step_size = A::of(d.lr / (1.0 - d.beta1.powf(t)));
    let correction = A::of((1.0 - d.beta2.powf(t)).sqrt());
    let decay = A::of(1.0 - d.lr * d.weight_decay);
    let (rest1, beta2, rest2) = (A::of(1.0 - d.beta1), A::of(d.beta2), A::of(1.0 - d.beta2));
    let eps = A::of(d.eps);
    let (momentum, rest) = (A::of(d.momentum), A::of(1.0 - d.momentum));
    for_blocks(
        p.len,
        TASK,
        #[inline(always)]
        |block| {
            for range in tiles(block) {
                let (start, len) = (range.start, range.len());
                // Each task touches its own elements only.
                let (p, g, m, v) = unsafe {
                    (p.part::<A>(start, len), g.part::<A>(start, len), m.part::<A>(start, len), v.part::<A>(start, len))
                };
                let mut next = [A::ZERO; TILE];
                let next = &mut next[..len];
                for ((((q, &p), &g), m), v) in next.iter_mut().zip(&*p).zip(&*g).zip(m).zip(v) {
                    let g = g * clip;
                    let first = *m + rest1 * (g - *m);
                    let second = beta2 * *v + rest2 * g * g;
                    *m = first;
                    *v = second;
                    *q = p * decay - step_size * (first / (second.sqrt() / correction + eps));
                }
                p.copy_from_slice(next);
                if let Some(ema) = ema {
                    let ema = unsafe { ema.part::<A>(start, len) };
                    for (e, &p) in ema.iter_mut().zip(&*next) {
                        *e = momentum * *e + rest * p;
                    }
                }
                if let Some(shadow) = shadow {
                    shadow.store(start, next);
                }
                if d.zero_grad {
                    g.fill(A::ZERO);
                }
            }
        },
    );
    Ok(())
}

const _: () = assert!(TASK.is_multiple_of(TILE));

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        DType,
        backend::cpu::testing::{assert_close, assert_same_on_threads, bits, empty, random, run, tensor, to_vec},
        tensor::Tensor,
    };

    /// PyTorch's `_single_tensor_adamw`, with clipping before and the moving average after it.
    struct Reference {
        p: Vec<f64>,
        m: Vec<f64>,
        v: Vec<f64>,
        ema: Vec<f64>,
    }

    impl Reference {
        fn step(&mut self, d: &AdamW, g: &[f64], norm: Option<f64>) {
            let t = d.step as i32;
            let clip = norm.map_or(1.0, |norm| (d.clip.as_ref().unwrap().1 / (norm + 1e-6)).min(1.0));
            for i in 0..g.len() {
                let g = g[i] * clip;
                self.p[i] *= 1.0 - d.lr * d.weight_decay;
                self.m[i] = d.beta1 * self.m[i] + (1.0 - d.beta1) * g;
                self.v[i] = d.beta2 * self.v[i] + (1.0 - d.beta2) * g * g;
                let denominator = self.v[i].sqrt() / (1.0 - d.beta2.powi(t)).sqrt() + d.eps;
                self.p[i] -= d.lr / (1.0 - d.beta1.powi(t)) * self.m[i] / denominator;
                self.ema[i] = d.momentum * self.ema[i] + (1.0 - d.momentum) * self.p[i];
            }
        }
    }

    fn state(n: usize, dtype: DType) -> AdamW {
        let zeros = || tensor(&[n], &vec![0.0; n], dtype);
        let param = random(&[n], 1, dtype);
        AdamW {
            ema: Some(tensor(&[n], &to_vec(&param), dtype)),
            param,
            grad: zeros(),
            m: zeros(),
            v: zeros(),
            shadow: Some(empty(&[n], DType::BF16)),
            clip: None,
            lr: 1e-2,
            weight_decay: 0.1,
            beta1: 0.9,
            beta2: 0.999,
            eps: 1e-8,
            step: 0,
            momentum: 0.99,
            zero_grad: true,
        }
    }

    fn train(
        n: usize,
        dtype: DType,
        clip: bool,
        steps: u64,
        mut seen: impl FnMut(&AdamW, &[f64], Option<f64>),
    ) -> AdamW {
        let mut d = state(n, dtype);
        for step in 1..=steps {
            let gradient = random(&[n], 10 + step, dtype);
            let values = to_vec(&gradient);
            let norm = values.iter().map(|g| g * g).sum::<f64>().sqrt();
            // Limits above and below the norm by turns.
            let limit = norm * if step % 2 == 0 { 0.5 } else { 2.0 };
            d.clip = clip.then(|| (tensor(&[1], &[norm], dtype), limit));
            d.step = step;
            run(&[1], dtype, |b, _| {
                b.cast(&gradient, &d.grad)?;
                b.adamw(&d)
            });
            seen(&d, &values, clip.then_some(norm));
        }
        d
    }

    #[test]
    fn against_the_formula_of_pytorch() {
        for dtype in [DType::F32, DType::F64] {
            for (n, clip) in [(1, false), (700, true), (40_000, true), (0, false)] {
                let start = to_vec(&random(&[n], 1, dtype));
                let mut reference = Reference { p: start.clone(), m: vec![0.0; n], v: vec![0.0; n], ema: start };
                let d = train(n, dtype, clip, 4, |d, g, norm| reference.step(d, g, norm));
                assert_close(&d.param, &reference.p, 4.0);
                assert_close(&d.m, &reference.m, 1.0);
                assert_close(&d.v, &reference.v, 1.0);
                assert_close(d.ema.as_ref().unwrap(), &reference.ema, 4.0);
                assert_close(d.shadow.as_ref().unwrap(), &reference.p, 1.0);
                assert!(to_vec(&d.grad).iter().all(|&g| g == 0.0));
            }
        }
    }

    #[test]
    fn threads() {
        assert_same_on_threads(|| {
            let d = train(70_001, DType::F32, true, 2, |_, _, _| {});
            vec![d.param, d.m, d.v, d.ema.unwrap(), d.shadow.unwrap()]
        });
    }

    #[test]
    fn gradients_are_kept_when_asked() {
        let mut d = AdamW { zero_grad: false, ema: None, shadow: None, step: 1, ..state(5, DType::F32) };
        d.grad = random(&[5], 3, DType::F32);
        let before = bits(&d.grad);
        run(&[1], DType::F32, |b, _| b.adamw(&d));
        assert_eq!(bits(&d.grad), before);
    }

    #[test]
    fn a_state_never_written_is_an_error() {
        let d = AdamW { m: Tensor::empty(&crate::op::testing::cpu(), &[5], DType::F32), ..state(5, DType::F32) };
        crate::backend::cpu::testing::sync();
        assert!(adamw(&d).unwrap_err().message.contains("before anything has been written"));
    }
}
