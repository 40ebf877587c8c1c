//! What a device must be able to do: one required method an operation, on plain descriptors. A missing kernel does not compile.
//!
//! The shapes and types in a descriptor have been checked by `op/`; a backend checks nothing and composes nothing. Output tensors
//! are written whole (unless `accumulate`), inputs never. Integer tensors (indices, offsets) are `I32`.
//! *Float* below means F32, BF16 or F64; arithmetic is in f32 for F32 and BF16, in f64 for F64.

pub mod cpu;
pub mod wgpu;

use crate::{
    dtype::DType,
    error::Result,
    tensor::{Allocation, Tensor},
};

/// How the operands of `C[m,n] = A·B` are stored.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Layout {
    /// A `[m,k]`, B `[n,k]`: a linear layer's forward.
    NT,
    /// A `[m,k]`, B `[k,n]`: its input gradient.
    NN,
    /// A `[k,m]`, B `[k,n]`: its weight gradient.
    TN,
}

#[derive(Clone, Debug)]
pub enum Epilogue {
    None,
    /// `pre = acc + bias; c = gelu(pre)` (exact, by erf).
    Gelu {
        pre: Tensor,
    },
    /// `c = acc · gelu'(pre)`.
    GeluGrad {
        pre: Tensor,
    },
    /// `c = acc + bias + residual`.
    Residual {
        residual: Tensor,
    },
}

/// Matrix product. Operands may be of other types than `compute`: f32 operands are rounded to bf16 when computing in bf16, bf16 ones
/// widened when computing in f32. With `batch > 1` the operands are that many contiguous matrices, one after another.
#[derive(Clone, Debug)]
pub struct Gemm {
    pub layout: Layout,
    pub batch: usize,
    pub m: usize,
    pub n: usize,
    pub k: usize,
    pub a: Tensor,
    pub b: Tensor,
    pub c: Tensor,
    /// F32, BF16 (f32 accumulation) or F64.
    pub compute: DType,
    /// `[n]`, F32 (F64 when computing in F64).
    pub bias: Option<Tensor>,
    pub epilogue: Epilogue,
    /// `c += …` (with `Epilogue::None` or `GeluGrad` only).
    pub accumulate: bool,
}

/// Columns `column .. column + heads·head_dim` of a `[tokens, stride]` tensor.
#[derive(Clone, Debug)]
pub struct Columns {
    pub tensor: Tensor,
    pub column: usize,
    pub stride: usize,
}

/// Attention within sequences of packed tokens: tokens `q_offsets[s] .. q_offsets[s+1]` of q see tokens `kv_offsets[s] ..
/// kv_offsets[s+1]` of k and v. All of one float type. A query without keys gives 0 and a log-sum-exp of −∞.
#[derive(Clone, Debug)]
pub struct Attention {
    pub heads: usize,
    pub head_dim: usize,
    pub scale: f64,
    pub sequences: usize,
    pub q_offsets: Tensor,
    pub kv_offsets: Tensor,
    pub q: Columns,
    pub k: Columns,
    pub v: Columns,
    /// `[q tokens, heads·head_dim]`.
    pub out: Tensor,
    /// `[heads, q tokens]`, F32 (F64 for F64): log Σ exp of the scaled scores.
    pub lse: Tensor,
}

#[derive(Clone, Debug)]
pub struct AttentionGrad {
    pub forward: Attention,
    pub dout: Tensor,
    /// Written, not accumulated; types and strides as q, k, v.
    pub dq: Columns,
    pub dk: Columns,
    pub dv: Columns,
}

/// `y = (x + residual − mean)·rstd·weight + bias` over the last axis. Sum, mean and variance (biased) in f32 (f64 for F64).
#[derive(Clone, Debug)]
pub struct LayerNorm {
    /// `[rows, columns]`.
    pub x: Tensor,
    pub weight: Option<Tensor>,
    pub bias: Option<Tensor>,
    pub eps: f64,
    /// `[rows, columns]`, any float type.
    pub y: Tensor,
    /// `[rows]` each, F32 (F64 for F64).
    pub mean: Tensor,
    pub rstd: Tensor,
}

#[derive(Clone, Debug)]
pub struct LayerNormGrad {
    pub x: Tensor,
    pub weight: Option<Tensor>,
    pub mean: Tensor,
    pub rstd: Tensor,
    pub dy: Tensor,
    /// Gradient of x and whether it is added to what is there.
    pub dx: Option<(Tensor, bool)>,
    pub dweight: Option<(Tensor, bool)>,
    pub dbias: Option<(Tensor, bool)>,
}

/// Cuts tubelets out of a video (or patches out of a picture or spectrogram) and lays each kept one down as a row.
///
/// `x` is either float `[B, C, T, H, W]`, or U8 `[B, T, H, W, C]` (as decoders write), which becomes `(x/255 − mean[c])/std[c]`.
/// Row r of `y` is token `rows[r]`, counted over the batch: `b·N + (t·gh + i)·gw + j`, N = gt·gh·gw tokens a sample.
/// Columns are in the order of a convolution's weight: `((c·tubelet + dt)·patch_h + di)·patch_w + dj`.
#[derive(Clone, Debug)]
pub struct Patchify {
    pub x: Tensor,
    /// `[B, C, T, H, W]` whatever the storage.
    pub size: [usize; 5],
    /// `[tubelet, patch_h, patch_w]`; what does not fill a patch at the end of an axis is dropped.
    pub patch: [usize; 3],
    /// `[R]` I32; all tokens in order when absent.
    pub rows: Option<Tensor>,
    /// Per channel, for U8 only.
    pub mean: Vec<f64>,
    pub std: Vec<f64>,
    /// `[R, C·tubelet·patch_h·patch_w]`, float.
    pub y: Tensor,
}

/// Rows picked from several sources, each with a position row added: `y[m] = source[rows[m]] + table[positions[m]]`, sources counted
/// one after another.
#[derive(Clone, Debug)]
pub struct Assemble {
    /// `[R_i, D]` each, float.
    pub sources: Vec<Tensor>,
    /// `[M]` I32.
    pub rows: Tensor,
    /// `[P, D]` and `[M]` I32.
    pub table: Option<(Tensor, Tensor)>,
    /// `[M, D]` float.
    pub y: Tensor,
}

/// `dst[rows[m] − first] (+)= src[m]` for every m whose row lies in `first .. first + R`; rows that occur more than once are summed in
/// the order of m. Rows nothing is sent to become 0 (unless accumulating).
#[derive(Clone, Debug)]
pub struct ScatterAdd {
    /// `[M, D]` float.
    pub src: Tensor,
    /// `[M]` I32.
    pub rows: Tensor,
    pub first: usize,
    /// `[R, D]` float.
    pub dst: Tensor,
    pub accumulate: bool,
}

/// One line of the JEPA loss: `y[m] = mean_d |z[m,d] − t[m,d]|^p / p`, t the affine-free layer norm of `h[rows[m]]`.
#[derive(Clone, Debug)]
pub struct LpLoss {
    /// `[M, D]` float.
    pub z: Tensor,
    /// `[R, D]` float.
    pub h: Tensor,
    /// `[M]` I32.
    pub rows: Tensor,
    pub p: f64,
    /// Of the layer norm; without it h is taken as it is.
    pub norm_eps: Option<f64>,
    /// `[M]`, F32 (F64 for F64).
    pub y: Tensor,
}

/// `dz[m,d] = dy[m]/D · |z − t|^(p−1) · sign(z − t)`, 0 where z = t.
#[derive(Clone, Debug)]
pub struct LpLossGrad {
    pub forward: LpLoss,
    pub dy: Tensor,
    pub dz: (Tensor, bool),
}

/// Standard deviation over the tokens of each packed sequence: `y[s,d] = sqrt(var_m x[m,d] + eps)`, unbiased (a sequence of one token
/// has variance 0).
#[derive(Clone, Debug)]
pub struct SegmentStd {
    /// `[M, D]` float.
    pub x: Tensor,
    /// `[S+1]` I32.
    pub offsets: Tensor,
    pub eps: f64,
    /// `[S, D]`, F32 (F64 for F64).
    pub y: Tensor,
}

/// Cross-entropy with integer labels: `loss[m] = logsumexp(x[m]) − x[m, label[m]]`, optional label smoothing.
#[derive(Clone, Debug)]
pub struct CrossEntropy {
    /// `[M, C]` float.
    pub x: Tensor,
    /// `[M]` I32.
    pub labels: Tensor,
    pub smoothing: f64,
    /// `[M]`, F32 (F64 for F64).
    pub loss: Tensor,
    /// `[M]`, likewise: log-sum-exp, for backward.
    pub lse: Tensor,
}

/// Binary cross-entropy with logits, elementwise: `max(x,0) − x·t + log(1 + exp(−|x|))`.
#[derive(Clone, Debug)]
pub struct BinaryCrossEntropy {
    pub x: Tensor,
    /// As x, F32 (F64 for F64).
    pub targets: Tensor,
    pub loss: Tensor,
}

/// Epps-Pulley statistic of SIGReg (LeJEPA, arXiv 2511.08544): per column s of x,
/// `y[s] = N · Σ_k weight[k] · ((mean_n cos(t_k x) − exp(−t_k²/2))² + (mean_n sin(t_k x))²)`.
#[derive(Clone, Debug)]
pub struct EppsPulley {
    /// `[N, S]` float.
    pub x: Tensor,
    pub knots: Vec<f64>,
    pub weights: Vec<f64>,
    /// `[S]`, F32 (F64 for F64).
    pub y: Tensor,
    /// `[S, K, 2]`: the means of cosine and sine, for backward.
    pub means: Tensor,
}

#[derive(Clone, Debug)]
pub struct EppsPulleyGrad {
    pub forward: EppsPulley,
    pub dy: Tensor,
    pub dx: (Tensor, bool),
}

/// Rotates pairs of columns of each head by angles, in place of learned positions: for token m, head h and pair (i, j) of `pairs`,
/// `(x_i, x_j) → (x_i cos − x_j sin, x_j cos + x_i sin)` with the cosine and sine of column i (resp. j) of row m of the tables.
#[derive(Clone, Debug)]
pub struct Rotary {
    /// Heads of which tensor; the columns outside are copied.
    pub x: Tensor,
    pub heads: usize,
    pub head_dim: usize,
    /// First column of the heads and the number of columns of a row of x.
    pub column: usize,
    /// `[M, head_dim]` F32 (F64 for F64): cosine and sine by token and column.
    pub cos: Tensor,
    pub sin: Tensor,
    /// Backward: the transpose of the rotation.
    pub transpose: bool,
    pub y: Tensor,
}

#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Unary {
    Neg,
    Abs,
    Exp,
    Log,
    Sqrt,
    Rsqrt,
    Square,
    Reciprocal,
    Sin,
    Cos,
    Tanh,
    Sigmoid,
    Relu,
    /// Exact, by erf.
    Gelu,
    GeluGrad,
    Erf,
    Sign,
    /// 1 where x > 0, else 0.
    Step,
    /// 1 where x is finite, else 0.
    IsFinite,
    /// `x·scale + shift`.
    Affine {
        scale: f64,
        shift: f64,
    },
    Pow {
        exponent: f64,
    },
    Clamp {
        min: f64,
        max: f64,
    },
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Binary {
    Add,
    Sub,
    Mul,
    Div,
    Max,
    Min,
    Pow,
    /// 1 or 0.
    Equal,
    Less,
}

/// `y = op(a, b)` over `shape`; strides in elements, 0 where an operand is broadcast. All of one float type (or I32, no `Pow`).
#[derive(Clone, Debug)]
pub struct Broadcast {
    pub op: Binary,
    pub a: Tensor,
    pub a_strides: Vec<usize>,
    pub b: Tensor,
    pub b_strides: Vec<usize>,
    pub y: Tensor,
    /// `y += …`.
    pub accumulate: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reduction {
    Sum,
    Mean,
    Max,
    Min,
}

/// Reduces the middle of `[outer, n, inner]`, in an order that depends on the shape only.
#[derive(Clone, Debug)]
pub struct Reduce {
    pub op: Reduction,
    pub x: Tensor,
    pub outer: usize,
    pub n: usize,
    pub inner: usize,
    /// `[outer, inner]`; a bf16 x may be reduced into F32.
    pub y: Tensor,
    pub accumulate: bool,
}

/// Copies a block of `rows × columns` elements between two row-major matrices: the whole of slicing and concatenating.
#[derive(Clone, Debug)]
pub struct CopyBlock {
    pub src: Tensor,
    pub src_start: usize,
    pub src_stride: usize,
    pub dst: Tensor,
    pub dst_start: usize,
    pub dst_stride: usize,
    pub rows: usize,
    pub columns: usize,
    /// `dst += src` (floats only).
    pub accumulate: bool,
}

/// One chunk of parameters in AdamW's pass (Loshchilov & Hutter, arXiv 1711.05101), as PyTorch orders it:
/// `g' = g·min(1, clip/(norm+1e-6)); p *= 1 − lr·wd; m = β1 m + (1−β1) g'; v = β2 v + (1−β2) g'²;`
/// `p −= lr·(m/(1−β1^t)) / (sqrt(v)/sqrt(1−β2^t) + eps)`, then `ema = momentum·ema + (1−momentum)·p` and the bf16 copy.
#[derive(Clone, Debug)]
pub struct AdamW {
    /// All `[n]`, F32 or F64.
    pub param: Tensor,
    pub grad: Tensor,
    pub m: Tensor,
    pub v: Tensor,
    pub ema: Option<Tensor>,
    /// `[n]` BF16.
    pub shadow: Option<Tensor>,
    /// `[1]`: the norm of the whole clipped group, and the limit.
    pub clip: Option<(Tensor, f64)>,
    pub lr: f64,
    pub weight_decay: f64,
    pub beta1: f64,
    pub beta2: f64,
    pub eps: f64,
    /// 1 at the first step.
    pub step: u64,
    pub momentum: f64,
    /// Leaves `grad` zero for the next step.
    pub zero_grad: bool,
}

#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Distribution {
    /// `[low, high)`.
    Uniform {
        low: f64,
        high: f64,
    },
    Normal {
        mean: f64,
        std: f64,
    },
    /// Normal cut at `mean ± bound·std` by the inverse of its distribution function; ±∞ never occurs.
    TruncatedNormal {
        mean: f64,
        std: f64,
        low: f64,
        high: f64,
    },
}

/// What a device of another than the host's memory has done since it was opened.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counters {
    /// Kernels run, and submissions that brought them there.
    pub dispatches: u64,
    pub submissions: u64,
    /// Bytes from host to device and back.
    pub uploaded: u64,
    pub downloaded: u64,
}

pub trait Backend: Send + Sync {
    /// For people: `avx512bf16, 2 threads`.
    fn describe(&self) -> String;
    /// Zeros for the CPU.
    fn counters(&self) -> Counters;

    fn alloc(&self, bytes: usize) -> Result<Box<dyn Allocation>>;
    /// Host to device; `bytes` is as long as `dst`.
    fn write(&self, dst: &Tensor, bytes: &[u8]) -> Result<()>;
    /// Device to host.
    fn read(&self, src: &Tensor, bytes: &mut [u8]) -> Result<()>;
    /// Of several tensors at once, for devices that are slow to begin a copy; `bytes` are as long as each of them.
    fn read_all(&self, sources: &[Tensor], bytes: &mut [Vec<u8>]) -> Result<()>;
    /// Waits until everything asked for so far has been done, and says what of it failed.
    fn finish(&self) -> Result<()>;

    fn fill(&self, y: &Tensor, value: f64) -> Result<()>;
    /// Any type to any type; floats to integers truncate, bf16 rounds to nearest even. Same type: a copy.
    fn cast(&self, x: &Tensor, y: &Tensor) -> Result<()>;
    fn unary(&self, op: Unary, x: &Tensor, y: &Tensor) -> Result<()>;
    fn broadcast(&self, d: &Broadcast) -> Result<()>;
    fn reduce(&self, d: &Reduce) -> Result<()>;
    /// `y` is x with its axes in the order `axes`.
    fn permute(&self, x: &Tensor, axes: &[usize], y: &Tensor) -> Result<()>;
    fn copy_block(&self, d: &CopyBlock) -> Result<()>;
    /// Over rows of the last axis.
    fn softmax(&self, x: &Tensor, y: &Tensor) -> Result<()>;
    /// `dx = y·(dy − Σ dy·y)`.
    fn softmax_grad(&self, y: &Tensor, dy: &Tensor, dx: &Tensor) -> Result<()>;

    fn gemm(&self, d: &Gemm) -> Result<()>;
    fn attention(&self, d: &Attention) -> Result<()>;
    fn attention_grad(&self, d: &AttentionGrad) -> Result<()>;
    fn layer_norm(&self, d: &LayerNorm) -> Result<()>;
    fn layer_norm_grad(&self, d: &LayerNormGrad) -> Result<()>;
    fn patchify(&self, d: &Patchify) -> Result<()>;
    /// The gradient of a float `x`, in `dx` (written whole) from that of `y`, which stands in `d.y`.
    fn patchify_grad(&self, d: &Patchify, dx: &Tensor) -> Result<()>;
    fn assemble(&self, d: &Assemble) -> Result<()>;
    fn scatter_add(&self, d: &ScatterAdd) -> Result<()>;
    fn lp_loss(&self, d: &LpLoss) -> Result<()>;
    fn lp_loss_grad(&self, d: &LpLossGrad) -> Result<()>;
    fn segment_std(&self, d: &SegmentStd) -> Result<()>;
    /// `dx[m,d] (+)= dy[s,d]·(x − mean)/((n−1)·y[s,d])`.
    fn segment_std_grad(&self, d: &SegmentStd, dy: &Tensor, dx: &Tensor, accumulate: bool) -> Result<()>;
    fn cross_entropy(&self, d: &CrossEntropy) -> Result<()>;
    fn cross_entropy_grad(&self, d: &CrossEntropy, dy: &Tensor, dx: &Tensor, accumulate: bool) -> Result<()>;
    fn binary_cross_entropy(&self, d: &BinaryCrossEntropy) -> Result<()>;
    fn binary_cross_entropy_grad(
        &self,
        d: &BinaryCrossEntropy,
        dy: &Tensor,
        dx: &Tensor,
        accumulate: bool,
    ) -> Result<()>;
    fn epps_pulley(&self, d: &EppsPulley) -> Result<()>;
    fn epps_pulley_grad(&self, d: &EppsPulleyGrad) -> Result<()>;
    fn rotary(&self, d: &Rotary) -> Result<()>;

    /// `y[0] = sqrt(Σ x²)` over all the chunks, summed in f64 in a fixed order; Inf or NaN when any element is.
    fn norm(&self, chunks: &[Tensor], y: &Tensor) -> Result<()>;
    fn adamw(&self, d: &AdamW) -> Result<()>;
    /// Philox4x32-10: element i comes from counter `counter + i/4` under key `seed`, so equal calls give equal bytes on every device.
    fn random(&self, y: &Tensor, distribution: Distribution, seed: u64, counter: u64) -> Result<()>;
}
