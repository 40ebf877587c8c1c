// The JEPA loss of a row and its gradient, the target's layer norm and gathering within; WIDTH threads a row.
// POWER: 1, 2, or 0 for any other, which is `power`. NORMALISE says whether targets are. `targets` rows of them from
// `targets_first` on are bound; rows with another are left to its own kernel.

// Mean and reciprocal deviation of the target of this row.
fn statistics(first: u32, t: Thread) -> vec2<f32> {
    let lane = place(t) % WIDTH;
    if !NORMALISE { return vec2(0.0, 1.0); }
    var sum = 0.0;
    for (var c = lane; c < p.columns; c += WIDTH) { sum += h(first + c); }
    let mean = group_sum(sum, t) / f32(p.columns);
    var squares = 0.0;
    for (var c = lane; c < p.columns; c += WIDTH) {
        let v = h(first + c) - mean;
        squares += v * v;
    }
    return vec2(mean, 1.0 / sqrt(group_sum(squares, t) / f32(p.columns) + p.eps));
}

//: entry forward

@compute @workgroup_size(THREADS)
fn forward(t: Thread) {
    let thread = place(t);
    // A last row for threads beyond the end: barriers want all or none.
    let own = group_index(t.id, t.groups) * ROWS + thread / WIDTH;
    let row = min(own, p.rows - 1u);
    let lane = thread % WIDTH;
    // Those before the bound ones wrap around.
    let chosen = u32(rows(row)) - p.targets_first;
    let bound = chosen < p.targets;
    let at = select(0u, chosen, bound) * p.columns;
    let goal = statistics(at, t);
    var sum = 0.0;
    for (var c = lane; c < p.columns; c += WIDTH) {
        let d = abs(z(row * p.columns + c) - (h(at + c) - goal.x) * goal.y);
        switch POWER {
            case 1u: { sum += d; }
            case 2u: { sum += d * d; }
            default: { sum += power(d, p.power); }
        }
    }
    sum = group_sum(sum, t);
    if lane == 0u && row == own && bound { put_y(row, sum / (p.power * f32(p.columns))); }
}

//: entry backward

fn slope(d: f32, scale: f32) -> f32 {
    switch POWER {
        case 1u: { return sign_of(d) * scale; }
        case 2u: { return d * scale; }
        default: { return select(power(abs(d), p.power - 1.0) * sign_of(d) * scale, 0.0, d == 0.0); }
    }
}

@compute @workgroup_size(THREADS)
fn backward(t: Thread) {
    let thread = place(t);
    let own = group_index(t.id, t.groups) * ROWS + thread / WIDTH;
    let row = min(own, p.rows - 1u);
    let lane = thread % WIDTH;
    let chosen = u32(rows(row)) - p.targets_first;
    let bound = chosen < p.targets;
    let at = select(0u, chosen, bound) * p.columns;
    let first = row * p.columns;
    let goal = statistics(at, t);
    let scale = dy(row) / f32(p.columns);
    if row != own || !bound { return; }
    for (var c = 2u * lane; c < p.columns; c += 2u * WIDTH) {
        let a = slope(z(first + c) - (h(at + c) - goal.x) * goal.y, scale);
        if c + 1u < p.columns {
            let d = z(first + c + 1u) - (h(at + c + 1u) - goal.x) * goal.y;
            put2_dz(first + c, a, slope(d, scale));
        } else {
            put_dz(first + c, a);
        }
    }
}
