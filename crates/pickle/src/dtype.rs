//! Element types of torch.

/// An element type, named as torch names it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DType {
    Float64,
    Float32,
    Float16,
    BFloat16,
    Int64,
    Int32,
    Int16,
    Int8,
    UInt64,
    UInt32,
    UInt16,
    UInt8,
    Bool,
    Complex128,
    Complex64,
    Complex32,
    Float8E4M3Fn,
    Float8E5M2,
}

/// Type, name after `torch.`, name of its storage, bytes.
const TYPES: [(DType, &str, &str, u64); 18] = [
    (DType::Float64, "float64", "DoubleStorage", 8),
    (DType::Float32, "float32", "FloatStorage", 4),
    (DType::Float16, "float16", "HalfStorage", 2),
    (DType::BFloat16, "bfloat16", "BFloat16Storage", 2),
    (DType::Int64, "int64", "LongStorage", 8),
    (DType::Int32, "int32", "IntStorage", 4),
    (DType::Int16, "int16", "ShortStorage", 2),
    (DType::Int8, "int8", "CharStorage", 1),
    (DType::UInt64, "uint64", "", 8),
    (DType::UInt32, "uint32", "", 4),
    (DType::UInt16, "uint16", "", 2),
    (DType::UInt8, "uint8", "ByteStorage", 1),
    (DType::Bool, "bool", "BoolStorage", 1),
    (DType::Complex128, "complex128", "ComplexDoubleStorage", 16),
    (DType::Complex64, "complex64", "ComplexFloatStorage", 8),
    (DType::Complex32, "complex32", "", 4),
    (DType::Float8E4M3Fn, "float8_e4m3fn", "", 1),
    (DType::Float8E5M2, "float8_e5m2", "", 1),
];

impl DType {
    /// By its name, `float32`.
    pub fn named(name: &str) -> Option<Self> {
        TYPES.iter().find(|(_, own, ..)| *own == name).map(|(dtype, ..)| *dtype)
    }

    /// By the name of its storage, `FloatStorage`. Untyped storages count bytes.
    pub fn of_storage(name: &str) -> Option<Self> {
        match name {
            "UntypedStorage" => Some(Self::UInt8),
            _ => TYPES.iter().find(|(_, _, storage, _)| *storage == name).map(|(dtype, ..)| *dtype),
        }
    }

    fn row(self) -> &'static (Self, &'static str, &'static str, u64) {
        &TYPES[self as usize]
    }

    pub fn name(self) -> &'static str {
        self.row().1
    }

    /// Bytes of an element.
    pub fn size(self) -> u64 {
        self.row().3
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_table_is_in_the_order_of_the_types() {
        for (i, (dtype, name, storage, _)) in TYPES.iter().enumerate() {
            assert_eq!(*dtype as usize, i);
            assert_eq!(DType::named(name), Some(*dtype));
            assert!(storage.is_empty() || DType::of_storage(storage) == Some(*dtype));
        }
        assert_eq!(DType::named("qint8"), None);
    }
}
