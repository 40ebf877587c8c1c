//! Affine warps with the sampling of Pillow's `Image.transform` and `Image.rotate`, bicubic.

/// Pillow's rotation matrix about the centre, or `None` if nothing turns.
pub fn rotation(degrees: f64, height: usize, width: usize) -> Option<[f64; 6]> {
    let degrees = degrees.rem_euclid(360.0);
    if degrees == 0.0 {
        return None;
    }
    let angle = -degrees.to_radians();
    let (sin, cos) = (round15(angle.sin()), round15(angle.cos()));
    let (x, y) = (width as f64 / 2.0, height as f64 / 2.0);
    Some([cos, sin, cos * -x + sin * -y + x, -sin, cos, -sin * -x + cos * -y + y])
}

/// Python's `round(x, 15)`: to the nearest decimal, computed exactly.
fn round15(x: f64) -> f64 {
    format!("{x:.15}").parse().unwrap_or(x)
}

/// Output pixel (x, y) samples `source` at (a·x' + b·y' + c, d·x' + e·y' + f), x' = x + ½, y' = y + ½; `fill` outside.
pub fn transform_affine(
    source: &[u8],
    height: usize,
    width: usize,
    [a, b, c, d, e, f]: [f64; 6],
    fill: [u8; 3],
    out: &mut [u8],
) {
    for (i, pixel) in out.as_chunks_mut::<3>().0.iter_mut().enumerate() {
        let (x, y) = ((i % width) as f64 + 0.5, (i / width) as f64 + 0.5);
        let (x, y) = (a * x + b * y + c, d * x + e * y + f);
        let inside = x >= 0.0 && x < width as f64 && y >= 0.0 && y < height as f64;
        *pixel = if inside { bicubic(source, height, width, x - 0.5, y - 0.5) } else { fill };
    }
}

/// Cubic convolution with a = −1 over 4 × 4 pixels; columns are clamped to the edge, rows beyond it repeat the last one
/// inside. Truncated to 8 bits, as Pillow does.
fn bicubic(source: &[u8], height: usize, width: usize, x: f64, y: f64) -> [u8; 3] {
    let (left, top) = (x.floor(), y.floor());
    let (dx, dy) = (x - left, y - top);
    let (left, top) = (left as isize - 1, top as isize - 1);
    let columns: [usize; 4] = std::array::from_fn(|k| (left + k as isize).clamp(0, width as isize - 1) as usize * 3);
    let line = |row: isize, channel: usize| {
        let row = &source[row as usize * width * 3..][..width * 3];
        cubic(columns.map(|column| f64::from(row[column + channel])), dx)
    };
    std::array::from_fn(|channel| {
        let mut values = [line(top.clamp(0, height as isize - 1), channel); 4];
        for k in 1..4 {
            let row = top + k as isize;
            let inside = (0..height as isize).contains(&row);
            values[k] = if inside { line(row, channel) } else { values[k - 1] };
        }
        cubic(values, dy) as u8
    })
}

fn cubic([v1, v2, v3, v4]: [f64; 4], d: f64) -> f64 {
    let p2 = v3 - v1;
    let p3 = 2.0 * (v1 - v2) + v3 - v4;
    let p4 = -v1 + v2 - v3 + v4;
    v2 + d * (p2 + d * (p3 + d * p4))
}
