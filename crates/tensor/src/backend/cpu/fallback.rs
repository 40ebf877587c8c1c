//! Attention by its formula.

use super::element::{Input, Output, indices};
use crate::{
    backend::{Attention, AttentionGrad, Columns},
    error::Result,
};

fn head(c: &Columns, token: usize, head: usize, dim: usize) -> Result<Vec<f64>> {
    let mut out = vec![0.0; dim];
    Input::new(&c.tensor)?.load(token * c.stride + c.column + head * dim, &mut out);
    Ok(out)
}

fn dot(a: &[f64], b: &[f64]) -> f64 {
    a.iter().zip(b).map(|(a, b)| a * b).sum()
}

pub fn attention(d: &Attention) -> Result<()> {
    let (qs, ks) = (indices(&d.q_offsets)?, indices(&d.kv_offsets)?);
    let (out, lse) = (Output::new(&d.out)?, Output::new(&d.lse)?);
    let (dim, tokens) = (d.head_dim, d.out.shape[0]);
    for s in 0..d.sequences {
        for h in 0..d.heads {
            for i in qs[s] as usize..qs[s + 1] as usize {
                let q = head(&d.q, i, h, dim)?;
                let (mut scores, mut values) = (vec![], vec![]);
                for j in ks[s] as usize..ks[s + 1] as usize {
                    scores.push(d.scale * dot(&q, &head(&d.k, j, h, dim)?));
                    values.push(head(&d.v, j, h, dim)?);
                }
                let max = scores.iter().copied().fold(f64::NEG_INFINITY, f64::max);
                let sum: f64 = scores.iter().map(|s| (s - max).exp()).sum();
                let mut o = vec![0.0; dim];
                for (score, v) in scores.iter().zip(&values) {
                    let p = (score - max).exp() / sum;
                    o.iter_mut().zip(v).for_each(|(o, v)| *o += p * v);
                }
                out.store(i * d.heads * dim + h * dim, &o);
                lse.store(h * tokens + i, &[max + sum.ln()]);
            }
        }
    }
    Ok(())
}

pub fn attention_grad(g: &AttentionGrad) -> Result<()> {
    let d = &g.forward;
    let (qs, ks) = (indices(&d.q_offsets)?, indices(&d.kv_offsets)?);
    let (dim, tokens) = (d.head_dim, d.out.shape[0]);
    let (lse, dout, out) = (Input::new(&d.lse)?.to_vec::<f64>(), Input::new(&g.dout)?, Input::new(&d.out)?);
    let (dq, dk, dv) = (Output::new(&g.dq.tensor)?, Output::new(&g.dk.tensor)?, Output::new(&g.dv.tensor)?);
    for s in 0..d.sequences {
        let (queries, keys) = (qs[s] as usize..qs[s + 1] as usize, ks[s] as usize..ks[s + 1] as usize);
        for h in 0..d.heads {
            let mut gk = vec![vec![0.0; dim]; keys.len()];
            let mut gv = gk.clone();
            for i in queries.clone() {
                let (mut o, mut go, mut gq) = (vec![0.0; dim], vec![0.0; dim], vec![0.0; dim]);
                out.load(i * d.heads * dim + h * dim, &mut o);
                dout.load(i * d.heads * dim + h * dim, &mut go);
                let (q, delta) = (head(&d.q, i, h, dim)?, dot(&o, &go));
                for (n, j) in keys.clone().enumerate() {
                    let (k, v) = (head(&d.k, j, h, dim)?, head(&d.v, j, h, dim)?);
                    let p = (d.scale * dot(&q, &k) - lse[h * tokens + i]).exp();
                    let ds = p * (dot(&go, &v) - delta) * d.scale;
                    for c in 0..dim {
                        gq[c] += ds * k[c];
                        gk[n][c] += ds * q[c];
                        gv[n][c] += p * go[c];
                    }
                }
                dq.store(i * g.dq.stride + g.dq.column + h * dim, &gq);
            }
            for (n, j) in keys.clone().enumerate() {
                dk.store(j * g.dk.stride + g.dk.column + h * dim, &gk[n]);
                dv.store(j * g.dv.stride + g.dv.column + h * dim, &gv[n]);
            }
        }
    }
    Ok(())
}
