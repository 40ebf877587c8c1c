// Random numbers by position, operation by operation those of philox.rs, on the words of philox.wgsl, in the double precision of
// float64.wgsl. `numbers` holds doubles, two words each; `steps` where each stage of the arithmetic begins, then its steps, and the
// cells they work on are named in random/steps.rs. BF16 says whether y is of that type.

// Which alone a uniform goes through.
const LAST_STAGE = 4u;
// The middle of Φ⁻¹ reaches 0.425 to both sides of ½; its tails, until √(−log) is 5.
const MIDDLE_ENDS = vec2(0x33333333u, 0x3fdb3333u);
const FIVE = vec2(0u, 0x40140000u);

var<private> cells: array<vec2<u32>, REGISTERS>;
// Of Φ⁻¹: 0 the middle, 1 the tails, 2 far out in them.
var<private> region: u32;

fn number(i: u32) -> vec2<u32> { return vec2(numbers(2u * i), numbers(2u * i + 1u)); }
fn cell(i: u32) -> vec2<u32> { return cells[i - FIRST_REGISTER]; }
fn set_cell(i: u32, value: vec2<u32>) { cells[i - FIRST_REGISTER] = value; }

fn operand(word: u32) -> vec2<u32> {
    let i = (word & 0xffu) + select(0u, OF_REGION * region, (word & 0x100u) != 0u);
    var value: vec2<u32>;
    if i < FIRST_REGISTER { value = number(i); } else { value = cell(i); }
    return vec2(value.x, value.y ^ (word & SIGN));
}

// After the first stage: which region it is, and of a tail the fraction, from √½ to √2, and the exponent. Whether Φ⁻¹ is finite.
fn begin_inverse() -> bool {
    let q = cell(Q);
    region = select(0u, 1u, less64(MIDDLE_ENDS, absolute64(q)));
    set_cell(FACTOR, select(q, vec2(0u, 0x3ff00000u), region == 1u));
    set_cell(ROOT, cell(MIDDLE));
    if region == 0u { return true; }
    let tail = select(cell(TAIL), cell(P), (q.y & SIGN) != 0u);
    if !less64(vec2(0u), tail) { return false; }
    let parts = finite64(tail);
    // As libm::log has it.
    let raised = ((parts.mantissa.y >> 11u) & 0xfffffu) + (0x3ff00000u - 0x3fe6a09eu);
    let low = (parts.mantissa.x >> 11u) | (parts.mantissa.y << 21u);
    set_cell(FRACTION, vec2(low, (raised & 0xfffffu) + 0x3fe6a09eu));
    set_cell(EXPONENT, from_i32(parts.exponent - 1023 + i32(raised >> 20u)));
    return true;
}

// The value of an element, from its random bits.
fn value_of(bits: u32) -> vec2<u32> {
    var first = 0u;
    if p.uniform == 1u {
        first = LAST_STAGE;
        set_cell(SCORE, scaled64(vec2(bits, 0u), -32));
    } else {
        // (bits + ½)/2³².
        set_cell(UNIT, scaled64(vec2((bits << 1u) | 1u, bits >> 31u), -33));
    }
    var finite = true;
    for (var stage = first; stage <= LAST_STAGE; stage++) {
        if (stage == 1u || stage == 2u) && (region == 0u || !finite) { continue; }
        if stage == 3u && !finite { continue; }
        if stage == LAST_STAGE && p.mirrored == 1u { set_cell(SCORE, negative64(cell(SCORE))); }
        for (var step = steps(stage); step < steps(stage + 1u); step++) {
            let at = 6u + 4u * step;
            let sum = add64(multiply64(operand(steps(at)), operand(steps(at + 1u))), operand(steps(at + 2u)));
            set_cell(steps(at + 3u), sum);
        }
        if stage == 0u {
            finite = begin_inverse();
            set_cell(SCORE, vec2(0u, (cell(Q).y & SIGN) | 0x7ff00000u));
        }
        if stage == 1u || stage == 3u { set_cell(QUOTIENT, divide64(cell(ABOVE), cell(BELOW))); }
        if stage == 2u {
            let root = root64(negative64(cell(LOG)));
            set_cell(ROOT, root);
            region = select(1u, 2u, less64(FIVE, root));
        }
        if stage == 3u {
            let z = cell(QUOTIENT);
            set_cell(SCORE, vec2(z.x, z.y ^ select(cell(Q).y & SIGN, 0u, region == 0u)));
        }
    }
    let y = cell(VALUE);
    if p.uniform == 1u {
        if p.open == 1u && !less64(y, number(HIGH)) { return next_down64(number(HIGH)); }
        return y;
    }
    if less64(y, number(LOW)) { return number(LOW); }
    if less64(number(HIGH), y) { return number(HIGH); }
    return y;
}

// The next float of `size` bits towards −∞.
fn next_down_bits(bits: u32, size: u32) -> u32 {
    let top = 1u << (size - 1u);
    if (bits & ~top) == 0u { return top | 1u; }
    return select(bits - 1u, bits + 1u, (bits & top) != 0u);
}

// The element's bits, in its type.
fn element(bits: u32) -> u32 {
    var y = to_f32_bits(value_of(bits));
    if BF16 { y = (y + 0x7fffu + ((y >> 16u) & 1u)) & 0xffff0000u; }
    // Rounding may have carried a uniform up to its limit.
    let reached = p.uniform == 1u && p.open == 1u && !less64(from_f32_bits(y), number(HIGH));
    if BF16 {
        y = y >> 16u;
        if reached { y = next_down_bits(y, 16u); }
    } else if reached {
        y = next_down_bits(y, 32u);
    }
    return y;
}

//: entry draw

// A thread two elements, which are of one block.
@compute @workgroup_size(64)
fn draw(
    @builtin(workgroup_id) id: vec3<u32>,
    @builtin(num_workgroups) groups: vec3<u32>,
    @builtin(local_invocation_index) thread: u32,
) {
    let i = 2u * (group_index(id, groups) * 64u + thread);
    if i >= p.count { return; }
    let counter = whole_sum(vec2(p.counter_low, p.counter_high), vec2(i / 4u, 0u));
    let words = philox(vec4(counter, 0u, 0u), vec2(p.seed_low, p.seed_high));
    var pair = select(words.xy, words.zw, (i & 2u) != 0u);
    // One after the other, by one text: drivers copy a function to each of its calls.
    for (var j = 0u; j < 2u; j++) { pair[j] = element(pair[j]); }
    if i + 1u < p.count {
        put2_raw_y(i, vec2(pair.x, 0u), vec2(pair.y, 0u));
    } else {
        put_raw_y(i, vec2(pair.x, 0u));
    }
}
