/**
 * Inputs of parity cases that are made by a rule instead of being stored: the
 * outputs of splitmix64, seeded by the FNV-1a hash of the tensor's name.
 */

export interface Fill {
  seed: number;
  scale: number;
  offset: number;
}

export interface Signal {
  sample_rate: number;
  n: number;
  tones: [amplitude: number, frequency: number, rate: number, phase: number][];
  noise: number;
  seed: number;
  noise_name: string;
}

const MASK = 0xffffffffffffffffn;

function initialState(name: string, seed: number): bigint {
  let h = 0xcbf29ce484222325n;
  for (const byte of new TextEncoder().encode(name))
    h = ((h ^ BigInt(byte)) * 0x100000001b3n) & MASK;
  return h ^ BigInt(seed);
}

/** High 32 bits of the product of two 32-bit numbers. */
function high(a: number, b: number): number {
  const [al, ah, bl, bh] = [a & 0xffff, a >>> 16, b & 0xffff, b >>> 16];
  const middle = ah * bl + Math.floor((al * bl) / 65536);
  const other = al * bh + (middle % 65536);
  return (
    (ah * bh + Math.floor(middle / 65536) + Math.floor(other / 65536)) >>> 0
  );
}

/** Values in [−1, 1), exact in float32: `2·(z ≫ 40)·2⁻²⁴ − 1`. 64-bit words as two halves. */
export function unitValues(
  name: string,
  seed: number,
  count: number,
): Float64Array {
  const state = initialState(name, seed);
  let zh = Number(state >> 32n) >>> 0;
  let zl = Number(state & 0xffffffffn) >>> 0;
  const values = new Float64Array(count);
  for (let i = 0; i < count; i++) {
    // state += 0x9e3779b97f4a7c15
    const low = zl + 0x7f4a7c15;
    zh = (zh + 0x9e3779b9 + (low > 0xffffffff ? 1 : 0)) >>> 0;
    zl = low >>> 0;
    // z = (z ^ z >> 30) * 0xbf58476d1ce4e5b9
    let l = (zl ^ ((zl >>> 30) | (zh << 2))) >>> 0;
    let h = (zh ^ (zh >>> 30)) >>> 0;
    let p = Math.imul(l, 0x1ce4e5b9) >>> 0;
    h =
      (high(l, 0x1ce4e5b9) +
        Math.imul(h, 0x1ce4e5b9) +
        Math.imul(l, 0xbf58476d)) >>>
      0;
    l = p;
    // z = (z ^ z >> 27) * 0x94d049bb133111eb
    const xl = (l ^ ((l >>> 27) | (h << 5))) >>> 0;
    const xh = (h ^ (h >>> 27)) >>> 0;
    p = Math.imul(xl, 0x133111eb) >>> 0;
    h =
      (high(xl, 0x133111eb) +
        Math.imul(xh, 0x133111eb) +
        Math.imul(xl, 0x94d049bb)) >>>
      0;
    // z ^= z >> 31: the top 24 bits of the result are all that is used.
    h = (h ^ (h >>> 31)) >>> 0;
    values[i] = (h >>> 8) * 2 ** -23 - 1;
  }
  return values;
}

/** `float32(offset + scale·v)`. */
export function fillValues(
  name: string,
  { seed, scale, offset }: Fill,
  count: number,
): Float32Array {
  return Float32Array.from(
    unitValues(name, seed, count),
    (v) => offset + scale * v,
  );
}

/** `floor(128·(v + 1))`. */
export function fillBytes(
  name: string,
  { seed }: { seed: number },
  count: number,
): Uint8Array {
  return Uint8Array.from(unitValues(name, seed, count), (v) =>
    Math.floor(128 * (v + 1)),
  );
}

/** Chirps and noise, in float64, rounded once. */
export function signalValues({
  sample_rate: rate,
  n,
  tones,
  noise,
  seed,
  noise_name: name,
}: Signal): Float32Array {
  const noises = noise === 0 ? null : unitValues(name, seed, n);
  return Float32Array.from({ length: n }, (_, k) => {
    const t = k / rate;
    let sum = 0;
    for (const [amp, f0, sweep, phase] of tones)
      sum +=
        amp * Math.sin(2 * Math.PI * (f0 * t + 0.5 * sweep * t * t) + phase);
    return noises === null ? sum : sum + noise * (noises[k] as number);
  });
}
