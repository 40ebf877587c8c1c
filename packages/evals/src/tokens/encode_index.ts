/** From an index to a token cache. */

import {
  encodeBatch,
  type FrozenEncoder,
  type SampleBatch,
  type SequenceOptions,
} from "./encode_clips.ts";
import type { TokenCache } from "./token_cache.ts";

/** A loader that goes through its samples once, in order. */
export interface SampleLoader extends AsyncDisposable {
  next(): Promise<SampleBatch | null>;
}

/** What is encoded, and who is told. */
export interface EncodeOptions extends SequenceOptions {
  /** Samples of the index, and of a full batch. */
  total: number;
  batch: number;
  /** Opens the loader at a sample. */
  open(position: number): SampleLoader;
  /** Called with the number of samples done. */
  onBatch?: (done: number) => void;
  /** Asked after each batch: true ends the work, which is kept. */
  stopped?: () => boolean;
}

/**
 * Encodes what the cache does not have yet.
 *
 * @returns whether all samples are there; false when it was stopped.
 */
export async function encodeIndex(
  encoder: FrozenEncoder,
  cache: TokenCache,
  options: EncodeOptions,
): Promise<boolean> {
  const { total, batch: size, onBatch, stopped } = options;
  if (cache.complete) return true;
  cache.clean();
  if (cache.done < total) {
    await using loader = options.open(cache.done);
    for (;;) {
      const batch = await loader.next();
      if (batch === null) break;
      const position = batch.next.position - size;
      const encoded = await encodeBatch(encoder, batch, position, options);
      const to = Math.min(total, position + size);
      await cache.add(encoded.samples, encoded.skipped, encoded.dim, to);
      onBatch?.(to);
      if (stopped?.() === true && to < total) {
        await cache.flush();
        return false;
      }
    }
  }
  await cache.finish();
  return true;
}
