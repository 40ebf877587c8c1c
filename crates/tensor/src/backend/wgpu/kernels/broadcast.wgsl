// y = f(a, b), f chosen by OP, over RANK axes of n0, n1, …; neighbours along axis i of a are a0, a1, … elements apart.

// Where element i of y is taken from in a and in b.
fn places(i: u32) -> vec2<u32> {
    let n = array<u32, 8>(p.n0, p.n1, p.n2, p.n3, p.n4, p.n5, p.n6, p.n7);
    let a = array<u32, 8>(p.a0, p.a1, p.a2, p.a3, p.a4, p.a5, p.a6, p.a7);
    let b = array<u32, 8>(p.b0, p.b1, p.b2, p.b3, p.b4, p.b5, p.b6, p.b7);
    var rest = i;
    var at = vec2(0u);
    for (var axis = RANK; axis > 1u; axis--) {
        let k = rest % n[axis - 1u];
        rest /= n[axis - 1u];
        at += k * vec2(a[axis - 1u], b[axis - 1u]);
    }
    return at + rest * vec2(a[0], b[0]);
}

//: entry floats

fn apply(i: u32) -> f32 {
    let at = places(i);
    let l = a(at.x);
    let r = b(at.y);
    switch OP {
        case 0u: { return l + r; }
        case 1u: { return l - r; }
        case 2u: { return l * r; }
        case 3u: { return l / r; }
        case 4u: { return greater(l, r); }
        case 5u: { return smaller(l, r); }
        case 6u: { return power(l, r); }
        case 7u: { return select(0.0, 1.0, l == r); }
        default: { return select(0.0, 1.0, l < r); }
    }
}

@compute @workgroup_size(256)
fn floats(
    @builtin(workgroup_id) id: vec3<u32>,
    @builtin(num_workgroups) groups: vec3<u32>,
    @builtin(local_invocation_index) thread: u32,
) {
    let i = 2u * (group_index(id, groups) * 256u + thread);
    if i + 1u < p.count {
        put2_y(i, apply(i), apply(i + 1u));
    } else if i < p.count {
        put_y(i, apply(i));
    }
}

//: entry integers

fn apply(i: u32) -> i32 {
    let at = places(i);
    let l = a(at.x);
    let r = b(at.y);
    switch OP {
        case 0u: { return l + r; }
        case 1u: { return l - r; }
        case 2u: { return l * r; }
        // −2³¹/−1 wraps around.
        case 3u: { if r == -1 { return 0 - l; } return l / r; }
        case 4u: { return max(l, r); }
        case 5u: { return min(l, r); }
        case 7u: { return select(0, 1, l == r); }
        default: { return select(0, 1, l < r); }
    }
}

@compute @workgroup_size(256)
fn integers(
    @builtin(workgroup_id) id: vec3<u32>,
    @builtin(num_workgroups) groups: vec3<u32>,
    @builtin(local_invocation_index) thread: u32,
) {
    let i = group_index(id, groups) * 256u + thread;
    if i < p.count { put_y(i, apply(i)); }
}
