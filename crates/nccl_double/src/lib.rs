//! A test double: a library that has the functions of NVIDIA's driver and of NCCL that `avjepa-comm` uses, over host memory, for
//! machines without GPUs. One file is both: `AVJEPA_CUDA_LIBRARY` and `AVJEPA_NCCL_LIBRARY` name it. Nothing that passes with it has
//! been tried on a GPU.
//!
//! It is stricter than the real ones. Nothing happens when it is enqueued: streams go on only while somebody asks ([`streams`]), the
//! one that was made last first, so what does not wait for an event reads what is not there yet. Calls that do not block answer
//! "in progress" and are enqueued only once they are asked after. Addresses, sizes, contexts and the thread are checked, and ranks
//! compare what they call ([`board`]); what is wrong is an error with its reason in `ncclGetLastError`, or ends the process where
//! CUDA has no words for it. A rank is a thread: its state is the thread's.
//!
//! Its ranks meet in a folder of files, under `AVJEPA_NCCL_DOUBLE_DIR` or the system's folder for temporary ones.
//!
//!     AVJEPA_NCCL_DOUBLE_DEVICES=2                     GPUs of the machine (8)
//!     AVJEPA_NCCL_DOUBLE_VERSION=21000                 NCCL's version (22703)
//!     AVJEPA_NCCL_DOUBLE_FAULT=1:ncclAllReduce:3:die   what happens to a rank in its n-th call of a function: `die`, `return CODE`,
//!                                                      `async CODE`, `never` (it is never done)

mod board;
mod cuda;
mod faults;
mod nccl;
mod streams;
