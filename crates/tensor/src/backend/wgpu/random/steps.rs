//! The arithmetic of `philox.rs` as steps for a kernel: each sets a cell to `a·b + c`, both roundings as two operations have them.
//!
//! Drivers copy the text of a function to each place that calls it, and that of double precision is long: so a kernel has one
//! place where it multiplies and adds, and goes through these steps there. A product alone adds −0, a sum alone multiplies by 1,
//! which changes nothing. `/` and `√` stand between the stages, in `kernels/random.wgsl`.

use crate::philox::INVERSE_NORMAL_CDF;
use std::sync::LazyLock;

/// Numbers that the call sets.
pub const OWN: [&str; 6] = ["MEAN", "STD", "LOW", "HIGH", "FROM", "PROBABILITY"];
/// Numbers that are always the same; those of LN2, EVEN and ODD are the constants of [`libm::log`].
#[allow(clippy::excessive_precision)]
const FIXED: [(&str, f64); 14] = [
    ("NOTHING", -0.0),
    ("HALF", 0.5),
    ("ONE", 1.0),
    ("TWO", 2.0),
    ("SQUARE", 0.180_625),
    ("LN2_HIGH", 6.931_471_803_691_238_164_90e-01),
    ("LN2_LOW", 1.908_214_929_270_587_700_02e-10),
    ("EVEN1", 3.999_999_999_940_941_908e-01),
    ("EVEN2", 2.222_219_843_214_978_396e-01),
    ("EVEN3", 1.531_383_769_920_937_332e-01),
    ("ODD1", 6.666_666_666_666_735_130e-01),
    ("ODD2", 2.857_142_874_366_239_149e-01),
    ("ODD3", 1.818_357_216_161_805_012e-01),
    ("ODD4", 1.479_819_860_511_658_591e-01),
];
/// Numbers of each of the regions of Φ⁻¹ (the middle, the tails, far out): where its argument begins, and the coefficients.
const OF_REGION: [&str; 17] =
    ["START", "N0", "N1", "N2", "N3", "N4", "N5", "N6", "N7", "D0", "D1", "D2", "D3", "D4", "D5", "D6", "D7"];
const STARTS: [f64; 3] = [0.0, 1.6, 5.0];
/// Cells that steps set, or the kernel between two stages.
const REGISTERS: [&str; 22] = [
    "UNIT", "P", "Q", "TAIL", "FRACTION", "EXPONENT", "ABOVE", "BELOW", "QUOTIENT", "HALF_F", "SQUARE_F", "Z", "W",
    "EVEN", "ODD", "LOG", "ROOT", "FACTOR", "X", "SCORE", "VALUE", "MIDDLE",
];

/// Stage by stage. The kernel sets UNIT first; then, after each, in turn: FRACTION and EXPONENT of the tail, or ROOT and FACTOR in
/// the middle, where it skips the logarithm; QUOTIENT; ROOT, of −LOG; QUOTIENT, and from it SCORE.
const STAGES: [&str; 5] = [
    "P = UNIT * PROBABILITY + FROM
     Q = P * ONE - HALF
     MIDDLE = -Q * Q + SQUARE
     TAIL = -P * ONE + ONE",
    "ABOVE = FRACTION * ONE - ONE
     BELOW = ABOVE * ONE + TWO
     HALF_F = HALF * ABOVE + NOTHING
     SQUARE_F = HALF_F * ABOVE + NOTHING",
    "Z = QUOTIENT * QUOTIENT + NOTHING
     W = Z * Z + NOTHING
     EVEN = EVEN3 * W + EVEN2
     EVEN = EVEN * W + EVEN1
     EVEN = EVEN * W + NOTHING
     ODD = ODD4 * W + ODD3
     ODD = ODD * W + ODD2
     ODD = ODD * W + ODD1
     ODD = ODD * Z + NOTHING
     LOG = ODD * ONE + EVEN
     LOG = LOG * ONE + SQUARE_F
     LOG = LOG * QUOTIENT + NOTHING
     LOG = EXPONENT * LN2_LOW + LOG
     LOG = LOG * ONE - SQUARE_F
     LOG = LOG * ONE + ABOVE
     LOG = EXPONENT * LN2_HIGH + LOG",
    "X = ROOT * ONE - START
     ABOVE = N7 * X + N6
     ABOVE = ABOVE * X + N5
     ABOVE = ABOVE * X + N4
     ABOVE = ABOVE * X + N3
     ABOVE = ABOVE * X + N2
     ABOVE = ABOVE * X + N1
     ABOVE = ABOVE * X + N0
     ABOVE = ABOVE * FACTOR + NOTHING
     BELOW = D7 * X + D6
     BELOW = BELOW * X + D5
     BELOW = BELOW * X + D4
     BELOW = BELOW * X + D3
     BELOW = BELOW * X + D2
     BELOW = BELOW * X + D1
     BELOW = BELOW * X + D0",
    "VALUE = STD * SCORE + MEAN",
];

/// In an operand: its number is that of the middle, and the kernel adds those of its region; its sign is changed.
const BY_REGION: u32 = 1 << 8;
const NEGATED: u32 = 1 << 31;

/// Numbers in the order of their cells, `own` first; registers follow them.
pub fn numbers(own: [f64; OWN.len()]) -> Vec<f64> {
    let regions = STARTS
        .iter()
        .zip(&INVERSE_NORMAL_CDF)
        .flat_map(|(start, [above, below])| std::iter::once(start).chain(above).chain(below));
    own.iter().chain(FIXED.iter().map(|(_, v)| v)).chain(regions).copied().collect()
}

/// The number of a cell; those of regions are of the middle.
fn cell(name: &str) -> u32 {
    let numbers = OWN.into_iter().chain(FIXED.map(|(name, _)| name)).chain(OF_REGION).chain([""; 2 * OF_REGION.len()]);
    let at = numbers.chain(REGISTERS).position(|n| n == name);
    at.unwrap_or_else(|| panic!("there is no cell {name}")) as u32
}

/// Names that the kernel knows, and their values.
pub fn constants() -> impl Iterator<Item = (&'static str, String)> {
    let cells = ["LOW", "HIGH"].into_iter().chain(REGISTERS);
    let counts = [
        ("FIRST_REGISTER", cell(REGISTERS[0])),
        ("REGISTERS", REGISTERS.len() as u32),
        ("OF_REGION", OF_REGION.len() as u32),
    ];
    cells.map(|name| (name, cell(name))).chain(counts).map(|(name, value)| (name, format!("{value}u")))
}

/// Where each stage begins, one more at the end, then the steps: a, b, c and the cell to set.
pub fn steps() -> &'static [u32] {
    static STEPS: LazyLock<Vec<u32>> = LazyLock::new(|| {
        let (mut starts, mut steps) = (vec![0], vec![]);
        for stage in STAGES {
            steps.extend(stage.lines().flat_map(step));
            starts.push(steps.len() as u32 / 4);
        }
        starts.extend(steps);
        starts
    });
    &STEPS
}

/// `out = a * b + c`.
fn step(line: &str) -> [u32; 4] {
    let words: Vec<&str> = line.split_whitespace().collect();
    let [out, "=", a, "*", b, sign, c] = words[..] else { panic!("{line} is no step") };
    let operand = |name: &str| {
        let by_region = if OF_REGION.contains(&name) { BY_REGION } else { 0 };
        cell(name) | by_region
    };
    let a = a.strip_prefix('-').map_or_else(|| operand(a), |a| operand(a) | NEGATED);
    [a, operand(b), operand(c) | if sign == "-" { NEGATED } else { 0 }, cell(out)]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_are_read() {
        assert_eq!(step("VALUE = -STD * N1 - MEAN"), [1 | NEGATED, 22 | BY_REGION, NEGATED, cell("VALUE")]);
        assert_eq!(numbers([0.0; 6]).len() as u32, cell(REGISTERS[0]));
        assert_eq!(numbers([0.0; 6])[cell("N0") as usize + 2 * OF_REGION.len()], INVERSE_NORMAL_CDF[2][0][0]);
        assert_eq!(steps()[5] as usize * 4 + 6, steps().len());
    }
}
