//! The CPU with a GPU beside it: every kernel that a test runs is run on both, and their results are compared.
//!
//! So one table of tests, and every gradient check, holds for both. float64, in which most of them are, becomes float32 on the GPU.
//! A kernel is compared the first few times that it is called with the same shapes, types and options.

use crate::{
    DType, Device, Error, Result, Tensor,
    backend::{
        AdamW, Assemble, Attention, AttentionGrad, Backend, BinaryCrossEntropy, Broadcast, Columns, CopyBlock,
        Counters, CrossEntropy, Distribution, Epilogue, EppsPulley, EppsPulleyGrad, Gemm, LayerNorm, LayerNormGrad,
        LpLoss, LpLossGrad, Patchify, Reduce, Rotary, ScatterAdd, SegmentStd, Unary, cpu::Cpu,
    },
    dtype::bf16_to_f32,
    tensor::Allocation,
};
use std::{
    cell::RefCell,
    collections::HashMap,
    sync::{Arc, Mutex, PoisonError},
};

/// Times that one kernel is compared for the same shapes, types and options.
const TIMES: usize = 1;
/// Sines and cosines of float32 are only bounded beyond this: neighbouring arguments are far apart in a period.
const LARGEST_ANGLE: f64 = 1e7;
/// Guarding elements before and after each tensor on the GPU: kernels begin anywhere, and write nowhere else.
const GUARDS: [usize; 4] = [0, 3, 4, 5];
const GUARD: u8 = 0x5a;

pub struct Twin {
    cpu: Cpu,
    gpu: Arc<Device>,
    seen: Mutex<HashMap<String, usize>>,
}

/// A descriptor's tensors on the GPU, and what is to be compared.
struct Mirror<'a> {
    twin: &'a Twin,
    /// Elements of the one output that need only be within ±1.
    bounded: RefCell<Vec<usize>>,
    /// Elements before the tensors.
    guard: usize,
    outputs: RefCell<Vec<(Tensor, Tensor, Tensor)>>,
}

impl Twin {
    pub fn new(gpu: Arc<Device>) -> Twin {
        Twin { cpu: Cpu::new().expect("the environment names nothing wrong"), gpu, seen: Mutex::default() }
    }

    /// Runs one kernel on both. `build` makes the GPU's descriptor and calls it, after the CPU has run.
    fn both<D>(
        &self,
        what: String,
        build: impl FnOnce(&Mirror) -> Result<D>,
        cpu: impl FnOnce(&Cpu) -> Result<()>,
        gpu: impl FnOnce(&dyn Backend, D) -> Result<()>,
    ) -> Result<()> {
        let times = {
            let mut seen = self.seen.lock().unwrap_or_else(PoisonError::into_inner);
            let times = seen.entry(what.clone()).or_default();
            *times += 1;
            *times
        };
        if times > TIMES {
            return cpu(&self.cpu);
        }
        let guard = GUARDS[(what.len() + times) % GUARDS.len()];
        let mirror = Mirror { twin: self, bounded: RefCell::default(), guard, outputs: RefCell::default() };
        let descriptor = build(&mirror)?;
        let expected = cpu(&self.cpu);
        let got = gpu(self.gpu.backend(), descriptor);
        match (&expected, &got) {
            (Ok(()), Ok(())) => mirror.compare(&what)?,
            (Err(a), Err(b)) if a.code == b.code && b.message.ends_with(&a.message) => {}
            _ => {
                let name = self.gpu.name();
                return Err(Error::argument("twin", format!("{what}: the CPU says {expected:?}, {name} {got:?}")));
            }
        }
        expected
    }
}

fn narrow(dtype: DType) -> DType {
    if dtype == DType::F64 { DType::F32 } else { dtype }
}

impl Mirror<'_> {
    fn input(&self, t: &Tensor) -> Result<Tensor> {
        self.place(t, true).map(|(view, _)| view)
    }

    fn optional(&self, t: &Option<Tensor>) -> Result<Option<Tensor>> {
        t.as_ref().map(|t| self.input(t)).transpose()
    }

    /// `keep`: what is there matters, before or where it is not written.
    fn output(&self, t: &Tensor, keep: bool) -> Result<Tensor> {
        let (view, whole) = self.place(t, keep)?;
        self.outputs.borrow_mut().push((t.clone(), view.clone(), whole));
        Ok(view)
    }

    fn sink(&self, sink: &Option<(Tensor, bool)>) -> Result<Option<(Tensor, bool)>> {
        sink.as_ref().map(|(t, accumulate)| Ok((self.output(t, *accumulate)?, *accumulate))).transpose()
    }

    /// The tensor on the GPU, between guards, and all of that.
    fn place(&self, t: &Tensor, copy: bool) -> Result<(Tensor, Tensor)> {
        let dtype = narrow(t.dtype);
        let whole = Tensor::empty(&self.twin.gpu, &[t.len() + 2 * self.guard], dtype);
        let mut bytes = vec![GUARD; whole.bytes()];
        if copy && (t.buffer.allocation().is_some() || t.is_empty()) {
            let mut own = vec![0; t.bytes()];
            if !t.is_empty() {
                self.twin.cpu.read(t, &mut own)?;
            }
            if t.dtype == DType::F64 {
                let wide = own.chunks_exact(8).map(|b| f64::from_le_bytes(b.try_into().expect("8 bytes")));
                own = wide.flat_map(|v| (v as f32).to_le_bytes()).collect();
            }
            let start = self.guard * dtype.size();
            bytes[start..start + own.len()].copy_from_slice(&own);
        }
        self.twin.gpu.backend().write(&whole, &bytes)?;
        Ok((whole.view(self.guard, &t.shape)?, whole))
    }

    fn compare(&self, what: &str) -> Result<()> {
        for (expected, got, whole) in self.outputs.borrow().iter() {
            let mut all = vec![0; whole.bytes()];
            self.twin.gpu.backend().read(whole, &mut all)?;
            let guard = self.guard * whole.dtype.size();
            if all[..guard].iter().chain(&all[all.len() - guard..]).any(|b| *b != GUARD) {
                return Err(Error::argument("twin", format!("{what}: {got:?} was written beside")));
            }
            let mut bytes = vec![0; expected.bytes()];
            if !expected.is_empty() {
                self.twin.cpu.read(expected, &mut bytes)?;
            }
            let (mut expected, got) =
                (values(&bytes, expected.dtype), values(&all[guard..all.len() - guard], got.dtype));
            for &i in self.bounded.borrow().iter().filter(|&&i| got[i].abs() <= 1.0) {
                expected[i] = got[i];
            }
            if let Some(message) = apart(&expected, &got, whole.dtype) {
                return Err(Error::argument("twin", format!("{what}: on {}, {message}", self.twin.gpu.name())));
            }
        }
        Ok(())
    }
}

fn values(bytes: &[u8], dtype: DType) -> Vec<f64> {
    fn words<const N: usize>(bytes: &[u8], f: impl Fn([u8; N]) -> f64) -> Vec<f64> {
        bytes.chunks_exact(N).map(|b| f(b.try_into().expect("N bytes"))).collect()
    }
    match dtype {
        DType::F64 => words(bytes, f64::from_le_bytes),
        DType::F32 => words(bytes, |b| f64::from(f32::from_le_bytes(b))),
        DType::BF16 => words(bytes, |b| f64::from(bf16_to_f32(u16::from_le_bytes(b)))),
        DType::I32 => words(bytes, |b| f64::from(i32::from_le_bytes(b))),
        DType::I64 => words(bytes, |b| i64::from_le_bytes(b) as f64),
        DType::U8 => words(bytes, |[b]| f64::from(b)),
    }
}

/// What is wrong, if the results are farther apart than their type allows: 1e-5 in float32, 2⁻⁷ in bfloat16, in relative L2.
fn apart(expected: &[f64], got: &[f64], dtype: DType) -> Option<String> {
    let tolerance = match dtype {
        DType::F32 => 1e-5,
        DType::BF16 => 1.0 / 128.0,
        _ => 0.0,
    };
    let (mut difference, mut length) = (0.0, 0.0);
    for (i, (e, g)) in expected.iter().zip(got).enumerate() {
        let narrow = if dtype == DType::F32 { f64::from(*e as f32) } else { *e };
        if !narrow.is_finite() {
            if narrow != *g && !(narrow.is_nan() && g.is_nan()) {
                return Some(format!("element {i} is {g}, not {e}"));
            }
            continue;
        }
        difference += (e - g).powi(2);
        length += e.powi(2);
    }
    // Where all should vanish, what is left of cancellation does not count for more than it is.
    let bound = tolerance * (length.sqrt() + 1e-2 * (expected.len() as f64).sqrt());
    let far = difference.sqrt();
    (far.is_nan() || far > bound).then(|| {
        let worst =
            (0..got.len()).max_by(|a, b| (got[*a] - expected[*a]).abs().total_cmp(&(got[*b] - expected[*b]).abs()));
        let at = worst.unwrap_or(0);
        format!("the results are {far:e} apart, {bound:e} allowed: element {at} is {}, not {}", got[at], expected[at])
    })
}

fn columns(c: &Columns, tensor: Tensor) -> Columns {
    Columns { tensor, ..*c }
}

impl Mirror<'_> {
    fn attention(&self, d: &Attention, out: Tensor, lse: Tensor) -> Result<Attention> {
        // q, k and v may be columns of one tensor, and offsets the same.
        let q = self.input(&d.q.tensor)?;
        let same = |a: &Tensor, b: &Tensor| Arc::ptr_eq(&a.buffer, &b.buffer) && a.offset == b.offset;
        let k = if same(&d.k.tensor, &d.q.tensor) { q.clone() } else { self.input(&d.k.tensor)? };
        let v = if same(&d.v.tensor, &d.k.tensor) { k.clone() } else { self.input(&d.v.tensor)? };
        let q_offsets = self.input(&d.q_offsets)?;
        let kv_offsets = if same(&d.q_offsets, &d.kv_offsets) { q_offsets.clone() } else { self.input(&d.kv_offsets)? };
        Ok(Attention {
            q_offsets,
            kv_offsets,
            q: columns(&d.q, q),
            k: columns(&d.k, k),
            v: columns(&d.v, v),
            out,
            lse,
            ..*d
        })
    }

    fn lp_loss(&self, d: &LpLoss, y: Tensor) -> Result<LpLoss> {
        Ok(LpLoss { z: self.input(&d.z)?, h: self.input(&d.h)?, rows: self.input(&d.rows)?, y, ..*d })
    }
}

impl Backend for Twin {
    fn describe(&self) -> String {
        self.cpu.describe()
    }

    fn counters(&self) -> Counters {
        self.gpu.backend().counters()
    }

    fn alloc(&self, bytes: usize) -> Result<Box<dyn Allocation>> {
        self.cpu.alloc(bytes)
    }

    fn write(&self, dst: &Tensor, bytes: &[u8]) -> Result<()> {
        self.cpu.write(dst, bytes)
    }

    fn read(&self, src: &Tensor, bytes: &mut [u8]) -> Result<()> {
        self.cpu.read(src, bytes)
    }

    fn read_all(&self, sources: &[Tensor], bytes: &mut [Vec<u8>]) -> Result<()> {
        self.cpu.read_all(sources, bytes)
    }

    fn finish(&self) -> Result<()> {
        self.cpu.finish()
    }

    fn fill(&self, y: &Tensor, value: f64) -> Result<()> {
        let what = format!("fill {y:?} {value}");
        self.both(what, |m| m.output(y, false), |b| b.fill(y, value), |b, y| b.fill(&y, value))
    }

    fn cast(&self, x: &Tensor, y: &Tensor) -> Result<()> {
        if (x.dtype == DType::F64) != (y.dtype == DType::F64) {
            // On the GPU it would be another conversion.
            return self.cpu.cast(x, y);
        }
        let build = |m: &Mirror| Ok((m.input(x)?, m.output(y, false)?));
        self.both(format!("cast {x:?} {y:?}"), build, |b| b.cast(x, y), |b, (x, y)| b.cast(&x, &y))
    }

    fn unary(&self, op: Unary, x: &Tensor, y: &Tensor) -> Result<()> {
        let build = |m: &Mirror| {
            if matches!(op, Unary::Sin | Unary::Cos) && !x.is_empty() {
                let mut bytes = vec![0; x.bytes()];
                self.cpu.read(x, &mut bytes)?;
                let angles = values(&bytes, x.dtype);
                let huge = |(i, v): (usize, &f64)| (v.is_finite() && v.abs() > LARGEST_ANGLE).then_some(i);
                m.bounded.borrow_mut().extend(angles.iter().enumerate().filter_map(huge));
            }
            Ok((m.input(x)?, m.output(y, false)?))
        };
        self.both(format!("unary {op:?} {x:?}"), build, |b| b.unary(op, x, y), |b, (x, y)| b.unary(op, &x, &y))
    }

    fn broadcast(&self, d: &Broadcast) -> Result<()> {
        let build = |m: &Mirror| {
            Ok(Broadcast { a: m.input(&d.a)?, b: m.input(&d.b)?, y: m.output(&d.y, d.accumulate)?, ..d.clone() })
        };
        self.both(format!("{d:?}"), build, |b| b.broadcast(d), |b, d| b.broadcast(&d))
    }

    fn reduce(&self, d: &Reduce) -> Result<()> {
        let build = |m: &Mirror| Ok(Reduce { x: m.input(&d.x)?, y: m.output(&d.y, d.accumulate)?, ..d.clone() });
        self.both(format!("{d:?}"), build, |b| b.reduce(d), |b, d| b.reduce(&d))
    }

    fn permute(&self, x: &Tensor, axes: &[usize], y: &Tensor) -> Result<()> {
        let build = |m: &Mirror| Ok((m.input(x)?, m.output(y, false)?));
        let what = format!("permute {x:?} {axes:?}");
        self.both(what, build, |b| b.permute(x, axes, y), |b, (x, y)| b.permute(&x, axes, &y))
    }

    fn copy_block(&self, d: &CopyBlock) -> Result<()> {
        // Blocks may be written where nothing has been yet.
        let written = d.dst.buffer.allocation().is_some();
        let build = |m: &Mirror| {
            let dst = if written { m.output(&d.dst, true)? } else { m.place(&d.dst, false)?.0 };
            Ok(CopyBlock { src: m.input(&d.src)?, dst, ..d.clone() })
        };
        self.both(format!("{d:?}"), build, |b| b.copy_block(d), |b, d| b.copy_block(&d))
    }

    fn softmax(&self, x: &Tensor, y: &Tensor) -> Result<()> {
        let build = |m: &Mirror| Ok((m.input(x)?, m.output(y, false)?));
        self.both(format!("softmax {x:?} {y:?}"), build, |b| b.softmax(x, y), |b, (x, y)| b.softmax(&x, &y))
    }

    fn softmax_grad(&self, y: &Tensor, dy: &Tensor, dx: &Tensor) -> Result<()> {
        let build = |m: &Mirror| Ok((m.input(y)?, m.input(dy)?, m.output(dx, false)?));
        let gpu = |b: &dyn Backend, (y, dy, dx): (Tensor, Tensor, Tensor)| b.softmax_grad(&y, &dy, &dx);
        self.both(format!("softmax_grad {y:?} {dx:?}"), build, |b| b.softmax_grad(y, dy, dx), gpu)
    }

    fn gemm(&self, d: &Gemm) -> Result<()> {
        let build = |m: &Mirror| {
            Ok(Gemm {
                a: m.input(&d.a)?,
                b: m.input(&d.b)?,
                bias: m.optional(&d.bias)?,
                epilogue: match &d.epilogue {
                    Epilogue::None => Epilogue::None,
                    Epilogue::Gelu { pre } => Epilogue::Gelu { pre: m.output(pre, false)? },
                    Epilogue::GeluGrad { pre } => Epilogue::GeluGrad { pre: m.input(pre)? },
                    Epilogue::Residual { residual } => Epilogue::Residual { residual: m.input(residual)? },
                },
                c: m.output(&d.c, d.accumulate)?,
                compute: narrow(d.compute),
                ..d.clone()
            })
        };
        self.both(format!("{d:?}"), build, |b| b.gemm(d), |b, d| b.gemm(&d))
    }

    fn attention(&self, d: &Attention) -> Result<()> {
        let build = |m: &Mirror| m.attention(d, m.output(&d.out, false)?, m.output(&d.lse, false)?);
        self.both(format!("{d:?}"), build, |b| b.attention(d), |b, d| b.attention(&d))
    }

    fn attention_grad(&self, d: &AttentionGrad) -> Result<()> {
        let build = |m: &Mirror| {
            let forward = m.attention(&d.forward, m.input(&d.forward.out)?, m.input(&d.forward.lse)?)?;
            let same = |a: &Tensor, b: &Tensor| Arc::ptr_eq(&a.buffer, &b.buffer) && a.offset == b.offset;
            let dq = m.output(&d.dq.tensor, false)?;
            let dk = if same(&d.dk.tensor, &d.dq.tensor) { dq.clone() } else { m.output(&d.dk.tensor, false)? };
            let dv = if same(&d.dv.tensor, &d.dk.tensor) { dk.clone() } else { m.output(&d.dv.tensor, false)? };
            Ok(AttentionGrad {
                forward,
                dout: m.input(&d.dout)?,
                dq: columns(&d.dq, dq),
                dk: columns(&d.dk, dk),
                dv: columns(&d.dv, dv),
            })
        };
        self.both(format!("{d:?}"), build, |b| b.attention_grad(d), |b, d| b.attention_grad(&d))
    }

    fn layer_norm(&self, d: &LayerNorm) -> Result<()> {
        let build = |m: &Mirror| {
            Ok(LayerNorm {
                x: m.input(&d.x)?,
                weight: m.optional(&d.weight)?,
                bias: m.optional(&d.bias)?,
                eps: d.eps,
                y: m.output(&d.y, false)?,
                mean: m.output(&d.mean, false)?,
                rstd: m.output(&d.rstd, false)?,
            })
        };
        self.both(format!("{d:?}"), build, |b| b.layer_norm(d), |b, d| b.layer_norm(&d))
    }

    fn layer_norm_grad(&self, d: &LayerNormGrad) -> Result<()> {
        let build = |m: &Mirror| {
            Ok(LayerNormGrad {
                x: m.input(&d.x)?,
                weight: m.optional(&d.weight)?,
                mean: m.input(&d.mean)?,
                rstd: m.input(&d.rstd)?,
                dy: m.input(&d.dy)?,
                dx: m.sink(&d.dx)?,
                dweight: m.sink(&d.dweight)?,
                dbias: m.sink(&d.dbias)?,
            })
        };
        self.both(format!("{d:?}"), build, |b| b.layer_norm_grad(d), |b, d| b.layer_norm_grad(&d))
    }

    fn patchify(&self, d: &Patchify) -> Result<()> {
        let build = |m: &Mirror| {
            Ok(Patchify { x: m.input(&d.x)?, rows: m.optional(&d.rows)?, y: m.output(&d.y, false)?, ..d.clone() })
        };
        self.both(format!("{d:?}"), build, |b| b.patchify(d), |b, d| b.patchify(&d))
    }

    fn patchify_grad(&self, d: &Patchify, dx: &Tensor) -> Result<()> {
        let build = |m: &Mirror| {
            let d = Patchify { x: m.input(&d.x)?, rows: m.optional(&d.rows)?, y: m.input(&d.y)?, ..d.clone() };
            Ok((d, m.output(dx, false)?))
        };
        let what = format!("patchify_grad {d:?} {dx:?}");
        self.both(what, build, |b| b.patchify_grad(d, dx), |b, (d, dx)| b.patchify_grad(&d, &dx))
    }

    fn assemble(&self, d: &Assemble) -> Result<()> {
        let build = |m: &Mirror| {
            let table = d.table.as_ref().map(|(t, p)| Ok::<_, Error>((m.input(t)?, m.input(p)?))).transpose()?;
            Ok(Assemble {
                sources: d.sources.iter().map(|s| m.input(s)).collect::<Result<_>>()?,
                rows: m.input(&d.rows)?,
                table,
                y: m.output(&d.y, false)?,
            })
        };
        self.both(format!("{d:?}"), build, |b| b.assemble(d), |b, d| b.assemble(&d))
    }

    fn scatter_add(&self, d: &ScatterAdd) -> Result<()> {
        let build = |m: &Mirror| {
            let dst = m.output(&d.dst, d.accumulate)?;
            Ok(ScatterAdd { src: m.input(&d.src)?, rows: m.input(&d.rows)?, dst, ..*d })
        };
        self.both(format!("{d:?}"), build, |b| b.scatter_add(d), |b, d| b.scatter_add(&d))
    }

    fn lp_loss(&self, d: &LpLoss) -> Result<()> {
        let build = |m: &Mirror| m.lp_loss(d, m.output(&d.y, false)?);
        self.both(format!("{d:?}"), build, |b| b.lp_loss(d), |b, d| b.lp_loss(&d))
    }

    fn lp_loss_grad(&self, d: &LpLossGrad) -> Result<()> {
        let build = |m: &Mirror| {
            let forward = m.lp_loss(&d.forward, m.place(&d.forward.y, false)?.0)?;
            Ok(LpLossGrad { forward, dy: m.input(&d.dy)?, dz: (m.output(&d.dz.0, d.dz.1)?, d.dz.1) })
        };
        self.both(format!("{d:?}"), build, |b| b.lp_loss_grad(d), |b, d| b.lp_loss_grad(&d))
    }

    fn segment_std(&self, d: &SegmentStd) -> Result<()> {
        let build = |m: &Mirror| {
            let (x, offsets) = (m.input(&d.x)?, m.input(&d.offsets)?);
            Ok(SegmentStd { x, offsets, eps: d.eps, y: m.output(&d.y, false)? })
        };
        self.both(format!("{d:?}"), build, |b| b.segment_std(d), |b, d| b.segment_std(&d))
    }

    fn segment_std_grad(&self, d: &SegmentStd, dy: &Tensor, dx: &Tensor, accumulate: bool) -> Result<()> {
        let build = |m: &Mirror| {
            let (x, offsets) = (m.input(&d.x)?, m.input(&d.offsets)?);
            let d = SegmentStd { x, offsets, eps: d.eps, y: m.input(&d.y)? };
            Ok((d, m.input(dy)?, m.output(dx, accumulate)?))
        };
        let cpu = |b: &Cpu| b.segment_std_grad(d, dy, dx, accumulate);
        self.both(format!("grad {d:?} {accumulate}"), build, cpu, |b, (d, dy, dx)| {
            b.segment_std_grad(&d, &dy, &dx, accumulate)
        })
    }

    fn cross_entropy(&self, d: &CrossEntropy) -> Result<()> {
        let build = |m: &Mirror| {
            let (loss, lse) = (m.output(&d.loss, false)?, m.output(&d.lse, false)?);
            Ok(CrossEntropy { x: m.input(&d.x)?, labels: m.input(&d.labels)?, loss, lse, ..*d })
        };
        self.both(format!("{d:?}"), build, |b| b.cross_entropy(d), |b, d| b.cross_entropy(&d))
    }

    fn cross_entropy_grad(&self, d: &CrossEntropy, dy: &Tensor, dx: &Tensor, accumulate: bool) -> Result<()> {
        let build = |m: &Mirror| {
            let (loss, lse) = (m.input(&d.loss)?, m.input(&d.lse)?);
            let d = CrossEntropy { x: m.input(&d.x)?, labels: m.input(&d.labels)?, loss, lse, ..*d };
            Ok((d, m.input(dy)?, m.output(dx, accumulate)?))
        };
        let cpu = |b: &Cpu| b.cross_entropy_grad(d, dy, dx, accumulate);
        self.both(format!("grad {d:?} {accumulate}"), build, cpu, |b, (d, dy, dx)| {
            b.cross_entropy_grad(&d, &dy, &dx, accumulate)
        })
    }

    fn binary_cross_entropy(&self, d: &BinaryCrossEntropy) -> Result<()> {
        let build = |m: &Mirror| {
            let (x, targets) = (m.input(&d.x)?, m.input(&d.targets)?);
            Ok(BinaryCrossEntropy { x, targets, loss: m.output(&d.loss, false)? })
        };
        self.both(format!("{d:?}"), build, |b| b.binary_cross_entropy(d), |b, d| b.binary_cross_entropy(&d))
    }

    fn binary_cross_entropy_grad(
        &self,
        d: &BinaryCrossEntropy,
        dy: &Tensor,
        dx: &Tensor,
        accumulate: bool,
    ) -> Result<()> {
        let build = |m: &Mirror| {
            let d = BinaryCrossEntropy { x: m.input(&d.x)?, targets: m.input(&d.targets)?, loss: m.input(&d.loss)? };
            Ok((d, m.input(dy)?, m.output(dx, accumulate)?))
        };
        let cpu = |b: &Cpu| b.binary_cross_entropy_grad(d, dy, dx, accumulate);
        self.both(format!("grad {d:?} {accumulate}"), build, cpu, |b, (d, dy, dx)| {
            b.binary_cross_entropy_grad(&d, &dy, &dx, accumulate)
        })
    }

    fn epps_pulley(&self, d: &EppsPulley) -> Result<()> {
        let build = |m: &Mirror| {
            let (y, means) = (m.output(&d.y, false)?, m.output(&d.means, false)?);
            Ok(EppsPulley { x: m.input(&d.x)?, y, means, ..d.clone() })
        };
        self.both(format!("{d:?}"), build, |b| b.epps_pulley(d), |b, d| b.epps_pulley(&d))
    }

    fn epps_pulley_grad(&self, d: &EppsPulleyGrad) -> Result<()> {
        let build = |m: &Mirror| {
            let f = &d.forward;
            let (x, y, means) = (m.input(&f.x)?, m.input(&f.y)?, m.input(&f.means)?);
            let forward = EppsPulley { x, y, means, ..f.clone() };
            Ok(EppsPulleyGrad { forward, dy: m.input(&d.dy)?, dx: (m.output(&d.dx.0, d.dx.1)?, d.dx.1) })
        };
        self.both(format!("{d:?}"), build, |b| b.epps_pulley_grad(d), |b, d| b.epps_pulley_grad(&d))
    }

    fn rotary(&self, d: &Rotary) -> Result<()> {
        let build = |m: &Mirror| {
            let (x, cos, sin) = (m.input(&d.x)?, m.input(&d.cos)?, m.input(&d.sin)?);
            Ok(Rotary { x, cos, sin, y: m.output(&d.y, false)?, ..*d })
        };
        self.both(format!("{d:?}"), build, |b| b.rotary(d), |b, d| b.rotary(&d))
    }

    fn norm(&self, chunks: &[Tensor], y: &Tensor) -> Result<()> {
        let build = |m: &Mirror| {
            let chunks: Vec<Tensor> = chunks.iter().map(|t| m.input(t)).collect::<Result<_>>()?;
            Ok((chunks, m.output(y, false)?))
        };
        self.both(format!("norm {chunks:?}"), build, |b| b.norm(chunks, y), |b, (chunks, y)| b.norm(&chunks, &y))
    }

    fn adamw(&self, d: &AdamW) -> Result<()> {
        let build = |m: &Mirror| {
            let clip = d.clip.as_ref().map(|(norm, limit)| Ok::<_, Error>((m.input(norm)?, *limit))).transpose()?;
            let change = |t: &Option<Tensor>| t.as_ref().map(|t| m.output(t, true)).transpose();
            Ok(AdamW {
                param: m.output(&d.param, true)?,
                grad: m.output(&d.grad, true)?,
                m: m.output(&d.m, true)?,
                v: m.output(&d.v, true)?,
                ema: change(&d.ema)?,
                shadow: change(&d.shadow)?,
                clip,
                ..d.clone()
            })
        };
        self.both(format!("{d:?}"), build, |b| b.adamw(d), |b, d| b.adamw(&d))
    }

    fn random(&self, y: &Tensor, distribution: Distribution, seed: u64, counter: u64) -> Result<()> {
        let what = format!("random {y:?} {distribution:?} {seed} {counter}");
        let cpu = |b: &Cpu| b.random(y, distribution, seed, counter);
        self.both(what, |m| m.output(y, false), cpu, |b, y| b.random(&y, distribution, seed, counter))
    }
}
