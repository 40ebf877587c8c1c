// Standard deviation over the tokens of each packed sequence; a thread a column of a sequence.
//
// `sequences` of them are bound, and of their tokens those from `first` to `end`: what is summed over all goes from part to part in
// the order of the tokens. `begins` and `ends` say whether a part is the first and the last.

// The tokens of sequence s that are bound, counted from the first that is.
fn tokens_of(s: u32) -> vec2<u32> {
    return clamp(vec2(u32(offsets(s)), u32(offsets(s + 1u))), vec2(p.first), vec2(p.end)) - vec2(p.first);
}

fn length_of(s: u32) -> u32 { return u32(offsets(s + 1u)) - u32(offsets(s)); }

//: entry sums

@compute @workgroup_size(64)
fn sums(
    @builtin(workgroup_id) id: vec3<u32>,
    @builtin(num_workgroups) groups: vec3<u32>,
    @builtin(local_invocation_index) thread: u32,
) {
    let i = group_index(id, groups) * 64u + thread;
    let s = i / p.columns;
    if s >= p.sequences { return; }
    let tokens = tokens_of(s);
    var sum = 0.0;
    if p.begins == 0u { sum = old_sums(i); }
    for (var m = tokens.x; m < tokens.y; m++) { sum += x(m * p.columns + i % p.columns); }
    put_sums(i, sum);
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
    if s >= p.sequences { return; }
    let tokens = tokens_of(s);
    let length = length_of(s);
    let mean = sums(i) / f32(max(length, 1u));
    var sum = 0.0;
    if p.begins == 0u { sum = old_squares(i); }
    for (var m = tokens.x; m < tokens.y; m++) {
        let d = x(m * p.columns + i % p.columns) - mean;
        sum += d * d;
    }
    put_squares(i, sum);
    if p.ends == 0u { return; }
    var variance = 0.0;
    if length > 1u { variance = sum / f32(length - 1u); }
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
    if s >= p.sequences { return; }
    let tokens = tokens_of(s);
    let length = length_of(s);
    if tokens.x == tokens.y { return; }
    let mean = sums(i) / f32(length);
    // The one token of a sequence is its mean: its gradient is 0 whatever divides it.
    let n = f32(max(length, 2u) - 1u);
    let deviation = y(i);
    var slope = 0.0;
    if deviation > 0.0 { slope = dy(i) / (n * deviation); }
    for (var m = tokens.x; m < tokens.y; m++) {
        let j = m * p.columns + i % p.columns;
        put_dx(j, (x(j) - mean) * slope);
    }
}
