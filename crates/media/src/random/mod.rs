//! Random streams.
//!
//! Two families live here. [`torch`], [`numpy`] and [`python`] reproduce, draw for draw, the generators behind the
//! PyTorch reference, so that its masks, clips and augmentations can be compared bit by bit. [`SampleRng`] is the
//! generator that training uses by default: it is counter-based, so what a sample contains depends on
//! (seed, pass, sample index, purpose) only, never on threads, ranks or what was drawn before.

pub mod distributed_sampler;
pub mod mt19937;
pub mod numpy;
pub mod philox;
pub mod python;
pub mod sample;
pub mod torch;

pub use distributed_sampler::distributed_sampler;
pub use mt19937::Mt19937;
pub use numpy::NumpyRng;
pub use philox::philox4x32_10;
pub use python::PythonRng;
pub use sample::{Purpose, SampleRng};
pub use torch::TorchRng;
