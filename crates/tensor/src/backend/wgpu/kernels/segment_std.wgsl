// Standard deviation over the tokens of each packed sequence; a thread a column of a sequence.

fn mean_of(first: u32, end: u32, c: u32) -> f32 {
    var sum = 0.0;
    for (var m = first; m < end; m++) { sum += x(m * p.columns + c); }
    return sum / f32(end - first);
}

//: entry forward

@compute @workgroup_size(64)
fn forward(
    @builtin(workgroup_id) id: vec3<u32>,
    @builtin(num_workgroups) groups: vec3<u32>,
    @builtin(local_invocation_index) thread: u32,
) {
    let i = group_index(id, groups) * 64u + thread;
    let s = i / p.columns;
    let c = i % p.columns;
    if s >= p.sequences { return; }
    let first = u32(offsets(s));
    let end = u32(offsets(s + 1u));
    var variance = 0.0;
    if end > first + 1u {
        let mean = mean_of(first, end, c);
        for (var m = first; m < end; m++) {
            let d = x(m * p.columns + c) - mean;
            variance += d * d;
        }
        variance /= f32(end - first - 1u);
    }
    put_y(i, sqrt(variance + p.eps));
}

//: entry backward

@compute @workgroup_size(64)
fn backward(
    @builtin(workgroup_id) id: vec3<u32>,
    @builtin(num_workgroups) groups: vec3<u32>,
    @builtin(local_invocation_index) thread: u32,
) {
    let i = group_index(id, groups) * 64u + thread;
    let s = i / p.columns;
    let c = i % p.columns;
    if s >= p.sequences { return; }
    let first = u32(offsets(s));
    let end = u32(offsets(s + 1u));
    if end == first { return; }
    let mean = mean_of(first, end, c);
    // The one token of a sequence is its mean: its gradient is 0 whatever divides it.
    let n = f32(max(end - first, 2u) - 1u);
    let deviation = y(i);
    var slope = 0.0;
    if deviation > 0.0 { slope = dy(i) / (n * deviation); }
    for (var m = first; m < end; m++) {
        let j = m * p.columns + c;
        put_dx(j, (x(j) - mean) * slope);
    }
}
