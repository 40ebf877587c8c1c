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
    let (left, top) = (floor(x), floor(y));
    let (dx, dy) = (x - left as f64, y - top as f64);
    let (left, top) = (left - 1, top - 1);
    let (last_row, last_column) = (height as isize - 1, width as isize - 1);
    let inside = left >= 0 && left + 3 <= last_column;
    let line = |row: isize| {
        let row = &source[row as usize * width * 3..][..width * 3];
        let mut pixels = [0; 12];
        if inside {
            pixels.copy_from_slice(&row[left as usize * 3..][..12]);
        } else {
            for (k, pixel) in pixels.as_chunks_mut::<3>().0.iter_mut().enumerate() {
                let column = (left + k as isize).clamp(0, last_column) as usize;
                pixel.copy_from_slice(&row[column * 3..][..3]);
            }
        }
        let p = pixels.map(f64::from);
        std::array::from_fn(|c| cubic([p[c], p[c + 3], p[c + 6], p[c + 9]], dx))
    };
    let mut lines: [[f64; 3]; 4] = [line(top.clamp(0, last_row)); 4];
    for k in 1..4 {
        let row = top + k as isize;
        lines[k] = if (0..=last_row).contains(&row) { line(row) } else { lines[k - 1] };
    }
    std::array::from_fn(|c| cubic([lines[0][c], lines[1][c], lines[2][c], lines[3][c]], dy) as u8)
}

/// f64::floor is a library call on the baseline instruction set.
fn floor(x: f64) -> isize {
    let truncated = x as isize;
    truncated - isize::from(x < truncated as f64)
}

fn cubic([v1, v2, v3, v4]: [f64; 4], d: f64) -> f64 {
    let p2 = v3 - v1;
    let p3 = 2.0 * (v1 - v2) + v3 - v4;
    let p4 = -v1 + v2 - v3 + v4;
    v2 + d * (p2 + d * (p3 + d * p4))
}
