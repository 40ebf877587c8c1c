//! Equality with the PyTorch reference, case by case.

mod fixture;
mod masks;
mod rng;
