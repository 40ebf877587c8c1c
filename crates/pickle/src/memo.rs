//! What a pickle has put aside to use again.

use std::collections::HashMap;

use crate::heap::Id;

/// Values by slot. Slots are counted up in all pickles that Python writes, and lie in a row; others are kept apart, so that
/// a large number costs no more than a small one.
#[derive(Default)]
pub struct Memo {
    row: Vec<Id>,
    apart: HashMap<u64, Id>,
}

impl Memo {
    /// Slots that are in use.
    pub fn len(&self) -> u64 {
        (self.row.len() + self.apart.len()) as u64
    }

    pub fn insert(&mut self, slot: u64, id: Id) {
        match usize::try_from(slot) {
            Ok(slot) if slot < self.row.len() => self.row[slot] = id,
            Ok(next) if next == self.row.len() && !self.apart.contains_key(&slot) => self.row.push(id),
            _ => drop(self.apart.insert(slot, id)),
        }
    }

    pub fn get(&self, slot: u64) -> Option<Id> {
        let in_row = usize::try_from(slot).ok().and_then(|slot| self.row.get(slot));
        in_row.or_else(|| self.apart.get(&slot)).copied()
    }
}
