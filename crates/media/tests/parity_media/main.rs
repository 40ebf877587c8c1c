//! Equality with the PyTorch reference, case by case.

mod clip_sampling;
mod fixture;
mod masks;
mod rng;
mod spectrogram;
mod transforms;
