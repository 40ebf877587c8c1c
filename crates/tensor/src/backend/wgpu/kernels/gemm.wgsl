// C = A·B, tile by tile: a workgroup of THREADS makes 32·HIGH × 32·WIDE elements of C from tiles of DEPTH along k of both operands,
// which lie in shared memory.
// LAYOUT: 0 A [m,k] B [n,k]; 1 A [m,k] B [k,n]; 2 A [k,m] B [k,n]. ROUND_A, ROUND_B: operands are rounded to bfloat16.
// A_FOURS, B_FOURS: rows of the operand are whole vectors of four.
// EPILOGUE: 0 none, 1 GELU (saving what it is taken of in `pre`), 2 times GELU's slope at `extra`, 3 plus `extra`.

// Vectors of four of the operands' tiles.
const A_VECTORS = 8u * HIGH * DEPTH;
const B_VECTORS = 8u * WIDE * DEPTH;

// Which product's, or stretch of k's, which tile of it, and its part of k.
struct Tile { z: u32, source: u32, m0: u32, n0: u32, k_first: u32, k_end: u32 }

fn tile_of(g: u32) -> Tile {
    let tiles_n = (p.n + 32u * WIDE - 1u) / (32u * WIDE);
    let tiles_m = (p.m + 32u * HIGH - 1u) / (32u * HIGH);
    // Of several products, or of several stretches of k of one.
    let z = g / tiles_n / tiles_m;
    // Workgroups beyond the last product take part in its barriers.
    let source = select(min(z, p.count - 1u), 0u, SPLIT);
    let k_first = select(0u, z * p.stretch, SPLIT);
    return Tile(
        z,
        source,
        (g / tiles_n) % tiles_m * 32u * HIGH,
        (g % tiles_n) * 32u * WIDE,
        k_first,
        min(k_first + p.stretch, p.k),
    );
}

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

// Vector e of an operand's tile is four neighbours in memory. Where those are along k, DEPTH / 4 vectors are of one row or column of
// C, else as many as the tile's side has of one place along k.
fn side_of(e: u32, along_k: bool, side: u32) -> u32 { return select(e % (side / 4u) * 4u, e / (DEPTH / 4u), along_k); }
fn k_of(e: u32, along_k: bool, side: u32) -> u32 { return select(e / (side / 4u), e % (DEPTH / 4u) * 4u, along_k); }

const A_ALONG_K = LAYOUT != 2u;
const B_ALONG_K = LAYOUT == 0u;

// 0 beyond the edges.
fn a_vector(e: u32, k0: u32, t: Tile) -> vec4<f32> {
    var v = vec4(0.0);
    let m = t.m0 + side_of(e, A_ALONG_K, 32u * HIGH);
    let k = k0 + k_of(e, A_ALONG_K, 32u * HIGH);
    if A_ALONG_K {
        if m < p.m { v = a_part(t.source * p.m + m, k, p.k); }
    } else if k < t.k_end {
        v = a_part(t.source * p.k + k, m, p.m);
    }
    if ROUND_A { v = rounded(v); }
    return v;
}

fn b_vector(e: u32, k0: u32, t: Tile) -> vec4<f32> {
    var v = vec4(0.0);
    let n = t.n0 + side_of(e, B_ALONG_K, 32u * WIDE);
    let k = k0 + k_of(e, B_ALONG_K, 32u * WIDE);
    if B_ALONG_K {
        if n < p.n { v = b_part(t.source * p.n + n, k, p.k); }
    } else if k < t.k_end {
        v = b_part(t.source * p.k + k, n, p.n);
    }
    if ROUND_B { v = rounded(v); }
    return v;
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

// Rows that lie in shared memory by now, neighbours beside neighbours. Row r there is the tile's row `row_of(r)`, and `pair(r, n)` two
// neighbours of it.
fn store_rows(first: u32, end: u32, t: Tile, thread: u32) {
    if t.z >= p.count { return; }
    for (var e = first * 16u * WIDE + thread; e < end * 16u * WIDE; e += THREADS) {
        let r = e / (16u * WIDE);
        let n = e % (16u * WIDE) * 2u;
        let row = t.m0 + row_of(r);
        if row < p.m { store(t.z * p.m + row, t.n0 + n, pair(r, n)); }
    }
}

//: entry gemm

// A thread of 8 × 8 makes HIGH × WIDE blocks of 4 × 4, 32 apart, in registers. Tiles lie k outermost, as vectors of four along the
// side; one more, so that neighbours in k are not in one bank.
const A_STRIDE = 8u * HIGH + 1u;
const B_STRIDE = 8u * WIDE + 1u;
const B_FIRST = A_STRIDE * DEPTH;

// A's tile, then B's; at the end, C's.
var<workgroup> tile: array<vec4<f32>, max((A_STRIDE + B_STRIDE) * DEPTH, 32u * HIGH * B_STRIDE)>;

fn keep(first: u32, stride: u32, side: u32, k: u32, v: vec4<f32>, along_k: bool) {
    if along_k {
        for (var i = 0u; i < 4u; i++) { tile[first + (k + i) * stride + side / 4u][side % 4u] = v[i]; }
    } else {
        tile[first + k * stride + side / 4u] = v;
    }
}

fn row_of(r: u32) -> u32 { return r; }

fn pair(r: u32, n: u32) -> vec2<f32> {
    let v = tile[r * B_STRIDE + n / 4u];
    return select(v.xy, v.zw, n % 4u == 2u);
}

@compute @workgroup_size(THREADS)
fn gemm(
    @builtin(workgroup_id) id: vec3<u32>,
    @builtin(num_workgroups) groups: vec3<u32>,
    @builtin(local_invocation_index) thread: u32,
) {
    let t = tile_of(group_index(id, groups));
    let ty = thread / 8u;
    let tx = thread % 8u;
    let inside = t.m0 + 4u * ty < p.m && t.n0 + 4u * tx < p.n;
    // Four rows of each block, WIDE vectors a row.
    var c: array<vec4<f32>, 4u * HIGH * WIDE>;
    for (var i = 0u; i < 4u * HIGH * WIDE; i++) { c[i] = vec4(0.0); }
    for (var k0 = t.k_first; k0 < t.k_end; k0 += DEPTH) {
        for (var e = thread; e < A_VECTORS; e += THREADS) {
            let side = side_of(e, A_ALONG_K, 32u * HIGH);
            keep(0u, A_STRIDE, side, k_of(e, A_ALONG_K, 32u * HIGH), a_vector(e, k0, t), A_ALONG_K);
        }
        for (var e = thread; e < B_VECTORS; e += THREADS) {
            let side = side_of(e, B_ALONG_K, 32u * WIDE);
            keep(B_FIRST, B_STRIDE, side, k_of(e, B_ALONG_K, 32u * WIDE), b_vector(e, k0, t), B_ALONG_K);
        }
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
    for (var i = 0u; i < 4u * HIGH; i++) {
        let r = i / 4u * 32u + 4u * ty + i % 4u;
        for (var j = 0u; j < WIDE; j++) { tile[r * B_STRIDE + 8u * j + tx] = c[i * WIDE + j]; }
    }
    workgroupBarrier();
    store_rows(0u, 32u * HIGH, t, thread);
}

//: entry matrices

// By cooperative matrices of SIZE × SIZE: each of four subgroups makes a quarter of the tile, DOWN × ACROSS of them. Operands are f32, or
// f16 where computing in bfloat16 is asked for; sums are f32.
// f16 has fewer exponents than bfloat16, so with SCALED each row of A and column of B is multiplied by the power of two that takes its
// largest finite element to 2¹⁴ … 2¹⁵, and C's elements by the powers' reciprocals, which is exact. Elements down to 2⁻²⁸ of the largest
// of their row keep all of their bits, for f16 has more of them. Of what is smaller the error is at most 2⁻³⁸ of the largest, as far
// below what rounding to bfloat16 makes of that as f32's own is. Nothing becomes 0, infinities and NaN stay what they are, so products
// with these are what they were.
const DOWN = 16u * HIGH / SIZE;
const ACROSS = 16u * WIDE / SIZE;

// Operands lie as in memory. Rows begin at multiples of 16 bytes, as loading wants it, and not all in one bank.
const PAD = select(4u, 8u, SCALED);
const A_PITCH = select(32u * HIGH, DEPTH, A_ALONG_K) + PAD;
const B_PITCH = select(32u * WIDE, DEPTH, B_ALONG_K) + PAD;
const B_FIRST = A_PITCH * select(DEPTH, 32u * HIGH, A_ALONG_K);
const SUM_PITCH = 32u * WIDE + 4u;
const SCALES = select(1u, 32u * (HIGH + WIDE), SCALED);

var<workgroup> operands: array<Element, B_FIRST + B_PITCH * select(DEPTH, 32u * WIDE, B_ALONG_K)>;
// Of each quarter SIZE rows at a time, and room for what nobody reads.
var<workgroup> sums: array<f32, 3u * SIZE * SUM_PITCH>;
// Bits of the largest elements, and the exponents of what they are scaled by: A's rows, then B's columns.
var<workgroup> largest: array<atomic<u32>, SCALES>;
var<workgroup> exponents: array<i32, SCALES>;

// Bits that grow with the magnitude, 0 of what is not finite.
fn magnitudes(v: vec4<f32>) -> vec4<u32> {
    let bits = bitcast<vec4<u32>>(v) & vec4(0x7fffffffu);
    return select(bits, vec4(0u), bits >= vec4(0x7f800000u));
}

fn raise(i: u32, bits: vec4<u32>, along_k: bool) {
    if along_k {
        atomicMax(&largest[i], max(max(bits.x, bits.y), max(bits.z, bits.w)));
    } else {
        for (var j = 0u; j < 4u; j++) { atomicMax(&largest[i + j], bits[j]); }
    }
}

fn measure(t: Tile, thread: u32) {
    for (var i = thread; i < SCALES; i += THREADS) { atomicStore(&largest[i], 0u); }
    workgroupBarrier();
    for (var e = thread; e < A_VECTORS; e += THREADS) {
        var most = vec4(0u);
        for (var k0 = t.k_first; k0 < t.k_end; k0 += DEPTH) { most = max(most, magnitudes(a_vector(e, k0, t))); }
        raise(side_of(e, A_ALONG_K, 32u * HIGH), most, A_ALONG_K);
    }
    for (var e = thread; e < B_VECTORS; e += THREADS) {
        var most = vec4(0u);
        for (var k0 = t.k_first; k0 < t.k_end; k0 += DEPTH) { most = max(most, magnitudes(b_vector(e, k0, t))); }
        raise(32u * HIGH + side_of(e, B_ALONG_K, 32u * WIDE), most, B_ALONG_K);
    }
    workgroupBarrier();
    for (var i = thread; i < SCALES; i += THREADS) {
        // Within what f32 has, and its reciprocal too.
        exponents[i] = min(141 - i32(atomicLoad(&largest[i]) >> 23u), 126);
    }
    workgroupBarrier();
}

// 2⁻²⁴, the least that f16 has beside 0.
const LEAST = 5.9604644775390625e-8;

fn scaled(v: vec4<f32>, i: u32, along_k: bool) -> vec4<f32> {
    if !SCALED { return v; }
    var by = vec4(power_of_two(exponents[i]));
    if !along_k {
        by.y = power_of_two(exponents[i + 1u]);
        by.z = power_of_two(exponents[i + 2u]);
        by.w = power_of_two(exponents[i + 3u]);
    }
    let y = v * by;
    return select(y, sign(v) * LEAST, (abs(y) < vec4(LEAST)) & (v != vec4(0.0)));
}

fn keep(at: u32, v: vec4<f32>) {
    operands[at] = Element(v.x);
    operands[at + 1u] = Element(v.y);
    operands[at + 2u] = Element(v.z);
    operands[at + 3u] = Element(v.w);
}

fn load(k0: u32, t: Tile, thread: u32) {
    for (var e = thread; e < A_VECTORS; e += THREADS) {
        let m = side_of(e, A_ALONG_K, 32u * HIGH);
        let k = k_of(e, A_ALONG_K, 32u * HIGH);
        keep(select(k * A_PITCH + m, m * A_PITCH + k, A_ALONG_K), scaled(a_vector(e, k0, t), m, A_ALONG_K));
    }
    for (var e = thread; e < B_VECTORS; e += THREADS) {
        let n = side_of(e, B_ALONG_K, 32u * WIDE);
        let k = k_of(e, B_ALONG_K, 32u * WIDE);
        let at = B_FIRST + select(k * B_PITCH + n, n * B_PITCH + k, B_ALONG_K);
        keep(at, scaled(b_vector(e, k0, t), 32u * HIGH + n, B_ALONG_K));
    }
}

fn a_matrix(m: u32, k: u32) -> MatrixA {
    if A_ALONG_K { return coopLoadT<MatrixA>(&operands[m * A_PITCH + k], A_PITCH); }
    return coopLoad<MatrixA>(&operands[k * A_PITCH + m], A_PITCH);
}

fn b_matrix(k: u32, n: u32) -> MatrixB {
    if B_ALONG_K { return coopLoad<MatrixB>(&operands[B_FIRST + n * B_PITCH + k], B_PITCH); }
    return coopLoadT<MatrixB>(&operands[B_FIRST + k * B_PITCH + n], B_PITCH);
}

fn row_of(r: u32) -> u32 { return r % (2u * SIZE) / SIZE * 16u * HIGH + r / (2u * SIZE) * SIZE + r % SIZE; }

fn pair(r: u32, n: u32) -> vec2<f32> {
    let at = r % (2u * SIZE) * SUM_PITCH + n;
    let v = vec2(sums[at], sums[at + 1u]);
    if !SCALED { return v; }
    let row = exponents[row_of(r)];
    let column = 32u * HIGH + n;
    return vec2(unscaled(v.x, -row - exponents[column]), unscaled(v.y, -row - exponents[column + 1u]));
}

// In two steps: the power may be out of range by itself.
fn unscaled(v: f32, exponent: i32) -> f32 {
    let half = exponent >> 1u;
    return v * power_of_two(half) * power_of_two(exponent - half);
}

fn store_band(i: u32, t: Tile, thread: u32) {
    workgroupBarrier();
    store_rows(i * 2u * SIZE, (i + 1u) * 2u * SIZE, t, thread);
    workgroupBarrier();
}

@compute @workgroup_size(THREADS)
fn matrices(
    @builtin(workgroup_id) id: vec3<u32>,
    @builtin(num_workgroups) groups: vec3<u32>,
    @builtin(local_invocation_index) thread: u32,
    @builtin(subgroup_id) subgroup: u32,
) {
    let t = tile_of(group_index(id, groups));
    if SCALED { measure(t, thread); }
    // Subgroups beyond the fourth, of adapters whose subgroups may be smaller than the largest, repeat what others do: matrices want
    // all to take the same way.
    let m = subgroup / 2u % 2u * 16u * HIGH;
    let n = subgroup % 2u * 16u * WIDE;
    // Not an array: there are none of matrices.
    var c00: MatrixC; var c01: MatrixC; var c02: MatrixC; var c03: MatrixC;
    var c10: MatrixC; var c11: MatrixC; var c12: MatrixC; var c13: MatrixC;
    var c20: MatrixC; var c21: MatrixC; var c22: MatrixC; var c23: MatrixC;
    var c30: MatrixC; var c31: MatrixC; var c32: MatrixC; var c33: MatrixC;
    for (var k0 = t.k_first; k0 < t.k_end; k0 += DEPTH) {
        load(k0, t, thread);
        workgroupBarrier();
        // No longer than k is: what lies beyond is 0.
        for (var k = 0u; k < min(DEPTH, t.k_end - k0); k += SIZE) {
            var b1: MatrixB; var b2: MatrixB; var b3: MatrixB;
            let b0 = b_matrix(k, n);
            if ACROSS > 1u { b1 = b_matrix(k, n + SIZE); }
            if ACROSS > 2u { b2 = b_matrix(k, n + 2u * SIZE); b3 = b_matrix(k, n + 3u * SIZE); }
            let a0 = a_matrix(m, k);
            c00 = coopMultiplyAdd(a0, b0, c00);
            if ACROSS > 1u { c01 = coopMultiplyAdd(a0, b1, c01); }
            if ACROSS > 2u { c02 = coopMultiplyAdd(a0, b2, c02); c03 = coopMultiplyAdd(a0, b3, c03); }
            if DOWN > 1u {
                let a1 = a_matrix(m + SIZE, k);
                c10 = coopMultiplyAdd(a1, b0, c10);
                if ACROSS > 1u { c11 = coopMultiplyAdd(a1, b1, c11); }
                if ACROSS > 2u { c12 = coopMultiplyAdd(a1, b2, c12); c13 = coopMultiplyAdd(a1, b3, c13); }
            }
            if DOWN > 2u {
                let a2 = a_matrix(m + 2u * SIZE, k);
                c20 = coopMultiplyAdd(a2, b0, c20);
                if ACROSS > 1u { c21 = coopMultiplyAdd(a2, b1, c21); }
                if ACROSS > 2u { c22 = coopMultiplyAdd(a2, b2, c22); c23 = coopMultiplyAdd(a2, b3, c23); }
                let a3 = a_matrix(m + 3u * SIZE, k);
                c30 = coopMultiplyAdd(a3, b0, c30);
                if ACROSS > 1u { c31 = coopMultiplyAdd(a3, b1, c31); }
                if ACROSS > 2u { c32 = coopMultiplyAdd(a3, b2, c32); c33 = coopMultiplyAdd(a3, b3, c33); }
            }
        }
        workgroupBarrier();
    }
    // What is made twice is kept once.
    let at = select(2u * SIZE * SUM_PITCH, subgroup / 2u * SIZE * SUM_PITCH, subgroup < 4u) + n;
    coopStoreT(c00, &sums[at], SUM_PITCH);
    if ACROSS > 1u { coopStoreT(c01, &sums[at + SIZE], SUM_PITCH); }
    if ACROSS > 2u { coopStoreT(c02, &sums[at + 2u * SIZE], SUM_PITCH); coopStoreT(c03, &sums[at + 3u * SIZE], SUM_PITCH); }
    store_band(0u, t, thread);
    if DOWN > 1u {
        coopStoreT(c10, &sums[at], SUM_PITCH);
        if ACROSS > 1u { coopStoreT(c11, &sums[at + SIZE], SUM_PITCH); }
        if ACROSS > 2u { coopStoreT(c12, &sums[at + 2u * SIZE], SUM_PITCH); coopStoreT(c13, &sums[at + 3u * SIZE], SUM_PITCH); }
        store_band(1u, t, thread);
    }
    if DOWN > 2u {
        coopStoreT(c20, &sums[at], SUM_PITCH);
        if ACROSS > 1u { coopStoreT(c21, &sums[at + SIZE], SUM_PITCH); }
        if ACROSS > 2u { coopStoreT(c22, &sums[at + 2u * SIZE], SUM_PITCH); coopStoreT(c23, &sums[at + 3u * SIZE], SUM_PITCH); }
        store_band(2u, t, thread);
        coopStoreT(c30, &sums[at], SUM_PITCH);
        if ACROSS > 1u { coopStoreT(c31, &sums[at + SIZE], SUM_PITCH); }
        if ACROSS > 2u { coopStoreT(c32, &sums[at + 2u * SIZE], SUM_PITCH); coopStoreT(c33, &sums[at + 3u * SIZE], SUM_PITCH); }
        store_band(3u, t, thread);
    }
}
