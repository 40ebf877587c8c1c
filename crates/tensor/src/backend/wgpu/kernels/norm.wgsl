// The norm of many elements, in fixed order. Squares of what is very large or very small are summed apart, scaled by powers of two,
// so that they neither overflow nor vanish (Blue, ACM TOMS 4, 1978); each sum carries what its additions round off.

// A sum and the error of its additions.
fn add(sum: vec2<f32>, v: f32) -> vec2<f32> {
    let s = sum.x + v;
    let b = s - sum.x;
    return vec2(s, sum.y + ((sum.x - (s - b)) + (v - b)));
}

// The scales of the sums of large and of small elements.
const DOWN = 1.2924697071141057e-26; // 2⁻⁸⁶
const UP = 7.737125245533627e25; // 2⁸⁶

// Of an infinite sum the error is none.
fn whole(sum: vec2<f32>) -> f32 { return sum.x + select(0.0, sum.y, is_finite(sum.x)); }

var<workgroup> large: array<vec2<f32>, 256>;
var<workgroup> usual: array<vec2<f32>, 256>;
var<workgroup> small: array<vec2<f32>, 256>;

fn join(a: vec2<f32>, b: vec2<f32>) -> vec2<f32> {
    return add(vec2(a.x, a.y + b.y), b.x);
}

fn join_all(thread: u32) {
    workgroupBarrier();
    for (var half = 128u; half > 0u; half = half >> 1u) {
        if thread < half {
            large[thread] = join(large[thread], large[thread + half]);
            usual[thread] = join(usual[thread], usual[thread + half]);
            small[thread] = join(small[thread], small[thread + half]);
        }
        workgroupBarrier();
    }
}

//: entry squares

// A workgroup `height` elements: its three sums.
@compute @workgroup_size(256)
fn squares(
    @builtin(workgroup_id) id: vec3<u32>,
    @builtin(num_workgroups) groups: vec3<u32>,
    @builtin(local_invocation_index) thread: u32,
) {
    let g = group_index(id, groups);
    let end = min((g + 1u) * p.height, p.count);
    var a = vec2(0.0);
    var b = vec2(0.0);
    var c = vec2(0.0);
    for (var i = g * p.height + thread; i < end; i += 256u) {
        let v = abs(x(i));
        if !is_finite(v) || v > 1.125899906842624e15 {
            a = add(a, (v * DOWN) * (v * DOWN));
        } else if v < 8.881784197001252e-16 {
            c = add(c, (v * UP) * (v * UP));
        } else {
            b = add(b, v * v);
        }
    }
    large[thread] = a;
    usual[thread] = b;
    small[thread] = c;
    join_all(thread);
    if thread == 0u && g < p.parts {
        put_sums(3u * (p.first + g), whole(large[0]));
        put_sums(3u * (p.first + g) + 1u, whole(usual[0]));
        put_sums(3u * (p.first + g) + 2u, whole(small[0]));
    }
}

//: entry root

@compute @workgroup_size(256)
fn root(@builtin(local_invocation_index) thread: u32) {
    var a = vec2(0.0);
    var b = vec2(0.0);
    var c = vec2(0.0);
    for (var i = thread; i < p.count; i += 256u) {
        a = add(a, sums(3u * i));
        b = add(b, sums(3u * i + 1u));
        c = add(c, sums(3u * i + 2u));
    }
    large[thread] = a;
    usual[thread] = b;
    small[thread] = c;
    join_all(thread);
    if thread != 0u { return; }
    let most = whole(large[0]);
    let middle = whole(usual[0]);
    let least = whole(small[0]);
    // Scales are applied one at a time: their squares are out of range.
    if most > 0.0 || !is_finite(most) {
        put_y(0u, sqrt(most + middle * DOWN * DOWN) * UP);
    } else if middle > 0.0 {
        put_y(0u, sqrt(middle + least * DOWN * DOWN));
    } else {
        put_y(0u, sqrt(least) * DOWN);
    }
}
