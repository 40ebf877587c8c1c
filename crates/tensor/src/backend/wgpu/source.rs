//! The text of a kernel: the functions by which it reaches its tensors, its parameters and constants, then its family's file.
//!
//! A family's file is written for elements of any type. For a tensor `x` it calls `x(i)`, the value of element i, for one that it
//! writes `put_y(i, value)`, `put2_y(i, a, b)` (two neighbours) and `old_y(i)`. bfloat16 lies packed, two in a word, and is computed
//! with in f32; a word may belong to two threads, so halves are exchanged atomically.

use crate::dtype::DType;
use std::fmt::Write;

/// How a kernel reaches a tensor.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Access {
    Read,
    Write,
    /// `put` adds to what is there.
    Add,
    /// Reads only; i and the tensor's start are multiples of four in `x4(i)`, four neighbours, which is one load then.
    Read4,
    /// By `raw_x(i)`: the bits of an element as two words, whatever its type.
    ReadBits,
    /// By `put_raw_y(i, bits)`.
    WriteBits,
    /// Words, as they are.
    Table,
}

/// One tensor of a kernel.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Binding {
    pub name: &'static str,
    pub dtype: DType,
    pub access: Access,
}

/// A number that differs from call to call.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Field {
    Word(&'static str),
    Float(&'static str),
}

/// Helpers for every family.
const MATH: &str = include_str!("kernels/math.wgsl");

/// Sums over the threads that share a row, for families whose constants say how many those are.
const GROUP: &str = include_str!("kernels/group.wgsl");

/// What a line that begins a part of a file starts with: the part is for the entry, or variant, named after it only.
const ENTRY: &str = "//: entry ";

/// The whole module of one entry: the head of its family's file, and its own part.
pub fn assemble(
    bindings: &[Binding],
    fields: &[Field],
    constants: &[(&'static str, String)],
    family: &str,
    entry: &str,
    subgroups: bool,
) -> String {
    let mut text = String::from("struct Params {\n");
    for b in bindings {
        let _ = writeln!(text, "    {}_start: u32,", b.name);
    }
    for field in fields {
        let _ = match field {
            Field::Word(name) => writeln!(text, "    {name}: u32,"),
            Field::Float(name) => writeln!(text, "    {name}: f32,"),
        };
    }
    text.push_str("}\n@group(0) @binding(0) var<uniform> p: Params;\n");
    for (name, value) in constants {
        let kind = if is_type(name) { "alias" } else { "const" };
        let _ = writeln!(text, "{kind} {name} = {value};");
    }
    text.push_str(MATH);
    if constants.iter().any(|(name, _)| *name == "WIDTH") {
        push_part(&mut text, GROUP, if subgroups { "subgroups" } else { "shared" });
    }
    for (i, b) in bindings.iter().enumerate() {
        let storage = storage(b);
        let _ = writeln!(text, "@group(0) @binding({}) var<storage, read_write> {}_data: {storage};", i + 1, b.name);
        text.push_str(&functions(b).replace("NAME", b.name));
    }
    push_part(&mut text, family, entry);
    text
}

/// Of the constants, those in capitals are numbers.
fn is_type(name: &str) -> bool {
    name == "T" || name.contains(char::is_lowercase)
}

/// The head of a file, and the part that is named.
fn push_part(text: &mut String, file: &str, part: &str) {
    let mut own = true;
    for line in file.lines() {
        match line.strip_prefix(ENTRY) {
            Some(name) => own = name.trim() == part,
            None if own => text.extend([line, "\n"]),
            None => {}
        }
    }
}

/// Elements are reached word by word; those that are part of a word and written, atomically.
fn storage(b: &Binding) -> &'static str {
    match (b.access, b.dtype) {
        (Access::Read4, DType::F32) => "array<vec4<f32>>",
        (Access::Read4, _) => "array<vec2<u32>>",
        (Access::Write | Access::Add | Access::WriteBits, DType::BF16 | DType::U8) => "array<atomic<u32>>",
        (Access::ReadBits | Access::WriteBits | Access::Table, _) => "array<u32>",
        (_, DType::F32) => "array<f32>",
        (_, DType::I32) => "array<i32>",
        (..) => "array<u32>",
    }
}

fn functions(b: &Binding) -> String {
    match b.access {
        Access::Read => read(b.dtype).into(),
        Access::Read4 => read4(b.dtype).into(),
        Access::ReadBits => read_bits(b.dtype).into(),
        Access::WriteBits => write_bits(b.dtype).into(),
        Access::Table => "fn NAME(i: u32) -> u32 { return NAME_data[i]; }\n".into(),
        Access::Write => write_values(b.dtype).replace("SUM", "value"),
        Access::Add => write_values(b.dtype).replace("SUM", "old_NAME(i) + value"),
    }
}

fn read(dtype: DType) -> &'static str {
    match dtype {
        DType::F32 => {
            "fn NAME(i: u32) -> f32 { return NAME_data[p.NAME_start + i]; }\n\
             fn NAME4(i: u32) -> vec4<f32> { return vec4(NAME(i), NAME(i + 1u), NAME(i + 2u), NAME(i + 3u)); }\n"
        }
        DType::I32 => "fn NAME(i: u32) -> i32 { return NAME_data[p.NAME_start + i]; }\n",
        DType::BF16 => {
            "fn NAME(i: u32) -> f32 { let j = p.NAME_start + i; return bf16_half(NAME_data[j >> 1u], j); }\n\
             fn NAME4(i: u32) -> vec4<f32> { return vec4(NAME(i), NAME(i + 1u), NAME(i + 2u), NAME(i + 3u)); }\n"
        }
        DType::U8 => {
            "fn NAME(i: u32) -> u32 { let j = p.NAME_start + i; return (NAME_data[j >> 2u] >> ((j & 3u) * 8u)) & 0xffu; }\n"
        }
        DType::I64 | DType::F64 => unreachable!("refused where tensors are bound"),
    }
}

fn read4(dtype: DType) -> &'static str {
    match dtype {
        DType::F32 => {
            "fn NAME(i: u32) -> f32 { let j = p.NAME_start + i; return NAME_data[j >> 2u][j & 3u]; }\n\
             fn NAME4(i: u32) -> vec4<f32> { return NAME_data[(p.NAME_start + i) >> 2u]; }\n"
        }
        _ => {
            "fn NAME(i: u32) -> f32 { let j = p.NAME_start + i; return bf16_half(NAME_data[j >> 2u][(j >> 1u) & 1u], j); }\n\
             fn NAME4(i: u32) -> vec4<f32> {\n\
                 let w = NAME_data[(p.NAME_start + i) >> 2u];\n\
                 return bitcast<vec4<f32>>(vec4(w.x << 16u, w.x & 0xffff0000u, w.y << 16u, w.y & 0xffff0000u));\n\
             }\n"
        }
    }
}

fn write_values(dtype: DType) -> &'static str {
    match dtype {
        DType::F32 => {
            "fn old_NAME(i: u32) -> f32 { return NAME_data[p.NAME_start + i]; }\n\
             fn put_NAME(i: u32, value: f32) { NAME_data[p.NAME_start + i] = SUM; }\n\
             fn put2_NAME(i: u32, a: f32, b: f32) { put_NAME(i, a); put_NAME(i + 1u, b); }\n"
        }
        DType::I32 => {
            "fn old_NAME(i: u32) -> i32 { return NAME_data[p.NAME_start + i]; }\n\
             fn put_NAME(i: u32, value: i32) { NAME_data[p.NAME_start + i] = SUM; }\n\
             fn put2_NAME(i: u32, a: i32, b: i32) { put_NAME(i, a); put_NAME(i + 1u, b); }\n"
        }
        DType::BF16 => {
            "fn old_NAME(i: u32) -> f32 { let j = p.NAME_start + i; return bf16_half(atomicLoad(&NAME_data[j >> 1u]), j); }\n\
             fn sum_NAME(i: u32, value: f32) -> f32 { return SUM; }\n\
             fn put_NAME(i: u32, value: f32) {\n\
                 let j = p.NAME_start + i;\n\
                 let bits = to_bf16(sum_NAME(i, value)) << ((j & 1u) * 16u);\n\
                 atomicAnd(&NAME_data[j >> 1u], select(0xffff0000u, 0xffffu, (j & 1u) == 1u));\n\
                 atomicOr(&NAME_data[j >> 1u], bits);\n\
             }\n\
             fn put2_NAME(i: u32, a: f32, b: f32) {\n\
                 let j = p.NAME_start + i;\n\
                 if (j & 1u) == 0u {\n\
                     let high = to_bf16(sum_NAME(i + 1u, b));\n\
                     atomicStore(&NAME_data[j >> 1u], to_bf16(sum_NAME(i, a)) | (high << 16u));\n\
                 } else {\n\
                     put_NAME(i, a);\n\
                     put_NAME(i + 1u, b);\n\
                 }\n\
             }\n"
        }
        _ => unreachable!("kernels write bytes and long integers as bits"),
    }
}

fn read_bits(dtype: DType) -> &'static str {
    match dtype.size() {
        8 => {
            "fn raw_NAME(i: u32) -> vec2<u32> { let j = 2u * (p.NAME_start + i); return vec2(NAME_data[j], NAME_data[j + 1u]); }\n"
        }
        4 => "fn raw_NAME(i: u32) -> vec2<u32> { return vec2(NAME_data[p.NAME_start + i], 0u); }\n",
        2 => {
            "fn raw_NAME(i: u32) -> vec2<u32> {\n\
                 let j = p.NAME_start + i;\n\
                 return vec2((NAME_data[j >> 1u] >> ((j & 1u) * 16u)) & 0xffffu, 0u);\n\
             }\n"
        }
        _ => {
            "fn raw_NAME(i: u32) -> vec2<u32> {\n\
                 let j = p.NAME_start + i;\n\
                 return vec2((NAME_data[j >> 2u] >> ((j & 3u) * 8u)) & 0xffu, 0u);\n\
             }\n"
        }
    }
}

fn write_bits(dtype: DType) -> &'static str {
    match dtype.size() {
        8 => {
            "fn put_raw_NAME(i: u32, bits: vec2<u32>) {\n\
                 let j = 2u * (p.NAME_start + i);\n\
                 NAME_data[j] = bits.x;\n\
                 NAME_data[j + 1u] = bits.y;\n\
             }\n\
             fn put2_raw_NAME(i: u32, a: vec2<u32>, b: vec2<u32>) { put_raw_NAME(i, a); put_raw_NAME(i + 1u, b); }\n"
        }
        4 => {
            "fn put_raw_NAME(i: u32, bits: vec2<u32>) { NAME_data[p.NAME_start + i] = bits.x; }\n\
             fn put2_raw_NAME(i: u32, a: vec2<u32>, b: vec2<u32>) { put_raw_NAME(i, a); put_raw_NAME(i + 1u, b); }\n"
        }
        2 => {
            "fn put_raw_NAME(i: u32, bits: vec2<u32>) {\n\
                 let j = p.NAME_start + i;\n\
                 let shift = (j & 1u) * 16u;\n\
                 atomicAnd(&NAME_data[j >> 1u], ~(0xffffu << shift));\n\
                 atomicOr(&NAME_data[j >> 1u], bits.x << shift);\n\
             }\n\
             fn put2_raw_NAME(i: u32, a: vec2<u32>, b: vec2<u32>) {\n\
                 let j = p.NAME_start + i;\n\
                 if (j & 1u) == 0u {\n\
                     atomicStore(&NAME_data[j >> 1u], a.x | (b.x << 16u));\n\
                 } else {\n\
                     put_raw_NAME(i, a);\n\
                     put_raw_NAME(i + 1u, b);\n\
                 }\n\
             }\n"
        }
        _ => {
            "fn put_raw_NAME(i: u32, bits: vec2<u32>) {\n\
                 let j = p.NAME_start + i;\n\
                 let shift = (j & 3u) * 8u;\n\
                 atomicAnd(&NAME_data[j >> 2u], ~(0xffu << shift));\n\
                 atomicOr(&NAME_data[j >> 2u], bits.x << shift);\n\
             }\n\
             fn put2_raw_NAME(i: u32, a: vec2<u32>, b: vec2<u32>) { put_raw_NAME(i, a); put_raw_NAME(i + 1u, b); }\n"
        }
    }
}
