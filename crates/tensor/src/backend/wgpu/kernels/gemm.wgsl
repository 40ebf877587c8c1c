// C = A·B, tile by tile: a workgroup of 16 × 16 threads makes 64 × 64 elements of C, a thread 4 × 4 of them in registers. Both
// operands' tiles of 16 along k lie in shared memory, k outermost.
// LAYOUT: 0 A [m,k] B [n,k]; 1 A [m,k] B [k,n]; 2 A [k,m] B [k,n]. ROUND_A, ROUND_B: operands are rounded to bfloat16.
// EPILOGUE: 0 none, 1 GELU (saving what it is taken of in `pre`), 2 times GELU's slope at `extra`, 3 plus `extra`.

const TILE = 64u;
const DEPTH = 16u;
// Four more than the tile, so that neighbours in k are not in one bank.
const STRIDE = 68u;

var<workgroup> a_tile: array<f32, STRIDE * DEPTH>;
var<workgroup> b_tile: array<f32, STRIDE * DEPTH>;

fn rounded(v: vec4<f32>) -> vec4<f32> {
    return vec4(round_bf16(v.x), round_bf16(v.y), round_bf16(v.z), round_bf16(v.w));
}

// Four neighbours of a row of `width` elements from column c on, 0 beyond its end.
fn a_part(row: u32, c: u32, width: u32) -> vec4<f32> {
    let i = row * width + c;
    if c + 3u < width { return a4(i); }
    var v = vec4(0.0);
    if c < width { v.x = a(i); }
    if c + 1u < width { v.y = a(i + 1u); }
    if c + 2u < width { v.z = a(i + 2u); }
    return v;
}

fn b_part(row: u32, c: u32, width: u32) -> vec4<f32> {
    let i = row * width + c;
    if c + 3u < width { return b4(i); }
    var v = vec4(0.0);
    if c < width { v.x = b(i); }
    if c + 1u < width { v.y = b(i + 1u); }
    if c + 2u < width { v.z = b(i + 2u); }
    return v;
}

fn load_a(batch: u32, m0: u32, k0: u32, k_end: u32, thread: u32) {
    if LAYOUT == 2u {
        // Rows along k.
        let k = thread / 16u;
        let r = (thread % 16u) * 4u;
        var v = vec4(0.0);
        if k0 + k < k_end { v = a_part(batch * p.k + k0 + k, m0 + r, p.m); }
        if ROUND_A { v = rounded(v); }
        let at = k * STRIDE + r;
        a_tile[at] = v.x;
        a_tile[at + 1u] = v.y;
        a_tile[at + 2u] = v.z;
        a_tile[at + 3u] = v.w;
    } else {
        let r = thread / 4u;
        let k = (thread % 4u) * 4u;
        var v = vec4(0.0);
        if m0 + r < p.m { v = a_part(batch * p.m + m0 + r, k0 + k, p.k); }
        if ROUND_A { v = rounded(v); }
        let at = k * STRIDE + r;
        a_tile[at] = v.x;
        a_tile[at + STRIDE] = v.y;
        a_tile[at + 2u * STRIDE] = v.z;
        a_tile[at + 3u * STRIDE] = v.w;
    }
}

fn load_b(batch: u32, n0: u32, k0: u32, k_end: u32, thread: u32) {
    if LAYOUT == 0u {
        let r = thread / 4u;
        let k = (thread % 4u) * 4u;
        var v = vec4(0.0);
        if n0 + r < p.n { v = b_part(batch * p.n + n0 + r, k0 + k, p.k); }
        if ROUND_B { v = rounded(v); }
        let at = k * STRIDE + r;
        b_tile[at] = v.x;
        b_tile[at + STRIDE] = v.y;
        b_tile[at + 2u * STRIDE] = v.z;
        b_tile[at + 3u * STRIDE] = v.w;
    } else {
        let k = thread / 16u;
        let r = (thread % 16u) * 4u;
        var v = vec4(0.0);
        if k0 + k < k_end { v = b_part(batch * p.k + k0 + k, n0 + r, p.n); }
        if ROUND_B { v = rounded(v); }
        let at = k * STRIDE + r;
        b_tile[at] = v.x;
        b_tile[at + 1u] = v.y;
        b_tile[at + 2u] = v.z;
        b_tile[at + 3u] = v.w;
    }
}

fn finished(value: f32, i: u32, column: u32) -> f32 {
    var v = value;
    if HAS_BIAS { v += bias(column); }
    switch EPILOGUE {
        case 1u: { return gelu(v); }
        case 2u: { return v * gelu_slope(extra(i)); }
        case 3u: { return v + extra(i); }
        default: { return v; }
    }
}

// Four elements of one row of C.
fn store(batch: u32, row: u32, n: u32, v: vec4<f32>) {
    if row >= p.m { return; }
    for (var j = 0u; j < 4u; j += 2u) {
        let i = (batch * p.m + row) * p.n + n + j;
        let two = vec2(select(v.x, v.z, j == 2u), select(v.y, v.w, j == 2u));
        if n + j + 1u < p.n {
            if EPILOGUE == 1u {
                var before = two;
                if HAS_BIAS { before += vec2(bias(n + j), bias(n + j + 1u)); }
                put2_pre(i, before.x, before.y);
            }
            put2_c(i, finished(two.x, i, n + j), finished(two.y, i + 1u, n + j + 1u));
        } else if n + j < p.n {
            if EPILOGUE == 1u {
                var before = two.x;
                if HAS_BIAS { before += bias(n + j); }
                put_pre(i, before);
            }
            put_c(i, finished(two.x, i, n + j));
        }
    }
}

@compute @workgroup_size(256)
fn gemm(
    @builtin(workgroup_id) id: vec3<u32>,
    @builtin(num_workgroups) groups: vec3<u32>,
    @builtin(local_invocation_index) thread: u32,
) {
    let g = group_index(id, groups);
    let tiles_n = (p.n + TILE - 1u) / TILE;
    let tiles_m = (p.m + TILE - 1u) / TILE;
    let n0 = (g % tiles_n) * TILE;
    let m0 = (g / tiles_n) % tiles_m * TILE;
    // Of several products, or of several stretches of k of one.
    let z = g / tiles_n / tiles_m;
    // Workgroups beyond the last product take part in its barriers.
    let source = select(min(z, p.count - 1u), 0u, SPLIT);
    let k_first = select(0u, z * p.stretch, SPLIT);
    let k_end = min(k_first + p.stretch, p.k);
    let ty = thread / 16u;
    let tx = thread % 16u;
    var c0 = vec4(0.0);
    var c1 = vec4(0.0);
    var c2 = vec4(0.0);
    var c3 = vec4(0.0);
    for (var k0 = k_first; k0 < k_end; k0 += DEPTH) {
        load_a(source, m0, k0, k_end, thread);
        load_b(source, n0, k0, k_end, thread);
        workgroupBarrier();
        for (var k = 0u; k < DEPTH; k++) {
            let i = k * STRIDE + ty * 4u;
            let j = k * STRIDE + tx * 4u;
            let b = vec4(b_tile[j], b_tile[j + 1u], b_tile[j + 2u], b_tile[j + 3u]);
            c0 += a_tile[i] * b;
            c1 += a_tile[i + 1u] * b;
            c2 += a_tile[i + 2u] * b;
            c3 += a_tile[i + 3u] * b;
        }
        workgroupBarrier();
    }
    if z >= p.count { return; }
    let row = m0 + ty * 4u;
    let n = n0 + tx * 4u;
    store(z, row, n, c0);
    store(z, row + 1u, n, c1);
    store(z, row + 2u, n, c2);
    store(z, row + 3u, n, c3);
}
