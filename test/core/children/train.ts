/** Trains some steps and prints losses and a hash of all weights: by napi, or by bun:ffi with AVJEPA_FFI=1. */

import { transport } from "@avjepa/core";
import { Training } from "../transformer.ts";

const training = new Training();
const losses: number[] = [];
for (let i = 0; i < 6; i++)
  losses.push(
    await training.step(20 + 5 * i, {
      bfloat16: i % 2 === 1,
      checkpointing: i % 3 === 2,
    }),
  );
const hash = new Bun.CryptoHasher("sha256");
for (const [name, p] of [
  ...training.net.namedParameters(),
  ...training.target.namedParameters(),
]) {
  hash.update(name);
  hash.update(new Uint8Array((await p.toArray()).buffer));
}
console.log(JSON.stringify({ transport, losses, weights: hash.digest("hex") }));
