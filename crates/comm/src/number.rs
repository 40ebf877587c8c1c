//! Numbers as bytes, and how those of several ranks become one on the host.

use crate::Reduction;

/// An element type, as bytes of this machine's order: all ranks run the same program.
pub trait Number: Copy {
    fn write(values: &[Self], bytes: &mut [u8]);
    fn read(bytes: &[u8], values: &mut [Self]);
    fn join(a: Self, b: Self, op: Reduction) -> Self;
    fn of(bytes: &[u8]) -> Self;
    fn put(self, bytes: &mut [u8]);
}

macro_rules! number {
    ($type:ty) => {
        impl Number for $type {
            fn write(values: &[Self], bytes: &mut [u8]) {
                bytes.chunks_exact_mut(size_of::<$type>()).zip(values).for_each(|(b, v)| v.put(b));
            }

            fn read(bytes: &[u8], values: &mut [Self]) {
                bytes.chunks_exact(size_of::<$type>()).zip(values).for_each(|(b, v)| *v = Self::of(b));
            }

            fn join(a: Self, b: Self, op: Reduction) -> Self {
                match op {
                    Reduction::Sum => a + b,
                    // What is no number stays seen.
                    Reduction::Max if b > a || b.is_nan() => b,
                    Reduction::Max => a,
                }
            }

            fn of(bytes: &[u8]) -> Self {
                Self::from_ne_bytes(bytes.try_into().expect("the size of an element"))
            }

            fn put(self, bytes: &mut [u8]) {
                bytes.copy_from_slice(&self.to_ne_bytes());
            }
        }
    };
}

number!(f32);
number!(f64);

/// Reduces the parts of `bytes` bytes each that lie one after another, in their order, into the first.
pub fn combine<N: Number>(parts: &mut [u8], bytes: usize, op: Reduction) {
    if bytes == 0 {
        return;
    }
    let (first, others) = parts.split_at_mut(bytes);
    for part in others.chunks_exact(bytes) {
        for (sum, value) in first.chunks_exact_mut(size_of::<N>()).zip(part.chunks_exact(size_of::<N>())) {
            N::join(N::of(sum), N::of(value), op).put(sum);
        }
    }
}
