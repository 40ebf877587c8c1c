//! The addon: names, argument checks and error mapping between JavaScript and the crates below. No arithmetic.
//!
//! Tensor operations cross by one call, `call(op, args, out)`, whose arguments and results are plain numbers: through napi, or
//! through `bun:ffi` on the same symbol of the same file. What moves bytes or waits (upload, read, the loader) is napi only.

#![cfg_attr(test, allow(dead_code, reason = "napi leaves its exports out of test builds"))]

mod comm;
mod handles;
mod media;
mod table;
mod tensors;
mod torch_file;
mod wire;

/// Runs once, when the addon is loaded.
#[napi_derive::module_init]
fn init() {
    avjepa_panics::install();
}
