//! The optimizer's two passes: the gradients' norm, then AdamW.

use super::{
    Wgpu,
    call::{Call, Family, family},
    elementwise::pairs,
    source::Access,
};
use crate::{backend::AdamW, dtype::DType, error::Result, tensor::Tensor};

const NORM: Family = family!("norm");
const ADAMW: Family = family!("adamw");

/// Elements that one workgroup squares.
const HEIGHT: usize = 16384;

impl Wgpu {
    pub(super) fn length(&self, chunks: &[Tensor], y: &Tensor) -> Result<()> {
        let parts: Vec<Tensor> = chunks
            .iter()
            .flat_map(|t| self.parts(t.len(), &[t.dtype.size()]).into_iter().map(move |r| t.view(r.start, &[r.len()])))
            .collect::<Result<_>>()?;
        let count: usize = parts.iter().map(|t| t.len().div_ceil(HEIGHT)).sum();
        let sums = self.scratch(3 * count)?;
        let mut first = 0;
        for x in &parts {
            let groups = x.len().div_ceil(HEIGHT);
            let call = Call::new(self, NORM, "squares").input("x", x)?;
            let call = call.block("sums", &sums, DType::F32, Access::Write)?;
            let call = call.word("count", x.len()).word("height", HEIGHT).word("parts", groups).word("first", first);
            call.run(groups)?;
            first += groups;
        }
        let call = Call::new(self, NORM, "root").block("sums", &sums, DType::F32, Access::Read)?;
        call.output("y", y, false)?.word("count", count).run(1)
    }

    pub(super) fn adamw_pass(&self, d: &AdamW) -> Result<()> {
        let t = d.step as f64;
        for part in self.parts(d.param.len(), &[4]) {
            let of = |t: &Tensor| t.view(part.start, &[part.len()]);
            // What is not there is never touched; something must be bound all the same.
            let nothing = d.param.view(0, &[0])?;
            let optional = |t: &Option<Tensor>| t.as_ref().map_or_else(|| Ok(nothing.clone()), of);
            let call =
                Call::new(self, ADAMW, "adamw").change("param", &of(&d.param)?)?.change("grad", &of(&d.grad)?)?;
            let call = call.change("m", &of(&d.m)?)?.change("v", &of(&d.v)?)?.change("ema", &optional(&d.ema)?)?;
            let call = match &d.shadow {
                Some(shadow) => call.output("shadow", &of(shadow)?, false)?,
                None => call.output("shadow", &nothing, false)?,
            };
            let (norm, limit) = d.clip.clone().unwrap_or((nothing.clone(), 0.0));
            let call = call.input("norm", &norm)?.float("limit", limit);
            let call = call.constant("HAS_EMA", d.ema.is_some()).constant("HAS_SHADOW", d.shadow.is_some());
            let call = call.constant("HAS_CLIP", d.clip.is_some()).constant("ZERO_GRAD", d.zero_grad);
            let call = call.float("step_size", d.lr / (1.0 - d.beta1.powf(t)));
            let call = call.float("correction", (1.0 - d.beta2.powf(t)).sqrt());
            let call = call.float("decay", 1.0 - d.lr * d.weight_decay).float("rest1", 1.0 - d.beta1);
            let call = call.float("beta2", d.beta2).float("rest2", 1.0 - d.beta2).float("eps", d.eps);
            let call = call.float("momentum", d.momentum).float("rest", 1.0 - d.momentum);
            call.word("count", part.len()).run(pairs(part.len()))?;
        }
        Ok(())
    }
}
