// The middle of [outer, n, inner] reduced, in the order of the rows within a part and of the parts.
// OP: 0 sum, 1 mean, 2 largest, 3 smallest. A mean is a sum until the last pass, which divides by `divisor`.

fn start() -> f32 {
    switch OP {
        case 2u: { return -infinity(); }
        case 3u: { return infinity(); }
        default: { return 0.0; }
    }
}

fn join(a: f32, b: f32) -> f32 {
    switch OP {
        case 2u: { return greater(a, b); }
        case 3u: { return smaller(a, b); }
        default: { return a + b; }
    }
}

fn finish(total: f32) -> f32 {
    if OP == 1u { return total / p.divisor; }
    return total;
}

//: entry rows

// inner = 1: a workgroup a part of a row, `parts` of `height` elements a row.
@compute @workgroup_size(THREADS)
fn rows(t: Thread) {
    let g = group_index(t.id, t.groups);
    let row = g / p.parts;
    let part = g % p.parts;
    let first = part * p.height;
    let end = min(first + p.height, p.n);
    var total = start();
    if row < p.outer {
        for (var i = first + place(t); i < end; i += THREADS) {
            total = join(total, x(row * p.n + i));
        }
    }
    switch OP {
        case 2u: { total = group_max(total, t); }
        case 3u: { total = -group_max(-total, t); }
        default: { total = group_sum(total, t); }
    }
    if place(t) == 0u && row < p.outer { put_y(g, finish(total)); }
}

//: entry columns

// A thread a column of a part of `height` rows.
@compute @workgroup_size(256)
fn columns(
    @builtin(workgroup_id) id: vec3<u32>,
    @builtin(num_workgroups) groups: vec3<u32>,
    @builtin(local_invocation_index) thread: u32,
) {
    let i = group_index(id, groups) * 256u + thread;
    let column = i % p.inner;
    let part = (i / p.inner) % p.parts;
    let outer = i / p.inner / p.parts;
    if outer >= p.outer { return; }
    let end = min((part + 1u) * p.height, p.n);
    var total = start();
    for (var r = part * p.height; r < end; r++) {
        total = join(total, x((outer * p.n + r) * p.inner + column));
    }
    put_y(i, finish(total));
}
