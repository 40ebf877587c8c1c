// Rows of the last axis; a workgroup of WIDTH threads a row.

var<workgroup> shared_values: array<f32, WIDTH>;

fn group_sum(value: f32, thread: u32) -> f32 {
    workgroupBarrier();
    shared_values[thread] = value;
    workgroupBarrier();
    for (var half = WIDTH / 2u; half > 0u; half = half >> 1u) {
        if thread < half { shared_values[thread] += shared_values[thread + half]; }
        workgroupBarrier();
    }
    return shared_values[0];
}

fn group_max(value: f32, thread: u32) -> f32 {
    workgroupBarrier();
    shared_values[thread] = value;
    workgroupBarrier();
    for (var half = WIDTH / 2u; half > 0u; half = half >> 1u) {
        if thread < half { shared_values[thread] = greater(shared_values[thread], shared_values[thread + half]); }
        workgroupBarrier();
    }
    return shared_values[0];
}

//: entry softmax

@compute @workgroup_size(WIDTH)
fn softmax(
    @builtin(workgroup_id) id: vec3<u32>,
    @builtin(num_workgroups) groups: vec3<u32>,
    @builtin(local_invocation_index) thread: u32,
) {
    // A last row for workgroups beyond the end: barriers want all or none.
    let row = min(group_index(id, groups), p.rows - 1u);
    let first = row * p.columns;
    var largest = -infinity();
    for (var c = thread; c < p.columns; c += WIDTH) { largest = greater(largest, x(first + c)); }
    largest = group_max(largest, thread);
    var sum = 0.0;
    for (var c = thread; c < p.columns; c += WIDTH) { sum += exponential(x(first + c) - largest); }
    let scale = 1.0 / group_sum(sum, thread);
    if row != group_index(id, groups) { return; }
    for (var c = 2u * thread; c < p.columns; c += 2u * WIDTH) {
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
@compute @workgroup_size(WIDTH)
fn softmax_grad(
    @builtin(workgroup_id) id: vec3<u32>,
    @builtin(num_workgroups) groups: vec3<u32>,
    @builtin(local_invocation_index) thread: u32,
) {
    let row = min(group_index(id, groups), p.rows - 1u);
    let first = row * p.columns;
    var sum = 0.0;
    for (var c = thread; c < p.columns; c += WIDTH) { sum += y(first + c) * dy(first + c); }
    sum = group_sum(sum, thread);
    if row != group_index(id, groups) { return; }
    for (var c = 2u * thread; c < p.columns; c += 2u * WIDTH) {
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
@compute @workgroup_size(WIDTH)
fn cross_entropy(
    @builtin(workgroup_id) id: vec3<u32>,
    @builtin(num_workgroups) groups: vec3<u32>,
    @builtin(local_invocation_index) thread: u32,
) {
    let row = min(group_index(id, groups), p.rows - 1u);
    let first = row * p.columns;
    var largest = -infinity();
    for (var c = thread; c < p.columns; c += WIDTH) { largest = greater(largest, x(first + c)); }
    largest = group_max(largest, thread);
    var sum = 0.0;
    var below = 0.0;
    for (var c = thread; c < p.columns; c += WIDTH) {
        let v = x(first + c) - largest;
        sum += exponential(v);
        below += v;
    }
    let log_sum = logarithm(group_sum(sum, thread));
    let mean = group_sum(below, thread) / f32(p.columns);
    if thread == 0u && row == group_index(id, groups) {
        let own = x(first + u32(labels(row))) - largest;
        var rest = (1.0 - p.smoothing) * own;
        if p.smoothing > 0.0 { rest += p.smoothing * mean; }
        put_loss(row, log_sum - rest);
        put_lse(row, log_sum + largest);
    }
}

//: entry cross_entropy_grad

// dx = dy·(softmax − (1 − s)·[label] − s/C).
@compute @workgroup_size(WIDTH)
fn cross_entropy_grad(
    @builtin(workgroup_id) id: vec3<u32>,
    @builtin(num_workgroups) groups: vec3<u32>,
    @builtin(local_invocation_index) thread: u32,
) {
    let row = group_index(id, groups);
    if row >= p.rows { return; }
    let first = row * p.columns;
    let label = u32(labels(row));
    let slope = dy(row);
    let level = lse(row);
    let each = p.smoothing / f32(p.columns);
    for (var c = thread; c < p.columns; c += WIDTH) {
        var goal = each;
        if c == label { goal += 1.0 - p.smoothing; }
        put_dx(first + c, slope * (exponential(x(first + c) - level) - goal));
    }
}

//: entry binary_cross_entropy

@compute @workgroup_size(WIDTH)
fn binary_cross_entropy(
    @builtin(workgroup_id) id: vec3<u32>,
    @builtin(num_workgroups) groups: vec3<u32>,
    @builtin(local_invocation_index) thread: u32,
) {
    let i = group_index(id, groups) * WIDTH + thread;
    if i >= p.count { return; }
    let v = x(i);
    put_loss(i, select(v, 0.0, v < 0.0) - v * targets(i) + logarithm_1p(exponential(-abs(v))));
}

//: entry binary_cross_entropy_grad

@compute @workgroup_size(WIDTH)
fn binary_cross_entropy_grad(
    @builtin(workgroup_id) id: vec3<u32>,
    @builtin(num_workgroups) groups: vec3<u32>,
    @builtin(local_invocation_index) thread: u32,
) {
    let i = group_index(id, groups) * WIDTH + thread;
    if i >= p.count { return; }
    put_dx(i, dy(i) * (sigmoid(x(i)) - targets(i)));
}
