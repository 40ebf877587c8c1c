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

const _: () = assert!(TASK % TILE == 0);
