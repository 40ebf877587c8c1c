//! Tensors that JavaScript holds. A handle is one number: 24 bits of slot and 29 of generation, exact in a double; a freed slot's
//! next tenant has another generation, so a stale handle is an error and never another tensor.

use avjepa_tensor::{Code, Error, Result, Var};
use std::sync::{LazyLock, Mutex};

const SLOT_BITS: u32 = 24;
const SLOTS: usize = 1 << SLOT_BITS;
const GENERATIONS: u64 = 1 << 29;

struct Slot {
    generation: u64,
    var: Option<Var>,
}

#[derive(Default)]
struct Table {
    slots: Vec<Slot>,
    free: Vec<usize>,
    live: usize,
}

static TABLE: LazyLock<Mutex<Table>> = LazyLock::new(Mutex::default);

fn table() -> std::sync::MutexGuard<'static, Table> {
    // A poisoned table is still whole: every change to it is a single assignment.
    TABLE.lock().unwrap_or_else(|poisoned| poisoned.into_inner())
}

/// Gives a variable a handle (never 0).
pub fn put(var: Var) -> Result<f64> {
    let mut table = table();
    let slot = match table.free.pop() {
        Some(slot) => slot,
        None if table.slots.len() < SLOTS => {
            table.slots.push(Slot { generation: 1, var: None });
            table.slots.len() - 1
        }
        None => {
            return Err(Error::new(Code::Handle, format!("more than {SLOTS} tensors are alive"))
                .hint("wrap each training step in scope(() => …), which frees what the step made"));
        }
    };
    table.live += 1;
    let slot_ref = &mut table.slots[slot];
    slot_ref.var = Some(var);
    Ok((slot_ref.generation << SLOT_BITS | slot as u64) as f64)
}

/// The variable behind a handle.
pub fn get(handle: f64) -> Result<Var> {
    let table = table();
    let (slot, generation) = split(handle);
    match table.slots.get(slot) {
        Some(s) if s.generation == generation && s.var.is_some() => Ok(s.var.clone().expect("checked")),
        _ => Err(stale(handle)),
    }
}

/// Forgets a handle; the bytes go when the device has no more use for them.
pub fn free(handle: f64) -> Result<()> {
    let mut table = table();
    let (slot, generation) = split(handle);
    let var = match table.slots.get_mut(slot) {
        Some(s) if s.generation == generation && s.var.is_some() => {
            s.generation = (s.generation + 1) % GENERATIONS;
            // Generation 0 would let slot 0 have the handle 0, which means "no tensor".
            s.generation = s.generation.max(1);
            s.var.take()
        }
        _ => return Err(stale(handle)),
    };
    table.free.push(slot);
    table.live -= 1;
    drop(table);
    // Outside the lock: dropping a variable may free a whole graph.
    drop(var);
    Ok(())
}

/// How many tensors JavaScript holds.
pub fn live() -> usize {
    table().live
}

fn split(handle: f64) -> (usize, u64) {
    let bits = handle as u64;
    ((bits & (SLOTS as u64 - 1)) as usize, bits >> SLOT_BITS)
}

fn stale(handle: f64) -> Error {
    Error::new(Code::Handle, format!("tensor {handle} has been freed, or never was"))
        .hint("a tensor made inside scope(() => …) lives on only if the function returns it")
}

#[cfg(test)]
mod tests {
    use super::*;
    use avjepa_tensor::{DType, Tensor, backend::cpu};

    #[test]
    fn a_freed_handle_stays_dead_when_its_slot_is_taken_again() {
        let device = cpu::device();
        let var = || Var::constant(Tensor::zeros(&device, &[2], DType::F32));
        let first = put(var()).unwrap();
        free(first).unwrap();
        assert_eq!(free(first).unwrap_err().code, Code::Handle);
        let second = put(var()).unwrap();
        assert_ne!(first, second);
        assert!(get(first).is_err() && get(second).is_ok());
        for wrong in [0.0, -1.0, f64::NAN, 1e300, 0.5] {
            assert!(get(wrong).is_err(), "{wrong}");
        }
        free(second).unwrap();
    }
}
