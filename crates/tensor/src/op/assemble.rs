//! Rows picked from several tensors, each with a position added: `y[m] = source[rows[m]] + table[positions[m]]`.
//!
//! Sources `[R_i, D]` of any float types are counted one after another: rows `0 .. R_0` are those of the first, and so on. rows and
//! positions are I32 `[M]`, the table `[P, D]`, y `[M, D]` in the type `out`. Backward sums the gradients of the rows taken from each
//! source (and from the table) in the order of m. A predictor's input is one such call: context, mask token and positions.

use super::check;
use crate::{
    autograd::{Grads, Op, Saved, Var, apply1},
    backend::{self, ScatterAdd},
    dtype::DType,
    error::{Error, Result},
    tensor::{Tensor, count},
};

#[derive(Clone, Debug)]
pub struct Assemble {
    pub out: DType,
    /// How many sources there are.
    sources: usize,
    table: bool,
    name: &'static str,
}

/// See the module.
pub fn assemble(sources: &[&Var], rows: &Tensor, table: Option<(&Var, &Tensor)>, out: DType) -> Result<Var> {
    let op = Assemble { out, sources: sources.len(), table: table.is_some(), name: "assemble" };
    let rows = Var::constant(rows.clone());
    let mut inputs = sources.to_vec();
    inputs.push(&rows);
    let positions = table.map(|(_, positions)| Var::constant(positions.clone()));
    inputs.extend(table.map(|(table, _)| table));
    inputs.extend(&positions);
    apply1(op, &inputs)
}

/// Rows of axis 0: `y[m] = x[rows[m]]`, x `[R, …]` float.
pub fn index_select(x: &Var, rows: &Tensor) -> Result<Var> {
    let op = Assemble { out: x.tensor.dtype, sources: 1, table: false, name: "indexSelect" };
    if x.tensor.shape.is_empty() {
        return Err(Error::shape("indexSelect", "a scalar has no rows"));
    }
    apply1(op, &[x, &Var::constant(rows.clone())])
}

/// As rows of axis 0.
fn matrix(t: &Tensor) -> Result<Tensor> {
    t.reshape(&[t.shape[0], count(&t.shape[1..])])
}

impl Assemble {
    fn check(&self, inputs: &[Tensor]) -> Result<()> {
        let name = self.name;
        let (sources, rest) = inputs.split_at(self.sources);
        let Some(first) = sources.first() else {
            return Err(Error::argument(name, "there is nothing to take rows from"));
        };
        if !self.out.is_float() {
            return Err(Error::dtype(name, format!("the output cannot be {}", self.out)));
        }
        let mut types = vec![("the output", self.out)];
        for source in sources {
            check::float(name, "a source", source)?;
            types.push(("a source", source.dtype));
            if self.name == "assemble" {
                let [_, columns] = check::matrix(name, "a source", source)?;
                if columns != first.shape[1] {
                    let message =
                        format!("one source is {:?} but another {:?} (columns differ)", first.shape, source.shape);
                    return Err(Error::shape(name, message));
                }
            }
        }
        check::indices(name, "rows", &rest[0], rest[0].len())?;
        if let [rows, table, positions] = rest {
            check::float(name, "the table", table)?;
            types.push(("the table", table.dtype));
            let [_, columns] = check::matrix(name, "the table", table)?;
            if columns != first.shape[1] {
                let message = format!("a source is {:?} but the table {:?} (columns differ)", first.shape, table.shape);
                return Err(Error::shape(name, message));
            }
            check::indices(name, "positions", positions, rows.len())?;
        }
        check::precision(name, &types)
    }
}

impl Op for Assemble {
    fn name(&self) -> &'static str {
        self.name
    }

    fn forward(&self, inputs: &[Tensor], saved: &mut Saved) -> Result<Vec<Tensor>> {
        self.check(inputs)?;
        let (sources, rest) = inputs.split_at(self.sources);
        let rows = &rest[0];
        let mut shape = sources[0].shape.clone();
        shape[0] = rows.len();
        let y = Tensor::empty(rows.device(), &shape, self.out);
        saved.push(rows);
        rest.get(2).into_iter().for_each(|positions| saved.push(positions));
        let d = backend::Assemble {
            sources: sources.iter().map(matrix).collect::<Result<_>>()?,
            rows: rows.clone(),
            table: self.table.then(|| (rest[1].clone(), rest[2].clone())),
            y: matrix(&y)?,
        };
        y.device().submit(self.name, move |b| b.assemble(&d));
        Ok(vec![y])
    }

    fn backward(&self, saved: &[Tensor], grads: &mut Grads) -> Result<()> {
        let dy = grads.dy();
        let src = matrix(&dy)?;
        let scatter = |grads: &mut Grads, i: usize, rows: &Tensor, first: usize| -> Result<()> {
            if let Some(sink) = grads.sink(i)? {
                let dst = matrix(&sink.tensor)?;
                let d = ScatterAdd { src: src.clone(), rows: rows.clone(), first, dst, accumulate: sink.accumulate };
                dy.device().submit(self.name, move |b| b.scatter_add(&d));
            }
            Ok(())
        };
        let mut first = 0;
        for i in 0..self.sources {
            scatter(grads, i, &saved[0], first)?;
            first += grads.shape(i)[0];
        }
        match self.table {
            true => scatter(grads, self.sources + 1, &saved[1], 0),
            false => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::op::testing::{cpu, fault, from_f64, from_i32, gradient_check, random, to_f64};

    #[test]
    fn rows_of_two_sources_and_a_table() {
        let a = Var::constant(from_f64(&[2, 2], &[1.0, 2.0, 3.0, 4.0]));
        let b = Var::constant(from_f64(&[1, 2], &[50.0, 60.0]));
        let table = Var::constant(from_f64(&[2, 2], &[0.25, 0.5, -0.25, -0.5]));
        let (rows, positions) = (from_i32(&[2, 0, 2, 1]), from_i32(&[0, 1, 1, 0]));
        let y = assemble(&[&a, &b], &rows, Some((&table, &positions)), DType::F64).unwrap();
        assert_eq!(to_f64(&y.tensor), [50.25, 60.5, 0.75, 1.5, 49.75, 59.5, 3.25, 4.5]);
        let y = index_select(&Var::constant(random(&[3, 2, 2], 1)), &from_i32(&[])).unwrap();
        assert_eq!(y.tensor.shape, [0, 2, 2]);
    }

    #[test]
    fn gradients() {
        for d in [1, 5, 33] {
            let inputs = [random(&[3, d], 1), random(&[1, d], 2), random(&[0, d], 3), random(&[4, d], 4)];
            let (rows, positions) = (from_i32(&[3, 0, 3, 2, 3, 2, 0]), from_i32(&[1, 1, 0, 3, 1, 0, 0]));
            gradient_check(&inputs, |v| assemble(&[&v[0], &v[1], &v[2]], &rows, Some((&v[3], &positions)), DType::F64));
            gradient_check(&inputs[..1], |v| index_select(&v[0], &from_i32(&[2, 2, 1])));
        }
        gradient_check(&[random(&[3, 2, 2], 5)], |v| index_select(&v[0], &from_i32(&[2, 0, 2])));
        // The same tensor twice among the sources, and nothing taken.
        gradient_check(&[random(&[2, 3], 6)], |v| assemble(&[&v[0], &v[0]], &from_i32(&[3, 0, 1]), None, DType::F64));
        gradient_check(&[random(&[2, 3], 6)], |v| assemble(&[&v[0]], &from_i32(&[]), None, DType::F64));
    }

    #[test]
    fn refusals() {
        let zeros = |shape: &[usize]| Var::constant(Tensor::zeros(&cpu(), shape, DType::F32));
        let message = |r: Result<Var>| r.expect_err("it does not fit").message;
        let rows = from_i32(&[0]);
        assert_eq!(
            message(assemble(&[&zeros(&[2, 3]), &zeros(&[2, 4])], &rows, None, DType::F32)),
            "assemble: one source is [2, 3] but another [2, 4] (columns differ)"
        );
        assert_eq!(
            message(assemble(&[&zeros(&[2, 3])], &rows, Some((&zeros(&[5, 3]), &from_i32(&[0, 1]))), DType::F32)),
            "assemble: positions is [2], but [1] is needed"
        );
        assert_eq!(
            message(assemble(&[&zeros(&[2, 3])], &rows, Some((&zeros(&[5, 4]), &rows)), DType::F32)),
            "assemble: a source is [2, 3] but the table [5, 4] (columns differ)"
        );
        assert_eq!(message(assemble(&[], &rows, None, DType::F32)), "assemble: there is nothing to take rows from");
        assert_eq!(
            message(index_select(&zeros(&[2, 3]), &zeros(&[1]).tensor)),
            "indexSelect: rows is float32, but int32 is needed"
        );
    }

    #[test]
    fn bad_rows_are_faults() {
        let source = || Var::constant(random(&[3, 2], 1));
        for bad in [-1, 3, i32::MAX, i32::MIN] {
            fault("indexSelect: ", || index_select(&source(), &from_i32(&[0, bad])));
            fault("assemble: ", || {
                assemble(&[&source()], &from_i32(&[0]), Some((&source(), &from_i32(&[bad]))), DType::F64)
            });
        }
    }
}
