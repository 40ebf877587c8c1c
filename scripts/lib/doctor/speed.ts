/** How fast a device is, by a fraction of a second of the products and attention that a step is made of. */

import {
  attention,
  autocast,
  describeDevice,
  full,
  Generator,
  linear,
  scope,
  synchronize,
  tensor,
} from "@avjepa/core";
import type { Flops, ModelShape } from "@avjepa/train";

/** Operations a second by kind. */
export type Speed = Flops;

/** Measures at the widths of a model, in the type it computes in. */
export async function measureSpeed(
  device: string,
  { encoder, predictor, video }: ModelShape,
  dtype: "float32" | "bfloat16",
): Promise<Speed> {
  const random = new Generator(0);
  const larger = encoder.dim > predictor.dim ? encoder : predictor;
  const tokens = Math.min(1024, Math.max(64, video.tokens));
  const { dim, hidden, heads } = larger;
  const x = random.normal([tokens, dim], 0, 1, { device });
  const weight = random.normal([hidden, dim], 0, 1, { device });
  const qkv = random.normal([tokens, 3 * dim], 0, 1, { device, dtype });
  const offsets = tensor(Int32Array.of(0, tokens), [2], { device });
  const product = await seconds(device, () =>
    autocast(dtype, () => void linear(x, weight, null)),
  );
  const scores = await seconds(device, () => attention(qkv, offsets, heads));
  return {
    linear: (2 * tokens * dim * hidden) / product,
    attention: (4 * tokens * tokens * dim) / scores,
  };
}

/** What a step of this many operations takes at least. */
export const stepSeconds = (flops: Flops, speed: Speed): number =>
  flops.linear / speed.linear + flops.attention / speed.attention;

/** Seconds of one run, the best of some rounds within a tenth of a second. */
async function seconds(device: string, run: () => unknown): Promise<number> {
  let best = Number.POSITIVE_INFINITY;
  const end = performance.now() + 150;
  for (let round = 0; round < 3 || performance.now() < end; round++) {
    await synchronize(device);
    const start = performance.now();
    scope(() => void run());
    await synchronize(device);
    best = Math.min(best, (performance.now() - start) / 1000);
  }
  return best;
}

/** `cpu (avx512bf16, 2 threads)` */
export function deviceText(device: string): string {
  full([1], 0, { device }).dispose();
  return `${device} (${describeDevice(device)})`;
}
