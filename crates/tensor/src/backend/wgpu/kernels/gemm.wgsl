// C = A·B, tile by tile: a workgroup of 8 × 8 threads makes 32·HIGH × 32·WIDE elements of C, a thread HIGH × WIDE blocks of 4 × 4,
// 32 apart, in registers. Both operands' tiles of 16 along k lie in shared memory, k outermost, as vectors of four along the side.
// LAYOUT: 0 A [m,k] B [n,k]; 1 A [m,k] B [k,n]; 2 A [k,m] B [k,n]. ROUND_A, ROUND_B: operands are rounded to bfloat16.
// A_FOURS, B_FOURS: rows of the operand are whole vectors of four.
// EPILOGUE: 0 none, 1 GELU (saving what it is taken of in `pre`), 2 times GELU's slope at `extra`, 3 plus `extra`.

const DEPTH = 16u;
const THREADS = 64u;
// Vectors to a side; one more, so that neighbours in k are not in one bank.
const A_STRIDE = 8u * HIGH + 1u;
const B_STRIDE = 8u * WIDE + 1u;
const B_FIRST = A_STRIDE * DEPTH;

// A's tile, then B's; at the end, C's.
var<workgroup> tile: array<vec4<f32>, max((A_STRIDE + B_STRIDE) * DEPTH, 32u * HIGH * B_STRIDE)>;

fn rounded(v: vec4<f32>) -> vec4<f32> {
    return vec4(round_bf16(v.x), round_bf16(v.y), round_bf16(v.z), round_bf16(v.w));
}

// Four neighbours of a row of `width` elements from column c on, 0 beyond its end.
fn a_part(row: u32, c: u32, width: u32) -> vec4<f32> {
    let i = row * width + c;
    if A_FOURS {
        if c < width { return a4(i); }
        return vec4(0.0);
    }
    if c + 3u < width { return a4(i); }
    var v = vec4(0.0);
    if c < width { v.x = a(i); }
    if c + 1u < width { v.y = a(i + 1u); }
    if c + 2u < width { v.z = a(i + 2u); }
    return v;
}

fn b_part(row: u32, c: u32, width: u32) -> vec4<f32> {
    let i = row * width + c;
    if B_FOURS {
        if c < width { return b4(i); }
        return vec4(0.0);
    }
    if c + 3u < width { return b4(i); }
    var v = vec4(0.0);
    if c < width { v.x = b(i); }
    if c + 1u < width { v.y = b(i + 1u); }
    if c + 2u < width { v.z = b(i + 2u); }
    return v;
}

fn load_a(batch: u32, m0: u32, k0: u32, k_end: u32, thread: u32) {
    for (var e = thread; e < 8u * HIGH * DEPTH; e += THREADS) {
        var v = vec4(0.0);
        if LAYOUT == 2u {
            // Rows along k.
            let k = e / (8u * HIGH);
            let r = e % (8u * HIGH);
            if k0 + k < k_end { v = a_part(batch * p.k + k0 + k, m0 + 4u * r, p.m); }
            if ROUND_A { v = rounded(v); }
            tile[k * A_STRIDE + r] = v;
        } else {
            let r = e / (DEPTH / 4u);
            let k = e % (DEPTH / 4u) * 4u;
            if m0 + r < p.m { v = a_part(batch * p.m + m0 + r, k0 + k, p.k); }
            if ROUND_A { v = rounded(v); }
            for (var i = 0u; i < 4u; i++) { tile[(k + i) * A_STRIDE + r / 4u][r % 4u] = v[i]; }
        }
    }
}

fn load_b(batch: u32, n0: u32, k0: u32, k_end: u32, thread: u32) {
    for (var e = thread; e < 8u * WIDE * DEPTH; e += THREADS) {
        var v = vec4(0.0);
        if LAYOUT == 0u {
            let r = e / (DEPTH / 4u);
            let k = e % (DEPTH / 4u) * 4u;
            if n0 + r < p.n { v = b_part(batch * p.n + n0 + r, k0 + k, p.k); }
            if ROUND_B { v = rounded(v); }
            for (var i = 0u; i < 4u; i++) { tile[B_FIRST + (k + i) * B_STRIDE + r / 4u][r % 4u] = v[i]; }
        } else {
            let k = e / (8u * WIDE);
            let r = e % (8u * WIDE);
            if k0 + k < k_end { v = b_part(batch * p.k + k0 + k, n0 + 4u * r, p.n); }
            if ROUND_B { v = rounded(v); }
            tile[B_FIRST + k * B_STRIDE + r] = v;
        }
    }
}

fn finished(v: f32, i: u32) -> f32 {
    switch EPILOGUE {
        case 1u: { return gelu(v); }
        case 2u: { return v * gelu_slope(extra(i)); }
        case 3u: { return v + extra(i); }
        default: { return v; }
    }
}

// Two neighbours of a row of C.
fn store(row: u32, n: u32, v: vec2<f32>) {
    let i = row * p.n + n;
    var before = v;
    if n + 1u < p.n {
        if HAS_BIAS { before += vec2(bias(n), bias(n + 1u)); }
        if EPILOGUE == 1u { put2_pre(i, before.x, before.y); }
        put2_c(i, finished(before.x, i), finished(before.y, i + 1u));
    } else if n < p.n {
        if HAS_BIAS { before.x += bias(n); }
        if EPILOGUE == 1u { put_pre(i, before.x); }
        put_c(i, finished(before.x, i));
    }
}

@compute @workgroup_size(THREADS)
fn gemm(
    @builtin(workgroup_id) id: vec3<u32>,
    @builtin(num_workgroups) groups: vec3<u32>,
    @builtin(local_invocation_index) thread: u32,
) {
    let g = group_index(id, groups);
    let tiles_n = (p.n + 32u * WIDE - 1u) / (32u * WIDE);
    let tiles_m = (p.m + 32u * HIGH - 1u) / (32u * HIGH);
    let n0 = (g % tiles_n) * 32u * WIDE;
    let m0 = (g / tiles_n) % tiles_m * 32u * HIGH;
    // Of several products, or of several stretches of k of one.
    let z = g / tiles_n / tiles_m;
    // Workgroups beyond the last product take part in its barriers.
    let source = select(min(z, p.count - 1u), 0u, SPLIT);
    let k_first = select(0u, z * p.stretch, SPLIT);
    let k_end = min(k_first + p.stretch, p.k);
    let ty = thread / 8u;
    let tx = thread % 8u;
    let inside = m0 + 4u * ty < p.m && n0 + 4u * tx < p.n;
    // Four rows of each block, WIDE vectors a row.
    var c: array<vec4<f32>, 4u * HIGH * WIDE>;
    for (var i = 0u; i < 4u * HIGH * WIDE; i++) { c[i] = vec4(0.0); }
    for (var k0 = k_first; k0 < k_end; k0 += DEPTH) {
        load_a(source, m0, k0, k_end, thread);
        load_b(source, n0, k0, k_end, thread);
        workgroupBarrier();
        if inside {
            for (var k = 0u; k < DEPTH; k++) {
                var b: array<vec4<f32>, WIDE>;
                for (var j = 0u; j < WIDE; j++) { b[j] = tile[B_FIRST + k * B_STRIDE + 8u * j + tx]; }
                for (var i = 0u; i < HIGH; i++) {
                    let a = tile[k * A_STRIDE + 8u * i + ty];
                    for (var r = 0u; r < 4u; r++) {
                        for (var j = 0u; j < WIDE; j++) { c[(4u * i + r) * WIDE + j] += a[r] * b[j]; }
                    }
                }
            }
        }
        workgroupBarrier();
    }
    // Through shared memory, so that neighbours write neighbours.
    for (var i = 0u; i < 4u * HIGH; i++) {
        let r = i / 4u * 32u + 4u * ty + i % 4u;
        for (var j = 0u; j < WIDE; j++) { tile[r * B_STRIDE + 8u * j + tx] = c[i * WIDE + j]; }
    }
    workgroupBarrier();
    if z >= p.count { return; }
    for (var e = thread; e < 512u * HIGH * WIDE; e += THREADS) {
        let row = m0 + e / (16u * WIDE);
        let n = e % (16u * WIDE);
        if row < p.m {
            let v = tile[e / (16u * WIDE) * B_STRIDE + n / 2u];
            store(z * p.m + row, n0 + 2u * n, select(v.xy, v.zw, n % 2u == 1u));
        }
    }
}
