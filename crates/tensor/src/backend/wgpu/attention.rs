//! Attention: sequences are cut into tiles on the host, whose table is kept with the offsets.

use super::{
    Wgpu,
    adapter::SHARED_MEMORY,
    call::{Call, Family, family},
    indices::Integers,
    memory::Block,
    source::Access,
};
use crate::{
    backend::{Attention, AttentionGrad, Columns},
    dtype::DType,
    error::{Code, Error, Result},
    tensor::Tensor,
};
use std::{ops::Range, sync::Arc};

const ATTENTION: Family = family!("attention");

/// Sequences that kernels see together, and where their tokens begin and end.
struct Part {
    sequences: Range<usize>,
    q: Range<usize>,
    kv: Range<usize>,
}

/// Tokens of a tile, and those walked over at a time, so that what lies in shared memory fits.
#[derive(Clone, Copy)]
struct Sizes {
    rows: usize,
    columns: usize,
}

/// The largest that fit: each side's tokens lie there `tables` times (queries, keys, …), and `weights` vectors of four rows a column.
fn sizes(head_dim: usize, tables: usize, weights: usize) -> Sizes {
    let pitch = head_dim.div_ceil(4) | 1;
    let fits = |s: &Sizes| {
        let fours = s.rows / 4;
        let vectors = tables * (s.rows + s.columns) * pitch + weights * s.columns * (fours + 1) + 8 * fours;
        16 * vectors <= SHARED_MEMORY as usize
    };
    let all = [(32, 32), (32, 16), (16, 16), (16, 8)].map(|(rows, columns)| Sizes { rows, columns });
    all.into_iter().find(fits).expect("heads of 128 columns fit")
}

fn forward_sizes(head_dim: usize) -> Sizes {
    sizes(head_dim, 1, 1)
}

fn backward_sizes(head_dim: usize) -> Sizes {
    sizes(head_dim, 2, 2)
}

/// Whether a head's rows can be read by fours.
fn aligned(c: &Columns, head_dim: usize) -> bool {
    let size = c.tensor.dtype.size();
    [c.stride, c.column, head_dim, c.tensor.offset / size].iter().all(|n| n.is_multiple_of(4))
}

/// Of each tile of `rows` tokens of one side: its first token and the one after its last, and those of the other side's sequence;
/// tokens are counted from the part's first.
fn tiles(own: &[i32], other: &[i32], part: &Range<usize>, rows: usize) -> Vec<u32> {
    let mut table = vec![];
    let (own0, other0) = (own[part.start], other[part.start]);
    for s in part.clone() {
        let (first, end) = (own[s] - own0, own[s + 1] - own0);
        for start in (first..end).step_by(rows) {
            let tile = [start, (start + rows as i32).min(end), other[s] - other0, other[s + 1] - other0];
            table.extend(tile.map(|v| v as u32));
        }
    }
    table
}

/// Tiles in a table of those of `tokens`.
fn count(table: &Block, tokens: &Range<usize>) -> usize {
    if tokens.is_empty() { 0 } else { table.len as usize / 16 }
}

/// Queries, keys and values of a part.
fn qkv<'a>(mut call: Call<'a>, d: &Attention, part: &Part) -> Result<Call<'a>> {
    for (name, columns, tokens) in [("q", &d.q, &part.q), ("k", &d.k, &part.kv), ("v", &d.v, &part.kv)] {
        call = call.rows_input(name, &tokens_of(columns, tokens)?, aligned(columns, d.head_dim))?;
    }
    Ok(call)
}

/// The rows of some tokens.
fn tokens_of(c: &Columns, tokens: &Range<usize>) -> Result<Tensor> {
    c.tensor.view(tokens.start * c.stride, &[tokens.len() * c.stride])
}

impl Wgpu {
    /// Cuts the sequences into parts of which no tensor's tokens are more than a kernel can see.
    fn sequences(&self, d: &Attention, q: &[i32], kv: &[i32]) -> Vec<Part> {
        let limit = self.gpu.limits.max_storage_buffer_binding_size.min(1 << 31) as usize - 512;
        let size = d.q.tensor.dtype.size();
        let q_row = d.q.stride.max(d.heads * d.head_dim) * size;
        let kv_row = d.k.stride.max(d.v.stride) * size;
        let mut parts: Vec<Part> = vec![];
        for s in 0..d.sequences {
            let (q, kv) = (q[s] as usize..q[s + 1] as usize, kv[s] as usize..kv[s + 1] as usize);
            match parts.last_mut() {
                Some(last) if (q.end - last.q.start) * q_row <= limit && (kv.end - last.kv.start) * kv_row <= limit => {
                    last.sequences.end = s + 1;
                    last.q.end = q.end;
                    last.kv.end = kv.end;
                }
                _ => parts.push(Part { sequences: s..s + 1, q, kv }),
            }
        }
        parts
    }

    /// The parts of the work, each with the tables of its tiles of queries and of keys.
    fn plan(&self, d: &Attention, sizes: Sizes) -> Result<Vec<(Part, [Arc<Block>; 2])>> {
        let tokens = |c: &Columns| c.tensor.len() / c.stride.max(1);
        let q = self.offsets(&d.q_offsets, tokens(&d.q), "offsets of queries")?;
        let kv = self.offsets(&d.kv_offsets, tokens(&d.k), "offsets of keys")?;
        if d.scale.is_nan() || d.scale < 0.0 {
            return Err(Error::new(Code::Argument, format!("the scale is {}, but it must not be negative", d.scale)));
        }
        let rows = sizes.rows;
        // Tables of one tensor are kept with it; those of two are made anew: they are small.
        let same = Arc::ptr_eq(&q.host, &kv.host) && q.offset == kv.offset;
        let make = |own: &Integers, other: &Integers, s: &Range<usize>| match same {
            true => own.table(self, "tiles", [s.start << 32 | s.end, rows], |own| tiles(own, own, s, rows)),
            false => Ok(Arc::new(self.table(&tiles(&own.values, &other.values, s, rows))?)),
        };
        self.sequences(d, &q.values, &kv.values)
            .into_iter()
            .map(|part| {
                let tables = [make(&q, &kv, &part.sequences)?, make(&kv, &q, &part.sequences)?];
                Ok((part, tables))
            })
            .collect()
    }

    pub(super) fn attend(&self, d: &Attention) -> Result<()> {
        let sizes = forward_sizes(d.head_dim);
        for (part, [tiles, _]) in self.plan(d, sizes)? {
            let width = d.heads * d.head_dim;
            let out = d.out.view(part.q.start * width, &[part.q.len() * width])?;
            let call = qkv(Call::new(self, ATTENTION, "forward"), d, &part)?;
            let call = call.output("out", &out, false)?.output("lse", &d.lse, false)?;
            let count = count(&tiles, &part.q);
            self.head(call, d, sizes, &tiles, &part)?.word("count", count).run(count * d.heads)?;
        }
        Ok(())
    }

    /// What all kernels are told of the heads and the tiles.
    fn head<'a>(
        &self,
        call: Call<'a>,
        d: &Attention,
        sizes: Sizes,
        tiles: &Arc<Block>,
        part: &Part,
    ) -> Result<Call<'a>> {
        let call = call.block("tiles", tiles, DType::I32, Access::Table)?;
        let call = call.constant("ROWS", format!("{}u", sizes.rows)).constant("COLUMNS", format!("{}u", sizes.columns));
        let call = call.constant("WIDE", format!("{}u", d.head_dim.div_ceil(4)));
        let call = call.constant("WHOLE", d.head_dim.is_multiple_of(4));
        let call = call.word("heads", d.heads).word("width", d.head_dim).float("scale", d.scale);
        let call = call.word("q_stride", d.q.stride).word("q_first", d.q.column);
        let call = call.word("k_stride", d.k.stride).word("k_first", d.k.column);
        let call = call.word("v_stride", d.v.stride).word("v_first", d.v.column);
        let tokens = d.lse.len() / d.heads.max(1);
        Ok(call.word("tokens", tokens).word("tokens_before", part.q.start))
    }

    pub(super) fn attend_grad(&self, d: &AttentionGrad) -> Result<()> {
        let f = &d.forward;
        let sizes = backward_sizes(f.head_dim);
        let width = f.heads * f.head_dim;
        for (part, [q_tiles, kv_tiles]) in self.plan(f, sizes)? {
            let of = |t: &Tensor| t.view(part.q.start * width, &[part.q.len() * width]);
            let (out, dout) = (of(&f.out)?, of(&d.dout)?);
            let fours = f.head_dim.is_multiple_of(4) && (dout.offset / dout.dtype.size()).is_multiple_of(4);
            let along = self.scratch(f.heads * part.q.len())?;
            // The head of the file speaks of queries, keys and values.
            let call = qkv(Call::new(self, ATTENTION, "along"), f, &part)?;
            let call = call.input("dout", &dout)?.input("result", &out)?;
            let call = call.block("along", &along, DType::F32, Access::Write)?;
            let call = self.head(call, f, sizes, &q_tiles, &part)?.word("count", part.q.len());
            call.run((part.q.len() * f.heads).div_ceil(64))?;
            for (entry, tiles) in [("queries_grad", &q_tiles), ("keys_grad", &kv_tiles)] {
                let queries = entry == "queries_grad";
                let mut call = qkv(Call::new(self, ATTENTION, entry), f, &part)?;
                call = call.rows_input("dout", &dout, fours)?;
                call = call.input("lse", &f.lse)?.block("along", &along, DType::F32, Access::Read)?;
                call = self.head(call, f, sizes, tiles, &part)?.word("along_tokens", part.q.len());
                call = match queries {
                    true => call.output("dq", &tokens_of(&d.dq, &part.q)?, false)?,
                    false => call.output("dk", &tokens_of(&d.dk, &part.kv)?, false)?.output(
                        "dv",
                        &tokens_of(&d.dv, &part.kv)?,
                        false,
                    )?,
                };
                call = match queries {
                    true => call.word("dq_stride", d.dq.stride).word("dq_first", d.dq.column),
                    false => call
                        .word("dk_stride", d.dk.stride)
                        .word("dk_first", d.dk.column)
                        .word("dv_stride", d.dv.stride)
                        .word("dv_first", d.dv.column),
                };
                let count = count(tiles, if queries { &part.q } else { &part.kv });
                call.word("count", count).run(count * f.heads)?;
            }
        }
        Ok(())
    }
}
