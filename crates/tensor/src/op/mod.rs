//! One operation a file, each with its formula, shapes, forward, backward and tests. Messages call an operation by the name that
//! TypeScript gives it.
//!
//! Indices, labels and offsets live on the device, so the caller's thread cannot look at them: the kernels check each one before
//! they use it, and a bad one is an error at the next read.

pub mod adamw;
mod arithmetic;
pub mod assemble;
pub mod attention;
pub mod binary;
pub mod binary_cross_entropy;
pub mod cast;
mod check;
pub mod concat;
pub mod copy;
pub mod cross_entropy;
pub mod ema;
pub mod epps_pulley;
pub mod fill;
pub mod layer_norm;
pub mod linear;
pub mod lp_loss;
pub mod matmul;
pub mod mlp;
pub mod norm;
pub mod patchify;
pub mod permute;
pub mod random;
pub mod reduce;
pub mod reshape;
pub mod rotary;
pub mod segment_std;
pub mod slice;
pub mod softmax;
#[cfg(test)]
pub mod testing;
pub mod unary;

pub(crate) use check::same_device;

pub use adamw::adamw;
pub use assemble::{assemble, index_select};
pub use attention::{attention, cross_attention};
pub use binary::binary;
pub use binary_cross_entropy::binary_cross_entropy;
pub use cast::cast;
pub use concat::concat;
pub use copy::copy_;
pub use cross_entropy::cross_entropy;
pub use ema::ema_;
pub use epps_pulley::epps_pulley;
pub use fill::fill_;
pub use layer_norm::layer_norm;
pub use linear::linear;
pub use lp_loss::lp_loss;
pub use matmul::matmul;
pub use mlp::mlp;
pub use norm::norm;
pub use patchify::patchify;
pub use permute::permute;
pub use random::random;
pub use reduce::reduce;
pub use reshape::reshape;
pub use rotary::rotary;
pub use segment_std::segment_std;
pub use slice::slice;
pub use softmax::softmax;
pub use unary::unary;
