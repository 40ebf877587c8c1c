// y = (x − mean)·rstd·weight + bias; WIDTH threads a row. HAS_WEIGHT and HAS_BIAS say what there is.

//: entry forward

fn scaled(value: f32, c: u32) -> f32 {
    var y = value;
    if HAS_WEIGHT { y *= weight(c); }
    if HAS_BIAS { y += bias(c); }
    return y;
}

@compute @workgroup_size(THREADS)
fn forward(t: Thread) {
    let thread = place(t);
    // A last row for threads beyond the end: barriers want all or none.
    let own = group_index(t.id, t.groups) * ROWS + thread / WIDTH;
    let row = min(own, p.rows - 1u);
    let lane = thread % WIDTH;
    let first = row * p.columns;
    var sum = 0.0;
    for (var c = lane; c < p.columns; c += WIDTH) { sum += x(first + c); }
    let mean = group_sum(sum, t) / f32(p.columns);
    var squares = 0.0;
    for (var c = lane; c < p.columns; c += WIDTH) {
        let v = x(first + c) - mean;
        squares += v * v;
    }
    let rstd = 1.0 / sqrt(group_sum(squares, t) / f32(p.columns) + p.eps);
    if row != own { return; }
    if lane == 0u {
        put_mean(row, mean);
        put_rstd(row, rstd);
    }
    for (var c = 2u * lane; c < p.columns; c += 2u * WIDTH) {
        let a = scaled((x(first + c) - mean) * rstd, c);
        if c + 1u < p.columns {
            put2_y(first + c, a, scaled((x(first + c + 1u) - mean) * rstd, c + 1u));
        } else {
            put_y(first + c, a);
        }
    }
}

//: entry input_grad

// dx = rstd·(g − mean g − x̂·mean(g·x̂)), g = dy·weight.
fn slope(i: u32, c: u32) -> f32 {
    var g = dy(i);
    if HAS_WEIGHT { g *= weight(c); }
    return g;
}

@compute @workgroup_size(THREADS)
fn input_grad(t: Thread) {
    let thread = place(t);
    let own = group_index(t.id, t.groups) * ROWS + thread / WIDTH;
    let row = min(own, p.rows - 1u);
    let lane = thread % WIDTH;
    let first = row * p.columns;
    let centre = mean(row);
    let scale = rstd(row);
    var sum = 0.0;
    var along = 0.0;
    for (var c = lane; c < p.columns; c += WIDTH) {
        let g = slope(first + c, c);
        sum += g;
        along += g * ((x(first + c) - centre) * scale);
    }
    sum = group_sum(sum, t) / f32(p.columns);
    along = group_sum(along, t) / f32(p.columns);
    if row != own { return; }
    for (var c = 2u * lane; c < p.columns; c += 2u * WIDTH) {
        let i = first + c;
        let a = scale * (slope(i, c) - sum - (x(i) - centre) * scale * along);
        if c + 1u < p.columns {
            put2_dx(i, a, scale * (slope(i + 1u, c + 1u) - sum - (x(i + 1u) - centre) * scale * along));
        } else {
            put_dx(i, a);
        }
    }
}

//: entry weight_grad

// A thread a column of `height` rows: Σ dy·x̂ (OF_WEIGHT) or Σ dy, to be joined.
@compute @workgroup_size(THREADS)
fn weight_grad(
    @builtin(workgroup_id) id: vec3<u32>,
    @builtin(num_workgroups) groups: vec3<u32>,
    @builtin(local_invocation_index) thread: u32,
) {
    let i = group_index(id, groups) * THREADS + thread;
    let c = i % p.columns;
    let part = i / p.columns;
    let end = min((part + 1u) * p.height, p.rows);
    if part >= p.parts { return; }
    var sum = 0.0;
    for (var row = part * p.height; row < end; row++) {
        let j = row * p.columns + c;
        var v = dy(j);
        if OF_WEIGHT { v *= (x(j) - mean(row)) * rstd(row); }
        sum += v;
    }
    put_sums(p.first + i, sum);
}
