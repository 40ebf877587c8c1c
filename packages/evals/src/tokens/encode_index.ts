/** From an index to a token cache. */

import type { EncodedBatch, SampleBatch } from "./encode_clips.ts";
import type { TokenCache } from "./token_cache.ts";

/** A loader that goes through its samples once, in order. */
export interface SampleLoader<Batch = SampleBatch> extends AsyncDisposable {
  next(): Promise<Batch | null>;
}

/** What is encoded, and who is told. */
export interface EncodeOptions<Batch> {
  /** Samples of the index, and of a full batch. */
  total: number;
  batch: number;
  /** Opens the loader at a sample. */
  open(position: number): SampleLoader<Batch>;
  /** @param position of the batch's first sample in the index; see encodeBatch. */
  encode(batch: Batch, position: number): Promise<EncodedBatch>;
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
export async function encodeIndex<Batch extends Pick<SampleBatch, "next">>(
  cache: TokenCache,
  options: EncodeOptions<Batch>,
): Promise<boolean> {
  const { total, batch: size, encode, onBatch, stopped } = options;
  if (cache.complete) return true;
  cache.clean();
  if (cache.done < total) {
    await using loader = options.open(cache.done);
    for (;;) {
      const batch = await loader.next();
      if (batch === null) break;
      const position = batch.next.position - size;
      const encoded = await encode(batch, position);
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
