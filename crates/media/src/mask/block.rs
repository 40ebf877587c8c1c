//! The geometry of blocks, shared by both samplers.

use super::config::MaskConfig;

/// The sizes that blocks of one generator can have on one grid.
pub struct BlockRange<'a> {
    config: &'a MaskConfig,
    dims: [usize; 3],
}

impl<'a> BlockRange<'a> {
    pub fn new(config: &'a MaskConfig, dims: [usize; 3]) -> Self {
        Self { config, dims }
    }

    /// The block [t, h, w] for three uniforms in [0, 1): with scales and aspect interpolated between their ends,
    /// t = max(1, ⌊T·s_t⌋), n = ⌊H·W·s⌋, h = min(H, round(√(n·a))), w = min(W, round(√(n/a))), halves to even. h or w may
    /// be 0.
    pub fn size(&self, r: [f64; 3]) -> [usize; 3] {
        let [steps, rows, cols] = self.dims;
        let between = |r: f64, [low, high]: [f64; 2]| low + r * (high - low);
        let t = ((steps as f64 * between(r[0], self.config.temporal_scale)) as usize).max(1);
        let area = ((rows * cols) as f64 * between(r[1], self.config.spatial_scale)).floor();
        let aspect = between(r[2], self.config.aspect_ratio);
        let h = (area * aspect).sqrt().round_ties_even() as usize;
        let w = (area / aspect).sqrt().round_ties_even() as usize;
        [t, h.min(rows), w.min(cols)]
    }

    /// Whether even the smallest block hides everything, or is meant to: an area of the whole grid that only its aspect
    /// ratio keeps from covering it is a mistake, not a mask.
    pub fn always_covers(&self) -> bool {
        let [t, h, _] = self.size([0.0, 0.0, 0.0]);
        let [_, _, w] = self.size([0.0, 0.0, 1.0]);
        let whole_area = self.config.spatial_scale[0] >= 1.0;
        t == self.dims[0] && (whole_area || [h, w] == self.dims[1..])
    }
}

/// A block that does not cover the whole grid: one that does loses its last column, row or time step.
pub fn leaving_room(mut block: [usize; 3], dims: [usize; 3]) -> [usize; 3] {
    if block == dims
        && let Some(axis) = (0..3).rev().find(|&axis| dims[axis] > 1)
    {
        block[axis] -= 1;
    }
    block
}

/// What is still visible of a grid.
#[derive(Clone)]
pub struct Visible {
    dims: [usize; 3],
    visible: Vec<bool>,
}

impl Visible {
    pub fn all(dims: [usize; 3]) -> Self {
        Self { dims, visible: vec![true; dims.iter().product()] }
    }

    pub fn hide(&mut self, origin: [usize; 3], size: [usize; 3]) {
        let [_, rows, cols] = self.dims;
        for t in origin[0]..origin[0] + size[0] {
            for y in origin[1]..origin[1] + size[1] {
                let row = (t * rows + y) * cols + origin[2];
                self.visible[row..row + size[2]].fill(false);
            }
        }
    }

    pub fn any(&self) -> bool {
        self.visible.contains(&true)
    }

    /// (context, target): the visible and the hidden indices, ascending.
    pub fn split(&self) -> (Vec<i32>, Vec<i32>) {
        (0..self.visible.len() as i32).partition(|&i| self.visible[i as usize])
    }

    /// Hides one box after another, leaving out those that would hide the last visible token.
    pub fn hide_but_leave_some(&mut self, origins: &[[usize; 3]], size: [usize; 3]) {
        for &origin in origins {
            let before = self.clone();
            self.hide(origin, size);
            if !self.any() {
                *self = before;
            }
        }
    }
}
