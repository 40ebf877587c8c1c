//! Operations of arbitrary sizes and types against their formulas in plain loops.

mod common;

use avjepa_tensor::{
    DType, Tensor, Var,
    backend::{Binary, Reduction},
    op,
};
use common::{distance, indices, random, shared, tolerance, values};
use proptest::prelude::*;

fn constant(shape: &[usize], dtype: DType, seed: u64) -> Var {
    Var::constant(random(&shared(), shape, dtype, seed))
}

fn float() -> impl Strategy<Value = DType> {
    prop_oneof![Just(DType::F32), Just(DType::BF16), Just(DType::F64)]
}

/// `⟨y, dy⟩ = ⟨x, dx⟩`, which any linear operation's gradient must fulfil; in float64.
fn adjoint(x: &Tensor, f: impl Fn(&Var) -> Var) -> (f64, f64) {
    let leaf = Var::leaf(x.clone(), None).unwrap();
    let y = f(&leaf);
    let dy = random(&shared(), &y.tensor.shape, y.tensor.dtype, 99);
    let dot = |a: &Tensor, b: &Tensor| values(a).iter().zip(values(b)).map(|(a, b)| a * b).sum::<f64>();
    let left = dot(&y.tensor, &dy);
    avjepa_tensor::autograd::backward(&[(y, dy)]).unwrap();
    (left, dot(x, &leaf.grad().unwrap()))
}

fn near((left, right): (f64, f64)) -> bool {
    (left - right).abs() <= 1e-10 * (1.0 + left.abs())
}

/// Row-major position of the element of x that is broadcast to element `at` of `shape`.
fn stretched(x: &[usize], shape: &[usize], mut at: usize) -> usize {
    let (mut stride, mut position) = (1, 0);
    for (i, &n) in shape.iter().enumerate().rev() {
        if let Some(axis) = (i + x.len()).checked_sub(shape.len()) {
            position += if x[axis] == 1 { 0 } else { at % n } * stride;
            stride *= x[axis];
        }
        at /= n;
    }
    position
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 40, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn broadcasting(shape in prop::collection::vec(1usize..6, 0..5), cut in 0usize..3, ones: [u8; 2], dtype in float()) {
        let with_ones = |bits: u8| -> Vec<usize> {
            shape.iter().enumerate().map(|(i, &n)| if bits >> i & 1 == 1 { 1 } else { n }).collect()
        };
        let (a, b) = (with_ones(ones[0]), with_ones(ones[1] & !ones[0]));
        let b = &b[cut.min(b.len())..];
        let (a, b) = (constant(&a, dtype, 1), constant(b, dtype, 2));
        let (left, right) = (values(&a.tensor), values(&b.tensor));
        for (op, f) in [
            (Binary::Add, (|a, b| a + b) as fn(f64, f64) -> f64),
            (Binary::Sub, |a, b| a - b),
            (Binary::Mul, |a, b| a * b),
            (Binary::Max, f64::max),
            (Binary::Less, |a, b| f64::from(a < b)),
        ] {
            let y = op::binary(&a, &b, op).unwrap().tensor;
            let at = |t: &Tensor, v: &[f64], i| v[stretched(&t.shape, &y.shape, i)];
            let expected: Vec<f64> = (0..y.len()).map(|i| f(at(&a.tensor, &left, i), at(&b.tensor, &right, i))).collect();
            prop_assert!(distance(&values(&y), &expected) <= tolerance(dtype));
        }
    }

    #[test]
    fn reductions(shape in prop::collection::vec(1usize..7, 1..5), mask in 1u8..16, keepdim: bool, dtype in float()) {
        let axes: Vec<i64> = (0..shape.len()).filter(|i| mask >> i & 1 == 1).map(|i| i as i64).collect();
        prop_assume!(!axes.is_empty());
        let x = constant(&shape, dtype, 1);
        let kept: Vec<usize> = shape.iter().enumerate().map(|(i, &n)| if axes.contains(&(i as i64)) { 1 } else { n }).collect();
        let left: Vec<usize> = kept.iter().enumerate().filter(|(i, _)| keepdim || !axes.contains(&(*i as i64))).map(|(_, &n)| n).collect();
        let mut groups = vec![vec![]; kept.iter().product()];
        for (i, v) in values(&x.tensor).into_iter().enumerate() {
            groups[stretched(&kept, &shape, i)].push(v);
        }
        for (op, f) in [
            (Reduction::Sum, (|g| g.iter().sum()) as fn(&[f64]) -> f64),
            (Reduction::Mean, |g| g.iter().sum::<f64>() / g.len() as f64),
            (Reduction::Max, |g| g.iter().copied().fold(f64::NEG_INFINITY, f64::max)),
            (Reduction::Min, |g| g.iter().copied().fold(f64::INFINITY, f64::min)),
        ] {
            let y = op::reduce(&x, &axes, keepdim, op).unwrap().tensor;
            prop_assert_eq!((&y.shape, y.dtype), (&left, dtype));
            let expected: Vec<f64> = groups.iter().map(|g| f(g)).collect();
            prop_assert!(distance(&values(&y), &expected) <= tolerance(dtype), "{:?}", op);
        }
        let x = random(&shared(), &shape, DType::F64, 3);
        prop_assert!(near(adjoint(&x, |x| op::reduce(x, &axes, keepdim, Reduction::Mean).unwrap())));
    }

    /// Cut into pieces and joined again, turned and turned back.
    #[test]
    fn there_and_back(
        shape in prop::collection::vec(0usize..6, 1..5),
        axis in 0usize..4,
        cuts in prop::collection::vec(0usize..6, 0..4),
        turn in 0usize..24,
        dtype in float(),
    ) {
        let x = constant(&shape, dtype, 1);
        let axis = axis % shape.len();
        let mut ends: Vec<usize> = cuts.iter().map(|&c| c.min(shape[axis])).chain([0, shape[axis]]).collect();
        ends.sort_unstable();
        let pieces: Vec<Var> =
            ends.windows(2).map(|w| op::slice(&x, axis as i64, w[0] as i64, w[1] as i64).unwrap()).collect();
        let joined = op::concat(&pieces.iter().collect::<Vec<_>>(), axis as i64).unwrap().tensor;
        prop_assert_eq!((values(&joined), &joined.shape), (values(&x.tensor), &shape));

        let mut left: Vec<i64> = (0..shape.len() as i64).collect();
        let mut turn = turn;
        let mut axes = vec![];
        while !left.is_empty() {
            axes.push(left.remove(turn % left.len()));
            turn /= 2;
        }
        let mut back = vec![0; axes.len()];
        axes.iter().enumerate().for_each(|(i, &a)| back[a as usize] = i as i64);
        let turned = op::permute(&x, &axes).unwrap();
        let again = op::permute(&turned, &back).unwrap().tensor;
        prop_assert_eq!((values(&again), &again.shape), (values(&x.tensor), &shape));
        let flat = op::reshape(&turned, &[turned.tensor.len() as i64]).unwrap().tensor;
        let [mut a, mut b] = [values(&flat), values(&x.tensor)];
        a.sort_by(f64::total_cmp);
        b.sort_by(f64::total_cmp);
        prop_assert_eq!(a, b);
    }

    #[test]
    fn products(m in 0usize..40, n in 1usize..70, k in 0usize..50, transpose: bool, compute in float(), other in float()) {
        let dtype = if (compute == DType::F64) == (other == DType::F64) { other } else { compute };
        let a = constant(&[m, k], dtype, 1);
        let b = constant(&if transpose { [n, k] } else { [k, n] }, dtype, 2);
        let y = op::matmul(&a, &b, transpose, compute).unwrap().tensor;
        prop_assert_eq!((&y.shape[..], y.dtype), (&[m, n][..], compute));
        // Operands are rounded to the type computed in.
        let rounded = |v: &Var| values(&op::cast(v, if compute == DType::BF16 { compute } else { dtype }).unwrap().tensor);
        let (a, b) = (rounded(&a), rounded(&b));
        let mut expected = vec![0.0; m * n];
        for i in 0..m {
            for j in 0..n {
                expected[i * n + j] = (0..k).map(|l| a[i * k + l] * if transpose { b[j * k + l] } else { b[l * n + j] }).sum();
            }
        }
        prop_assert!(distance(&values(&y), &expected) <= tolerance(compute));
    }

    #[test]
    fn attention_over_packed_tokens(
        lengths in prop::collection::vec((0usize..20, 0usize..20), 1..5),
        heads in 1usize..4,
        head_dim in prop_oneof![1usize..40, Just(64usize), Just(128)],
        scale in prop_oneof![Just(None), (0.0f64..2.0).prop_map(Some)],
        dtype in float(),
    ) {
        let device = shared();
        let offsets = |pick: fn(&(usize, usize)) -> usize| {
            lengths.iter().fold(vec![0], |mut o, l| { o.push(o[o.len() - 1] + pick(l) as i32); o })
        };
        let (qo, ko) = (offsets(|l| l.0), offsets(|l| l.1));
        let (rows, keys) = (qo[lengths.len()] as usize, ko[lengths.len()] as usize);
        let dim = heads * head_dim;
        let (q, kv) = (constant(&[rows, dim], dtype, 1), constant(&[keys, 2 * dim], dtype, 2));
        let y = op::cross_attention(&q, &kv, &indices(&device, &qo), &indices(&device, &ko), heads, scale).unwrap().tensor;
        let (q, kv) = (values(&q.tensor), values(&kv.tensor));
        let scale = scale.unwrap_or((head_dim as f64).powf(-0.5));
        let mut expected = vec![0.0; rows * dim];
        for s in 0..lengths.len() {
            for i in qo[s] as usize..qo[s + 1] as usize {
                for h in 0..heads {
                    let at = |j: usize, side: usize, c: usize| kv[j * 2 * dim + side * dim + h * head_dim + c];
                    let keys = ko[s] as usize..ko[s + 1] as usize;
                    let score = |j: usize| scale * (0..head_dim).map(|c| q[i * dim + h * head_dim + c] * at(j, 0, c)).sum::<f64>();
                    let weights: Vec<f64> = keys.clone().map(|j| score(j).exp()).collect();
                    let total: f64 = weights.iter().sum();
                    for c in 0..head_dim {
                        let sum: f64 = keys.clone().zip(&weights).map(|(j, w)| w * at(j, 1, c)).sum();
                        expected[i * dim + h * head_dim + c] = if keys.is_empty() { 0.0 } else { sum / total };
                    }
                }
            }
        }
        prop_assert!(distance(&values(&y), &expected) <= tolerance(dtype));
    }

    #[test]
    fn normalisation(rows in 0usize..9, columns in 2usize..300, affine: bool, x_type in float(), narrow: bool) {
        let out = match x_type { DType::F64 => DType::F64, _ if narrow => DType::BF16, _ => DType::F32 };
        let x = constant(&[rows, columns], x_type, 1);
        let wide = if x_type == DType::F64 { DType::F64 } else { DType::F32 };
        let (w, b) = (constant(&[columns], wide, 2), constant(&[columns], wide, 3));
        let y = op::layer_norm(&x, affine.then_some(&w), affine.then_some(&b), 1e-5, out).unwrap().tensor;
        let (w, b) = (values(&w.tensor), values(&b.tensor));
        let mut expected = vec![];
        for row in values(&x.tensor).chunks_exact(columns) {
            let mean = row.iter().sum::<f64>() / columns as f64;
            let variance = row.iter().map(|v| (v - mean).powi(2)).sum::<f64>() / columns as f64;
            expected.extend(row.iter().enumerate().map(|(c, v)| {
                let y = (v - mean) / (variance + 1e-5).sqrt();
                if affine { y * w[c] + b[c] } else { y }
            }));
        }
        prop_assert!(distance(&values(&y), &expected) <= tolerance(out));
    }

    #[test]
    fn assembly(sizes in prop::collection::vec(0usize..5, 1..5), d in 1usize..40, picks in prop::collection::vec(any::<u32>(), 0..30), table: bool, dtype in float()) {
        let device = shared();
        let total: usize = sizes.iter().sum();
        prop_assume!(total > 0);
        let sources: Vec<Var> = sizes.iter().enumerate().map(|(i, &r)| constant(&[r, d], dtype, i as u64)).collect();
        let positions = constant(&[3, d], dtype, 77);
        let rows: Vec<i32> = picks.iter().map(|&p| (p as usize % total) as i32).collect();
        let places: Vec<i32> = picks.iter().map(|&p| (p >> 8) as i32 % 3).collect();
        let (row_tensor, place_tensor) = (indices(&device, &rows), indices(&device, &places));
        let with = table.then_some((&positions, &place_tensor));
        let y = op::assemble(&sources.iter().collect::<Vec<_>>(), &row_tensor, with, dtype).unwrap().tensor;
        let all: Vec<f64> = sources.iter().flat_map(|s| values(&s.tensor)).collect();
        let added = values(&positions.tensor);
        let mut expected = vec![];
        for (&row, &place) in rows.iter().zip(&places) {
            for c in 0..d {
                expected.push(all[row as usize * d + c] + if table { added[place as usize * d + c] } else { 0.0 });
            }
        }
        prop_assert!(distance(&values(&y), &expected) <= tolerance(dtype));
        let x = random(&device, &[total, d], DType::F64, 5);
        prop_assert!(near(adjoint(&x, |x| op::index_select(x, &row_tensor).unwrap())));
    }

    #[test]
    fn patches(b in 1usize..3, c in 1usize..4, size in [1usize..6, 1..9, 1..9], patch in [1usize..4, 1..5, 1..5]) {
        prop_assume!(size.iter().zip(patch).all(|(&n, p)| n >= p));
        let shape = [b, c, size[0], size[1], size[2]];
        let x = constant(&shape, DType::F64, 1);
        let y = op::patchify(&x, patch, None, &[], &[], DType::F64).unwrap().tensor;
        let x = values(&x.tensor);
        let grid: Vec<usize> = size.iter().zip(patch).map(|(n, p)| n / p).collect();
        let mut expected = vec![];
        for sample in 0..b {
            for token in 0..grid[0] * grid[1] * grid[2] {
                let (t, i, j) = (token / (grid[1] * grid[2]), token / grid[2] % grid[1], token % grid[2]);
                for column in 0..c * patch[0] * patch[1] * patch[2] {
                    let (dj, di) = (column % patch[2], column / patch[2] % patch[1]);
                    let (dt, channel) = (column / (patch[1] * patch[2]) % patch[0], column / (patch[0] * patch[1] * patch[2]));
                    let (t, i, j) = (t * patch[0] + dt, i * patch[1] + di, j * patch[2] + dj);
                    expected.push(x[(((sample * c + channel) * size[0] + t) * size[1] + i) * size[2] + j]);
                }
            }
        }
        prop_assert_eq!(values(&y), expected);
        let x = random(&shared(), &shape, DType::F64, 2);
        prop_assert!(near(adjoint(&x, |x| op::patchify(x, patch, None, &[], &[], DType::F64).unwrap())));
    }
}
