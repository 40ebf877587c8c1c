//! Row numbers and offsets: checked on the host, as the CPU checks them, and turned into tables that share out work.

use super::{
    Wgpu,
    memory::{Block, Host},
};
use crate::{
    error::{Code, Error, Result},
    tensor::Tensor,
};
use std::sync::Arc;

/// An integer tensor's values.
pub struct Integers {
    pub host: Arc<Host>,
    /// Where the tensor begins in the buffer that `host` is a copy of; part of the key of tables.
    pub offset: usize,
    pub values: Vec<i32>,
}

impl Integers {
    /// The table `kind`, made once for these values and `key`.
    pub fn table(
        &self,
        on: &Wgpu,
        kind: &'static str,
        key: [usize; 2],
        make: impl FnOnce(&[i32]) -> Vec<u32>,
    ) -> Result<Arc<Block>> {
        let key = [self.offset, self.values.len(), key[0], key[1]];
        self.host.derived(kind, key, || on.table(&make(&self.values)))
    }
}

impl Wgpu {
    pub(super) fn values(&self, t: &Tensor) -> Result<Integers> {
        if t.is_empty() {
            return Ok(Integers { host: Host::new(vec![]), offset: 0, values: vec![] });
        }
        let host = self.integers(t)?;
        let bytes = &host.bytes[t.offset..t.offset + t.bytes()];
        let values = bytes.chunks_exact(4).map(|b| i32::from_le_bytes([b[0], b[1], b[2], b[3]])).collect();
        Ok(Integers { host, offset: t.offset, values })
    }

    /// I32 indices, each within `0 .. limit`; `what` names one of them in the error.
    pub(super) fn below(&self, t: &Tensor, limit: usize, what: &str) -> Result<Integers> {
        let indices = self.values(t)?;
        match indices.values.iter().position(|&i| i < 0 || i as usize >= limit) {
            None => Ok(indices),
            Some(at) => {
                let value = indices.values[at];
                let message = format!("{what} {at} is {value}, but there are {limit} to choose from");
                Err(Error::new(Code::Argument, message))
            }
        }
    }

    /// I32 offsets of packed sequences: from 0, never falling, up to the number of tokens.
    pub(super) fn offsets(&self, t: &Tensor, tokens: usize, what: &str) -> Result<Integers> {
        let integers = self.values(t)?;
        let offsets = &integers.values;
        let message = match (offsets.first(), offsets.last(), offsets.windows(2).position(|w| w[0] > w[1])) {
            (Some(&first), ..) if first != 0 => format!("{what} start at {first}, not at 0"),
            (.., Some(i)) => format!("{what} fall from {} to {} after sequence {i}", offsets[i], offsets[i + 1]),
            (_, Some(&last), _) if last as usize != tokens => {
                format!("{what} end at {last}, but there are {tokens} tokens")
            }
            _ => return Ok(integers),
        };
        Err(Error::new(Code::Argument, message))
    }
}

/// Of `rows`, those that fall on each of `first .. first + count`, in their order: where each one's list starts (one more at the
/// end), then the lists.
pub fn lists(rows: &[i32], first: usize, count: usize) -> Vec<u32> {
    let place = |row: i32| (row as usize).checked_sub(first).filter(|at| *at < count && row >= 0);
    let mut starts = vec![0u32; count + 1];
    for at in rows.iter().filter_map(|&row| place(row)) {
        starts[at + 1] += 1;
    }
    for i in 0..count {
        starts[i + 1] += starts[i];
    }
    let mut next = starts.clone();
    let mut lists = vec![0u32; starts[count] as usize];
    for (m, at) in rows.iter().enumerate().filter_map(|(m, &row)| Some((m, place(row)?))) {
        lists[next[at] as usize] = m as u32;
        next[at] += 1;
    }
    starts.extend(lists);
    starts
}

#[cfg(test)]
mod tests {
    use super::lists;

    #[test]
    fn lists_keep_the_order() {
        assert_eq!(lists(&[3, 1, 3, 0, 9], 1, 3), [0, 1, 1, 3, 1, 0, 2]);
        assert_eq!(lists(&[], 0, 2), [0, 0, 0]);
        assert_eq!(lists(&[-1, 5], 0, 1), [0, 0]);
    }
}
