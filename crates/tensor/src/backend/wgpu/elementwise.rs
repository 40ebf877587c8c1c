//! Kernels that take one element, or two neighbours, a thread.

use super::{
    Wgpu,
    call::{Call, Family, family, no_float64},
};
use crate::{
    backend::{Binary, Broadcast, CopyBlock, Unary},
    dtype::{DType, f32_to_bf16},
    error::{Code, Error, Result},
    tensor::Tensor,
};
use std::ops::Range;

const UNARY: Family = family!("unary");
const BROADCAST: Family = family!("broadcast");
const COPY: Family = family!("copy");

/// Axes that a kernel can walk through.
const RANK: usize = 8;
/// Names of the sizes and of the strides of two operands.
const SIZES: [&str; RANK] = ["n0", "n1", "n2", "n3", "n4", "n5", "n6", "n7"];
const STRIDES_A: [&str; RANK] = ["a0", "a1", "a2", "a3", "a4", "a5", "a6", "a7"];
const STRIDES_B: [&str; RANK] = ["b0", "b1", "b2", "b3", "b4", "b5", "b6", "b7"];

/// Groups of 256 threads for `count` elements, two a thread.
pub fn pairs(count: usize) -> usize {
    count.div_ceil(512)
}

impl Wgpu {
    /// Cuts `rows` rows into parts of which no tensor's share is more than a kernel can see; `bytes` are those of a row of each.
    pub(super) fn parts(&self, rows: usize, bytes: &[usize]) -> Vec<Range<usize>> {
        let limit = self.gpu.limits.max_storage_buffer_binding_size.min(1 << 31) as usize - 512;
        let most = bytes.iter().copied().max().unwrap_or(1).max(1);
        // A multiple of 512 where there are many: parts begin at whole words, whatever the type.
        let part = match limit / most {
            n if n >= 512 => n / 512 * 512,
            n => n.max(1),
        };
        (0..rows).step_by(part).map(|start| start..(start + part).min(rows)).collect()
    }

    pub(super) fn fill_with(&self, y: &Tensor, value: f64) -> Result<()> {
        let [low, high] = match y.dtype {
            DType::F32 => [(value as f32).to_bits(), 0],
            DType::BF16 => [u32::from(f32_to_bf16(value as f32)), 0],
            DType::I32 => [value as i32 as u32, 0],
            DType::U8 => [u32::from(value as u8), 0],
            DType::I64 => [value as i64 as u32, (value as i64 >> 32) as u32],
            DType::F64 => return Err(no_float64(&self.gpu.name)),
        };
        for part in self.parts(y.len(), &[y.dtype.size()]) {
            let y = y.view(part.start, &[part.len()])?;
            let call = Call::new(self, COPY, "fill").output_bits("y", &y)?.word("count", y.len());
            call.word("low", low as usize).word("high", high as usize).run(pairs(y.len()))?;
        }
        Ok(())
    }

    pub(super) fn convert(&self, x: &Tensor, y: &Tensor) -> Result<()> {
        let number = |dtype| match dtype {
            DType::F32 => Ok("0u"),
            DType::BF16 => Ok("1u"),
            DType::I32 => Ok("2u"),
            DType::I64 => Ok("3u"),
            DType::U8 => Ok("4u"),
            DType::F64 => Err(no_float64(&self.gpu.name)),
        };
        if x.dtype == y.dtype {
            let (n, stride) = (x.len(), x.len());
            let whole = CopyBlock {
                src: x.clone(),
                src_start: 0,
                src_stride: stride,
                dst: y.clone(),
                dst_start: 0,
                dst_stride: stride,
                rows: 1,
                columns: n,
                accumulate: false,
            };
            return self.copy_rows(&whole);
        }
        for part in self.parts(x.len(), &[x.dtype.size(), y.dtype.size()]) {
            let (x, y) = (x.view(part.start, &[part.len()])?, y.view(part.start, &[part.len()])?);
            let call = Call::new(self, COPY, "conversion").input_bits("x", &x)?.output_bits("y", &y)?;
            let call = call.constant("FROM", number(x.dtype)?).constant("TO", number(y.dtype)?);
            call.word("count", x.len()).run(pairs(x.len()))?;
        }
        Ok(())
    }

    pub(super) fn apply(&self, op: Unary, x: &Tensor, y: &Tensor) -> Result<()> {
        let (number, a, b) = match op {
            Unary::Neg => (0, 0.0, 0.0),
            Unary::Abs => (1, 0.0, 0.0),
            Unary::Exp => (2, 0.0, 0.0),
            Unary::Log => (3, 0.0, 0.0),
            Unary::Sqrt => (4, 0.0, 0.0),
            Unary::Rsqrt => (5, 0.0, 0.0),
            Unary::Square => (6, 0.0, 0.0),
            Unary::Reciprocal => (7, 0.0, 0.0),
            Unary::Sin => (8, 0.0, 0.0),
            Unary::Cos => (9, 0.0, 0.0),
            Unary::Tanh => (10, 0.0, 0.0),
            Unary::Sigmoid => (11, 0.0, 0.0),
            Unary::Relu => (12, 0.0, 0.0),
            Unary::Gelu => (13, 0.0, 0.0),
            Unary::GeluGrad => (14, 0.0, 0.0),
            Unary::Erf => (15, 0.0, 0.0),
            Unary::Sign => (16, 0.0, 0.0),
            Unary::Step => (17, 0.0, 0.0),
            Unary::IsFinite => (18, 0.0, 0.0),
            Unary::Affine { scale, shift } => (19, scale, shift),
            Unary::Pow { exponent } => (20, exponent, 0.0),
            Unary::Clamp { min, max } => (21, min, max),
        };
        for part in self.parts(x.len(), &[x.dtype.size(), y.dtype.size()]) {
            let (x, y) = (x.view(part.start, &[part.len()])?, y.view(part.start, &[part.len()])?);
            let call = Call::new(self, UNARY, "unary").input("x", &x)?.output("y", &y, false)?;
            let call = call.constant("OP", format!("{number}u")).word("count", x.len());
            call.float("a", a).float("b", b).run(pairs(x.len()))?;
        }
        Ok(())
    }

    pub(super) fn combine(&self, d: &Broadcast) -> Result<()> {
        let number = match d.op {
            Binary::Add => 0,
            Binary::Sub => 1,
            Binary::Mul => 2,
            Binary::Div => 3,
            Binary::Max => 4,
            Binary::Min => 5,
            Binary::Pow => 6,
            Binary::Equal => 7,
            Binary::Less => 8,
        };
        let integer = d.y.dtype == DType::I32;
        if integer && d.op == Binary::Pow {
            return Err(Error::new(Code::DType, "int32 tensors have no powers").hint("cast to a float type first"));
        }
        if integer && d.op == Binary::Div && self.holds_zero(&d.b)? {
            return Err(Error::new(Code::Argument, "division of an int32 tensor by zero"));
        }
        let rank = self.rank(&d.y.shape)?;
        // One axis may be cut; operands of one element are seen whole.
        let cut = rank == 1 && d.a_strides[0] <= 1 && d.b_strides[0] <= 1;
        let bytes: &[usize] = if cut { &[4] } else { &[0] };
        for part in self.parts(d.y.len(), bytes) {
            let side = |t: &Tensor, stride: &[usize]| match cut && stride[0] == 1 {
                true => t.view(part.start, &[part.len()]),
                false => Ok(t.clone()),
            };
            let (a, b, y) = (side(&d.a, &d.a_strides)?, side(&d.b, &d.b_strides)?, side(&d.y, &[1])?);
            let call = Call::new(self, BROADCAST, if integer { "integers" } else { "floats" });
            let mut call = call.input("a", &a)?.input("b", &b)?.output("y", &y, d.accumulate)?;
            for (i, name) in SIZES.into_iter().enumerate() {
                let size = if cut && i == 0 { part.len() } else { d.y.shape.get(i).copied().unwrap_or(1) };
                call = call.word(name, size);
            }
            for (names, strides) in [(STRIDES_A, &d.a_strides), (STRIDES_B, &d.b_strides)] {
                for (i, name) in names.into_iter().enumerate() {
                    call = call.word(name, strides.get(i).copied().unwrap_or(0));
                }
            }
            let call = call.constant("OP", format!("{number}u")).constant("RANK", format!("{}u", rank.max(1)));
            call.word("count", part.len()).run(if integer { part.len().div_ceil(256) } else { pairs(part.len()) })?;
        }
        Ok(())
    }

    fn holds_zero(&self, t: &Tensor) -> Result<bool> {
        if t.is_empty() {
            return Ok(false);
        }
        let host = self.integers(t)?;
        let bytes = &host.bytes[t.offset..t.offset + t.bytes()];
        Ok(bytes.chunks_exact(4).any(|word| word == [0; 4]))
    }

    fn rank(&self, shape: &[usize]) -> Result<usize> {
        match shape.len() {
            rank if rank <= RANK => Ok(rank),
            rank => {
                Err(Error::new(Code::Shape, format!("{}: {rank} axes of {shape:?}, more than {RANK}", self.gpu.name))
                    .hint("join axes by a reshape"))
            }
        }
    }

    pub(super) fn reorder(&self, x: &Tensor, axes: &[usize], y: &Tensor) -> Result<()> {
        let rank = self.rank(&y.shape)?;
        let mut strides = vec![1; rank];
        for i in (1..rank).rev() {
            strides[i - 1] = strides[i] * x.shape[i];
        }
        let mut call = Call::new(self, COPY, "permute").input_bits("x", x)?.output_bits("y", y)?;
        for (i, name) in SIZES.into_iter().enumerate() {
            call = call.word(name, y.shape.get(i).copied().unwrap_or(1));
        }
        for (i, name) in STRIDES_A.into_iter().enumerate() {
            call = call.word(name, axes.get(i).map_or(0, |&axis| strides[axis]));
        }
        call.constant("RANK", format!("{}u", rank.max(1))).word("count", y.len()).run(pairs(y.len()))
    }

    pub(super) fn copy_rows(&self, d: &CopyBlock) -> Result<()> {
        if d.rows == 0 || d.columns == 0 {
            return Ok(());
        }
        // One long row is cut by columns, many by rows.
        let size = d.src.dtype.size();
        let by_row = d.rows > 1;
        let (count, bytes) = match by_row {
            true => (d.rows, [d.src_stride * size, d.dst_stride * size]),
            false => (d.columns, [size, size]),
        };
        for part in self.parts(count, &bytes) {
            let (rows, columns) = if by_row { (part.len(), d.columns) } else { (1, part.len()) };
            let side = |t: &Tensor, start: usize, stride: usize| {
                let first = start + part.start * if by_row { stride } else { 1 };
                t.view(first, &[(rows - 1) * stride + columns])
            };
            let (src, dst) = (side(&d.src, d.src_start, d.src_stride)?, side(&d.dst, d.dst_start, d.dst_stride)?);
            let call = match d.accumulate {
                true => Call::new(self, COPY, "block_add").input("x", &src)?.output("y", &dst, true)?,
                false => Call::new(self, COPY, "block").input_bits("x", &src)?.output_bits("y", &dst)?,
            };
            let call = call.word("rows", rows).word("columns", columns).word("x_first", 0).word("y_first", 0);
            let call = call.word("x_stride", d.src_stride).word("y_stride", d.dst_stride);
            call.run((rows * columns.div_ceil(2)).div_ceil(256))?;
        }
        Ok(())
    }
}
