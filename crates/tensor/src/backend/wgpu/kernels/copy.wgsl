// Elements of any type moved as bits: constants, copies, permutations, blocks of matrices, conversions.

//: entry fill

@compute @workgroup_size(256)
fn fill(
    @builtin(workgroup_id) id: vec3<u32>,
    @builtin(num_workgroups) groups: vec3<u32>,
    @builtin(local_invocation_index) thread: u32,
) {
    let i = 2u * (group_index(id, groups) * 256u + thread);
    let bits = vec2(p.low, p.high);
    if i + 1u < p.count {
        put2_raw_y(i, bits, bits);
    } else if i < p.count {
        put_raw_y(i, bits);
    }
}

//: entry permute

// RANK axes of y of n0, n1, …; neighbours along axis i are a0, a1, … elements apart in x.
fn place(i: u32) -> u32 {
    let n = array<u32, 8>(p.n0, p.n1, p.n2, p.n3, p.n4, p.n5, p.n6, p.n7);
    let a = array<u32, 8>(p.a0, p.a1, p.a2, p.a3, p.a4, p.a5, p.a6, p.a7);
    var rest = i;
    var at = 0u;
    for (var axis = RANK; axis > 1u; axis--) {
        at += (rest % n[axis - 1u]) * a[axis - 1u];
        rest /= n[axis - 1u];
    }
    return at + rest * a[0];
}

@compute @workgroup_size(256)
fn permute(
    @builtin(workgroup_id) id: vec3<u32>,
    @builtin(num_workgroups) groups: vec3<u32>,
    @builtin(local_invocation_index) thread: u32,
) {
    let i = 2u * (group_index(id, groups) * 256u + thread);
    if i + 1u < p.count {
        put2_raw_y(i, raw_x(place(i)), raw_x(place(i + 1u)));
    } else if i < p.count {
        put_raw_y(i, raw_x(place(i)));
    }
}

//: entry block

// Rows of `columns` elements, from every x_stride to every y_stride; a thread takes two neighbours of a row.
@compute @workgroup_size(256)
fn block(
    @builtin(workgroup_id) id: vec3<u32>,
    @builtin(num_workgroups) groups: vec3<u32>,
    @builtin(local_invocation_index) thread: u32,
) {
    let i = group_index(id, groups) * 256u + thread;
    let pairs = (p.columns + 1u) / 2u;
    let row = i / pairs;
    let c = 2u * (i % pairs);
    if row >= p.rows { return; }
    let at = p.x_first + row * p.x_stride + c;
    let to = p.y_first + row * p.y_stride + c;
    if c + 1u < p.columns {
        put2_raw_y(to, raw_x(at), raw_x(at + 1u));
    } else {
        put_raw_y(to, raw_x(at));
    }
}

//: entry block_add

@compute @workgroup_size(256)
fn block_add(
    @builtin(workgroup_id) id: vec3<u32>,
    @builtin(num_workgroups) groups: vec3<u32>,
    @builtin(local_invocation_index) thread: u32,
) {
    let i = group_index(id, groups) * 256u + thread;
    let pairs = (p.columns + 1u) / 2u;
    let row = i / pairs;
    let c = 2u * (i % pairs);
    if row >= p.rows { return; }
    let at = p.x_first + row * p.x_stride + c;
    let to = p.y_first + row * p.y_stride + c;
    if c + 1u < p.columns {
        put2_y(to, x(at), x(at + 1u));
    } else {
        put_y(to, x(at));
    }
}

//: entry conversion

// Types by number: 0 float32, 1 bfloat16, 2 int32, 3 int64, 4 uint8. Integers pass through 64 bits.

fn float_of(bits: vec2<u32>) -> f32 {
    return bitcast<f32>(select(bits.x, bits.x << 16u, FROM == 1u));
}

fn long_of(bits: vec2<u32>) -> vec2<u32> {
    if FROM == 2u { return vec2(bits.x, u32(i32(bits.x) >> 31u)); }
    return bits;
}

fn negate(v: vec2<u32>) -> vec2<u32> {
    let low = ~v.x + 1u;
    return vec2(low, ~v.y + select(0u, 1u, low == 0u));
}

// To nearest, ties to even.
fn float_of_long(v: vec2<u32>) -> f32 {
    let negative = (v.y >> 31u) == 1u;
    let m = select(v, negate(v), negative);
    if m.x == 0u && m.y == 0u { return 0.0; }
    // The leading one becomes bit 63.
    let zeros = select(countLeadingZeros(m.y), 32u + countLeadingZeros(m.x), m.y == 0u);
    var high = m.y;
    var low = m.x;
    if zeros >= 32u { high = low; low = 0u; }
    let s = zeros & 31u;
    if s > 0u { high = (high << s) | (low >> (32u - s)); low = low << s; }
    // 24 bits stay; those below decide.
    let kept = high >> 8u;
    let rest = high & 0xffu;
    let up = rest > 0x80u || (rest == 0x80u && (low != 0u || (kept & 1u) == 1u));
    // A carry out of the mantissa raises the exponent, as it should.
    let bits = ((190u - zeros) << 23u) + (kept & 0x7fffffu) + select(0u, 1u, up);
    return bitcast<f32>(bits | select(0u, 0x80000000u, negative));
}

// Cut towards zero; what is out of range goes to its end, NaN to 0.
fn long_of_float(f: f32) -> vec2<u32> {
    if is_nan(f) { return vec2(0u); }
    let bits = bitcast<u32>(f);
    let negative = (bits >> 31u) == 1u;
    let e = i32((bits >> 23u) & 0xffu) - 150;
    let m = (bits & 0x7fffffu) | 0x800000u;
    if e <= -24 { return vec2(0u); }
    if e >= 40 { return select(vec2(0xffffffffu, 0x7fffffffu), vec2(0u, 0x80000000u), negative); }
    var v = vec2(m, 0u);
    if e < 0 {
        v.x = m >> u32(-e);
    } else if e >= 32 {
        v = vec2(0u, m << u32(e - 32));
    } else if e > 0 {
        v = vec2(m << u32(e), m >> u32(32 - e));
    }
    return select(v, negate(v), negative);
}

// Of a float's whole part, to the type's range.
fn clamped(v: vec2<u32>, low: i32, high: i32) -> u32 {
    let negative = (v.y >> 31u) == 1u;
    let fits = v.y == u32(i32(v.x) >> 31u);
    if !fits { return u32(select(high, low, negative)); }
    return u32(clamp(i32(v.x), low, high));
}

fn convert(bits: vec2<u32>) -> vec2<u32> {
    if FROM <= 1u {
        let f = float_of(bits);
        switch TO {
            case 0u: { return vec2(bitcast<u32>(f), 0u); }
            case 1u: { return vec2(to_bf16(f), 0u); }
            case 2u: { return vec2(clamped(long_of_float(f), -2147483647 - 1, 2147483647), 0u); }
            case 3u: { return long_of_float(f); }
            default: { return vec2(clamped(long_of_float(f), 0, 255), 0u); }
        }
    }
    let v = long_of(bits);
    switch TO {
        case 0u: { return vec2(bitcast<u32>(float_of_long(v)), 0u); }
        case 1u: { return vec2(to_bf16(float_of_long(v)), 0u); }
        case 2u: { return vec2(v.x, 0u); }
        case 3u: { return v; }
        default: { return vec2(v.x & 0xffu, 0u); }
    }
}

@compute @workgroup_size(256)
fn conversion(
    @builtin(workgroup_id) id: vec3<u32>,
    @builtin(num_workgroups) groups: vec3<u32>,
    @builtin(local_invocation_index) thread: u32,
) {
    let i = 2u * (group_index(id, groups) * 256u + thread);
    if i + 1u < p.count {
        put2_raw_y(i, convert(raw_x(i)), convert(raw_x(i + 1u)));
    } else if i < p.count {
        put_raw_y(i, convert(raw_x(i)));
    }
}
