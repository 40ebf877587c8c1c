// The Epps-Pulley statistic of SIGReg. `knots` holds, knot by knot, t, its weight and exp(−t²/2).
// Of `columns` columns, the `here` from `first` on are worked on, and their means bound; of `all_rows` rows, `rows` are bound.

//: entry means

// A workgroup a column and knot. Sums go from part to part of the rows, of which `begins` and `ends` tell the first and the last.
var<workgroup> cosines: array<f32, 128>;
var<workgroup> sines: array<f32, 128>;

@compute @workgroup_size(128)
fn means(
    @builtin(workgroup_id) id: vec3<u32>,
    @builtin(num_workgroups) groups: vec3<u32>,
    @builtin(local_invocation_index) thread: u32,
) {
    let i = min(group_index(id, groups), p.here * p.count - 1u);
    let column = p.first + i / p.count;
    let t = knots(3u * (i % p.count));
    var sum = vec2(0.0);
    for (var r = thread; r < p.rows; r += 128u) { sum += sin_cos(t * x(r * p.columns + column)); }
    cosines[thread] = sum.y;
    sines[thread] = sum.x;
    workgroupBarrier();
    for (var half = 64u; half > 0u; half = half >> 1u) {
        if thread < half {
            cosines[thread] += cosines[thread + half];
            sines[thread] += sines[thread + half];
        }
        workgroupBarrier();
    }
    if thread == 0u && i == group_index(id, groups) {
        var total = vec2(cosines[0], sines[0]);
        if p.begins == 0u { total += vec2(old_means(2u * i), old_means(2u * i + 1u)); }
        if p.ends == 1u { total /= f32(p.all_rows); }
        put_means(2u * i, total.x);
        put_means(2u * i + 1u, total.y);
    }
}

//: entry statistic

@compute @workgroup_size(128)
fn statistic(
    @builtin(workgroup_id) id: vec3<u32>,
    @builtin(num_workgroups) groups: vec3<u32>,
    @builtin(local_invocation_index) thread: u32,
) {
    let s = group_index(id, groups) * 128u + thread;
    if s >= p.here { return; }
    var sum = 0.0;
    for (var k = 0u; k < p.count; k++) {
        let off = means(2u * (s * p.count + k)) - knots(3u * k + 2u);
        let sine = means(2u * (s * p.count + k) + 1u);
        sum += knots(3u * k + 1u) * (off * off + sine * sine);
    }
    put_y(s, sum * f32(p.all_rows));
}

//: entry backward

@compute @workgroup_size(128)
fn backward(
    @builtin(workgroup_id) id: vec3<u32>,
    @builtin(num_workgroups) groups: vec3<u32>,
    @builtin(local_invocation_index) thread: u32,
) {
    let at = group_index(id, groups) * 128u + thread;
    if at >= p.rows * p.here { return; }
    let s = at % p.here;
    let i = at / p.here * p.columns + p.first + s;
    let v = x(i);
    var sum = 0.0;
    for (var k = 0u; k < p.count; k++) {
        let t = knots(3u * k);
        let both = sin_cos(t * v);
        let off = means(2u * (s * p.count + k)) - knots(3u * k + 2u);
        let sine = means(2u * (s * p.count + k) + 1u);
        sum += 2.0 * knots(3u * k + 1u) * t * (sine * both.y - off * both.x);
    }
    put_dx(i, dy(s) * sum);
}
