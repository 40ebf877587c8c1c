// IEEE 754 double precision by whole numbers of 32 bits, which every adapter has. A number is its bits: vec2(low word, high word).
//
// Results are those of the standard, bit for bit: rounded to nearest, ties to even, with subnormals, infinities and both zeros. A NaN
// that arises is 0x7ff80000_00000000, whatever NaN it comes from. Source: IEEE 754-2019; Knuth, TAOCP 2, 4.2.1 and 4.3.1 (algorithm D).

const NAN64 = vec2(0u, 0x7ff80000u);
const SIGN = 0x80000000u;

// What is neither 0, infinite nor NaN: mantissa·2^(exponent − 1023 − 63), bit 63 of the mantissa set, its last 11 bits clear.
struct Finite64 {
    exponent: i32,
    mantissa: vec2<u32>,
}

fn is_zero64(a: vec2<u32>) -> bool { return (a.x | (a.y & ~SIGN)) == 0u; }
// Infinite or NaN.
fn is_special64(a: vec2<u32>) -> bool { return (a.y & 0x7ff00000u) == 0x7ff00000u; }
fn is_nan64(a: vec2<u32>) -> bool { return is_special64(a) && (a.x | (a.y & 0xfffffu)) != 0u; }

fn negative64(a: vec2<u32>) -> vec2<u32> { return vec2(a.x, a.y ^ SIGN); }
fn absolute64(a: vec2<u32>) -> vec2<u32> { return vec2(a.x, a.y & ~SIGN); }

// Of whole numbers of 64 bits.
fn whole_less(a: vec2<u32>, b: vec2<u32>) -> bool { return a.y < b.y || (a.y == b.y && a.x < b.x); }
fn whole_sum(a: vec2<u32>, b: vec2<u32>) -> vec2<u32> {
    let low = a.x + b.x;
    return vec2(low, a.y + b.y + select(0u, 1u, low < a.x));
}
fn whole_difference(a: vec2<u32>, b: vec2<u32>) -> vec2<u32> {
    return vec2(a.x - b.x, a.y - b.y - select(0u, 1u, a.x < b.x));
}
fn leading_zeros(v: vec2<u32>) -> u32 {
    return select(countLeadingZeros(v.y), 32u + countLeadingZeros(v.x), v.y == 0u);
}

// By less than 64 bits.
fn shifted_left(v: vec2<u32>, n: u32) -> vec2<u32> {
    let s = n & 31u;
    let low = v.x << s;
    let high = (v.y << s) | select(v.x >> (32u - s), 0u, s == 0u);
    return select(vec2(low, high), vec2(0u, low), n >= 32u);
}

// By any number of bits; bit 0 is set if any that fell out was.
fn shifted_right(v: vec2<u32>, n: u32) -> vec2<u32> {
    let s = n & 31u;
    let over = select(v.y << (32u - s), 0u, s == 0u);
    let out = select(v.x << (32u - s), 0u, s == 0u);
    let near = vec2((v.x >> s) | over, v.y >> s);
    let far = vec2(v.y >> s, 0u);
    var y = select(near, far, n >= 32u);
    var lost = select(out, v.x | over, n >= 32u);
    if n >= 64u {
        y = vec2(0u);
        lost = v.x | v.y;
    }
    return vec2(y.x | select(0u, 1u, lost != 0u), y.y);
}

// The 64 bits of a product.
fn product32(a: u32, b: u32) -> vec2<u32> {
    let low = (a & 0xffffu) * (b & 0xffffu);
    let cross = (a >> 16u) * (b & 0xffffu);
    let across = (a & 0xffffu) * (b >> 16u);
    let middle = (low >> 16u) + (cross & 0xffffu) + (across & 0xffffu);
    let high = (a >> 16u) * (b >> 16u) + (cross >> 16u) + (across >> 16u) + (middle >> 16u);
    return vec2((low & 0xffffu) | (middle << 16u), high);
}

fn finite64(a: vec2<u32>) -> Finite64 {
    let exponent = i32((a.y >> 20u) & 0x7ffu);
    let fraction = shifted_left(vec2(a.x, a.y & 0xfffffu), 11u);
    if exponent > 0 { return Finite64(exponent, vec2(fraction.x, fraction.y | SIGN)); }
    let zeros = leading_zeros(fraction);
    return Finite64(1 - i32(zeros), shifted_left(fraction, zeros));
}

// mantissa·2^(exponent − 1023 − 63), whose bit 63 is set, rounded. `sign` is SIGN or 0.
fn rounded64(sign: u32, exponent: i32, mantissa: vec2<u32>) -> vec2<u32> {
    if exponent >= 2047 { return vec2(0u, sign | 0x7ff00000u); }
    var m = mantissa;
    if exponent <= 0 { m = shifted_right(m, u32(1 - exponent)); }
    let rest = m.x & 0x7ffu;
    let up = rest > 0x400u || (rest == 0x400u && (m.x & 0x800u) != 0u);
    let kept = vec2((m.x >> 11u) | (m.y << 21u), m.y >> 11u);
    // The leading one adds itself to the exponent, and so does a carry out of the fraction, up to infinity.
    let y = whole_sum(kept, vec2(select(0u, 1u, up), u32(max(exponent - 1, 0)) << 20u));
    return vec2(y.x, y.y | sign);
}

// v·2^exponent, rounded.
fn scaled64(v: vec2<u32>, exponent: i32) -> vec2<u32> {
    if (v.x | v.y) == 0u { return v; }
    let zeros = leading_zeros(v);
    return rounded64(0u, 1023 + 63 - i32(zeros) + exponent, shifted_left(v, zeros));
}

fn from_i32(v: i32) -> vec2<u32> {
    let y = scaled64(vec2(u32(abs(v)), 0u), 0);
    return vec2(y.x, y.y | select(0u, SIGN, v < 0));
}

fn add64(a: vec2<u32>, b: vec2<u32>) -> vec2<u32> {
    if is_special64(a) || is_special64(b) {
        let opposed = is_special64(a) && is_special64(b) && a.y != b.y;
        if is_nan64(a) || is_nan64(b) || opposed { return NAN64; }
        return select(b, a, is_special64(a));
    }
    let swap = whole_less(absolute64(a), absolute64(b));
    let large = select(a, b, swap);
    let small = select(b, a, swap);
    if is_zero64(small) { return select(large, vec2(0u, a.y & b.y), is_zero64(large)); }
    let x = finite64(large);
    let y = finite64(small);
    let addend = shifted_right(y.mantissa, u32(x.exponent - y.exponent));
    var exponent = x.exponent;
    var m: vec2<u32>;
    if ((a.y ^ b.y) & SIGN) == 0u {
        m = whole_sum(x.mantissa, addend);
        if whole_less(m, addend) {
            // The bit that was carried out comes back; the one that falls out is kept in mind.
            m = vec2((m.x >> 1u) | (m.y << 31u) | (m.x & 1u), (m.y >> 1u) | SIGN);
            exponent += 1;
        }
    } else {
        m = whole_difference(x.mantissa, addend);
        if (m.x | m.y) == 0u { return m; }
        let zeros = leading_zeros(m);
        m = shifted_left(m, zeros);
        exponent -= i32(zeros);
    }
    return rounded64(large.y & SIGN, exponent, m);
}

fn subtract64(a: vec2<u32>, b: vec2<u32>) -> vec2<u32> { return add64(a, negative64(b)); }

fn multiply64(a: vec2<u32>, b: vec2<u32>) -> vec2<u32> {
    let sign = (a.y ^ b.y) & SIGN;
    let zero = is_zero64(a) || is_zero64(b);
    if is_special64(a) || is_special64(b) {
        return select(vec2(0u, sign | 0x7ff00000u), NAN64, is_nan64(a) || is_nan64(b) || zero);
    }
    if zero { return vec2(0u, sign); }
    let x = finite64(a);
    let y = finite64(b);
    let low = product32(x.mantissa.x, y.mantissa.x);
    let cross = product32(x.mantissa.y, y.mantissa.x);
    let across = product32(x.mantissa.x, y.mantissa.y);
    let middle = whole_sum(whole_sum(vec2(low.y, 0u), vec2(cross.x, 0u)), vec2(across.x, 0u));
    let carried = whole_sum(vec2(cross.y, 0u), vec2(across.y, 0u));
    let high = whole_sum(whole_sum(product32(x.mantissa.y, y.mantissa.y), carried), vec2(middle.y, 0u));
    let m = vec2(high.x | select(0u, 1u, (low.x | middle.x) != 0u), high.y);
    // Its first bit is 127 or 126.
    let carried_out = m.y >> 31u;
    return rounded64(sign, x.exponent + y.exponent - 1023 + i32(carried_out), shifted_left(m, 1u - carried_out));
}

fn divide64(a: vec2<u32>, b: vec2<u32>) -> vec2<u32> {
    let sign = (a.y ^ b.y) & SIGN;
    if is_nan64(a) || is_nan64(b) { return NAN64; }
    if is_special64(a) { return select(vec2(0u, sign | 0x7ff00000u), NAN64, is_special64(b)); }
    if is_zero64(b) { return select(vec2(0u, sign | 0x7ff00000u), NAN64, is_zero64(a)); }
    if is_zero64(a) || is_special64(b) { return vec2(0u, sign); }
    let x = finite64(a);
    let y = finite64(b);
    let d = y.mantissa;
    let smaller = whole_less(x.mantissa, d);
    // Between ½ and 1 divisors: the quotient's first bit is set. Four digits of 16 bits follow.
    var rest = select(shifted_right(x.mantissa, 1u), x.mantissa, smaller);
    var quotient = vec2(0u);
    for (var digit = 0u; digit < 4u; digit++) {
        // By the first digit of the divisor: never too small, and too large by 2 at the most.
        var q = min(rest.y / (d.y >> 16u), 0xffffu);
        let low = q * (d.x & 0xffffu);
        let middle = q * (d.x >> 16u) + (low >> 16u);
        let high = q * (d.y & 0xffffu) + (middle >> 16u);
        let top = q * (d.y >> 16u) + (high >> 16u);
        let taken = vec2((low & 0xffffu) | (middle << 16u), (high & 0xffffu) | (top << 16u));
        var over = (rest.y >> 16u) - (top >> 16u);
        let digits = shifted_left(rest, 16u);
        if whole_less(digits, taken) { over -= 1u; }
        rest = whole_difference(digits, taken);
        while (over & SIGN) != 0u {
            q -= 1u;
            let sum = whole_sum(rest, d);
            if whole_less(sum, d) { over += 1u; }
            rest = sum;
        }
        quotient = shifted_left(quotient, 16u);
        quotient.x |= q;
    }
    quotient.x |= select(0u, 1u, (rest.x | rest.y) != 0u);
    return rounded64(sign, x.exponent - y.exponent + select(1023, 1022, smaller), quotient);
}

fn root64(a: vec2<u32>) -> vec2<u32> {
    if is_nan64(a) { return NAN64; }
    if is_zero64(a) { return a; }
    if (a.y & SIGN) != 0u { return NAN64; }
    if is_special64(a) { return a; }
    let x = finite64(a);
    // An even power of two, and the root of what is left, two bits at a time: 56 bits of it, and whether that is all.
    let odd = ((x.exponent - 1023) & 1) != 0;
    var left = select(shifted_right(x.mantissa, 1u), x.mantissa, odd);
    var root = vec2(0u);
    var rest = vec2(0u);
    for (var bit = 0u; bit < 56u; bit++) {
        rest = shifted_left(rest, 2u);
        rest.x |= left.y >> 30u;
        left = shifted_left(left, 2u);
        var attempt = shifted_left(root, 2u);
        attempt.x |= 1u;
        root = shifted_left(root, 1u);
        if !whole_less(rest, attempt) {
            rest = whole_difference(rest, attempt);
            root.x |= 1u;
        }
    }
    var m = shifted_left(root, 8u);
    m.x |= select(0u, 1u, (rest.x | rest.y) != 0u);
    return rounded64(0u, 1023 + ((x.exponent - 1023) >> 1u), m);
}

// False if either is NaN.
fn less64(a: vec2<u32>, b: vec2<u32>) -> bool {
    if is_nan64(a) || is_nan64(b) || (is_zero64(a) && is_zero64(b)) { return false; }
    let below = (a.y & SIGN) != 0u;
    if ((a.y ^ b.y) & SIGN) != 0u { return below; }
    return select(whole_less(a, b), whole_less(b, a), below);
}

// The next number towards −∞, of one that is neither that nor NaN.
fn next_down64(a: vec2<u32>) -> vec2<u32> {
    if is_zero64(a) { return vec2(1u, SIGN); }
    let one = vec2(1u, 0u);
    if (a.y & SIGN) != 0u { return whole_sum(a, one); }
    return whole_difference(a, one);
}

// The bits of the nearest float32.
fn to_f32_bits(a: vec2<u32>) -> u32 {
    let sign = a.y & SIGN;
    if is_nan64(a) { return 0x7fc00000u; }
    let exponent = i32((a.y >> 20u) & 0x7ffu) - 1023 + 127;
    if exponent >= 255 { return sign | 0x7f800000u; }
    // Less than half of the least float32.
    if exponent < -24 { return sign; }
    let x = finite64(a);
    var m = x.mantissa.y | select(0u, 1u, x.mantissa.x != 0u);
    if exponent <= 0 { m = shifted_right(vec2(m, 0u), u32(1 - exponent)).x; }
    let rest = m & 0xffu;
    let up = rest > 0x80u || (rest == 0x80u && (m & 0x100u) != 0u);
    return sign | ((m >> 8u) + (u32(max(exponent - 1, 0)) << 23u) + select(0u, 1u, up));
}

// Of a float32's bits.
fn from_f32_bits(bits: u32) -> vec2<u32> {
    let sign = bits & SIGN;
    let exponent = (bits >> 23u) & 0xffu;
    let fraction = bits & 0x7fffffu;
    if exponent == 255u { return select(vec2(0u, sign | 0x7ff00000u), NAN64, fraction != 0u); }
    let whole = fraction | select(0x800000u, 0u, exponent == 0u);
    let y = scaled64(vec2(whole, 0u), i32(max(exponent, 1u)) - 150);
    return vec2(y.x, y.y | sign);
}
