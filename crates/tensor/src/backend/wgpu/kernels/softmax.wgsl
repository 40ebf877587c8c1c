// Rows of the last axis; WIDTH threads a row.

//: entry softmax

@compute @workgroup_size(THREADS)
fn softmax(t: Thread) {
    let thread = place(t);
    // A last row for threads beyond the end: barriers want all or none.
    let own = group_index(t.id, t.groups) * ROWS + thread / WIDTH;
    let row = min(own, p.rows - 1u);
    let lane = thread % WIDTH;
    let first = row * p.columns;
    var largest = -infinity();
    for (var c = lane; c < p.columns; c += WIDTH) { largest = greater(largest, x(first + c)); }
    largest = group_max(largest, t);
    var sum = 0.0;
    for (var c = lane; c < p.columns; c += WIDTH) { sum += exponential(x(first + c) - largest); }
    let scale = 1.0 / group_sum(sum, t);
    if row != own { return; }
    for (var c = 2u * lane; c < p.columns; c += 2u * WIDTH) {
        let a = exponential(x(first + c) - largest) * scale;
        if c + 1u < p.columns {
            put2_y(first + c, a, exponential(x(first + c + 1u) - largest) * scale);
        } else {
            put_y(first + c, a);
        }
    }
}

//: entry softmax_grad

// dx = y·(dy − Σ dy·y).
@compute @workgroup_size(THREADS)
fn softmax_grad(t: Thread) {
    let thread = place(t);
    let own = group_index(t.id, t.groups) * ROWS + thread / WIDTH;
    let row = min(own, p.rows - 1u);
    let lane = thread % WIDTH;
    let first = row * p.columns;
    var sum = 0.0;
    for (var c = lane; c < p.columns; c += WIDTH) { sum += y(first + c) * dy(first + c); }
    sum = group_sum(sum, t);
    if row != own { return; }
    for (var c = 2u * lane; c < p.columns; c += 2u * WIDTH) {
        let i = first + c;
        let a = y(i) * (dy(i) - sum);
        if c + 1u < p.columns {
            put2_dx(i, a, y(i + 1u) * (dy(i + 1u) - sum));
        } else {
            put_dx(i, a);
        }
    }
}

//: entry cross_entropy

// loss = logsumexp(x) − (1 − s)·x[label] − s·mean x, and the log-sum-exp.
@compute @workgroup_size(THREADS)
fn cross_entropy(t: Thread) {
    let thread = place(t);
    let own = group_index(t.id, t.groups) * ROWS + thread / WIDTH;
    let row = min(own, p.rows - 1u);
    let lane = thread % WIDTH;
    let first = row * p.columns;
    var largest = -infinity();
    for (var c = lane; c < p.columns; c += WIDTH) { largest = greater(largest, x(first + c)); }
    largest = group_max(largest, t);
    var sum = 0.0;
    var below = 0.0;
    for (var c = lane; c < p.columns; c += WIDTH) {
        let v = x(first + c) - largest;
        sum += exponential(v);
        below += v;
    }
    let log_sum = logarithm(group_sum(sum, t));
    let mean = group_sum(below, t) / f32(p.columns);
    if lane == 0u && row == own {
        let own = x(first + u32(labels(row))) - largest;
        var rest = (1.0 - p.smoothing) * own;
        if p.smoothing > 0.0 { rest += p.smoothing * mean; }
        put_loss(row, log_sum - rest);
        put_lse(row, log_sum + largest);
    }
}

//: entry cross_entropy_grad

// dx = dy·(softmax − (1 − s)·[label] − s/C).
@compute @workgroup_size(THREADS)
fn cross_entropy_grad(
    @builtin(workgroup_id) id: vec3<u32>,
    @builtin(num_workgroups) groups: vec3<u32>,
    @builtin(local_invocation_index) thread: u32,
) {
    let row = group_index(id, groups) * ROWS + thread / WIDTH;
    if row >= p.rows { return; }
    let lane = thread % WIDTH;
    let first = row * p.columns;
    let label = u32(labels(row));
    let slope = dy(row);
    let level = lse(row);
    let each = p.smoothing / f32(p.columns);
    for (var c = lane; c < p.columns; c += WIDTH) {
        var goal = each;
        if c == label { goal += 1.0 - p.smoothing; }
        put_dx(first + c, slope * (exponential(x(first + c) - level) - goal));
    }
}

//: entry binary_cross_entropy

@compute @workgroup_size(THREADS)
fn binary_cross_entropy(
    @builtin(workgroup_id) id: vec3<u32>,
    @builtin(num_workgroups) groups: vec3<u32>,
    @builtin(local_invocation_index) thread: u32,
) {
    let i = group_index(id, groups) * THREADS + thread;
    if i >= p.count { return; }
    let v = x(i);
    put_loss(i, select(v, 0.0, v < 0.0) - v * targets(i) + logarithm_1p(exponential(-abs(v))));
}

//: entry binary_cross_entropy_grad

@compute @workgroup_size(THREADS)
fn binary_cross_entropy_grad(
    @builtin(workgroup_id) id: vec3<u32>,
    @builtin(num_workgroups) groups: vec3<u32>,
    @builtin(local_invocation_index) thread: u32,
) {
    let i = group_index(id, groups) * THREADS + thread;
    if i >= p.count { return; }
    put_dx(i, dy(i) * (sigmoid(x(i)) - targets(i)));
}
