//! Tensors with gradients, on one in-order queue a device.
//!
//! [`tensor::Tensor`] is bytes, a shape and a type. [`autograd::Var`] is a tensor that gradients may flow through. `op/` holds one
//! operation a file: its formula, shape check, forward and backward, composed of the kernels of [`backend::Backend`].

pub mod autograd;
pub mod backend;
pub mod device;
pub mod dtype;
pub mod error;
pub mod op;
pub mod philox;
pub mod tensor;
pub mod trace;

pub use autograd::Var;
pub use device::Device;
pub use dtype::DType;
pub use error::{Code, Error, Result};
pub use tensor::Tensor;
