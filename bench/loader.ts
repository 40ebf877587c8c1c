/** Times how fast clips come out of the loader: read, decoded, augmented, masked. */

import { ClipLoader } from "@avjepa/data";
import { availableParallelism } from "node:os";

/** What is measured. */
export interface LoaderOptions {
  index: string;
  /** Clips of a batch. */
  batch: number;
  /** Batches that count, after one that does not. */
  batches: number;
}

/** `bench loader --json`'s line. */
export interface LoaderReport {
  clips_per_s: number;
  clips: number;
  seconds: number;
  /** Threads that decode. */
  workers: number;
  /** Files that could not be read. */
  bad_files: number;
}

/** Clips of 16 × 224 × 224 and their sound where there is some, with the default augmentation, one thread a core. */
export async function benchLoader(
  options: LoaderOptions,
): Promise<LoaderReport> {
  const { batch, batches } = options;
  await using loader = new ClipLoader(options.index, {
    batch,
    workers: availableParallelism(),
    modalities: ["video", "audio"],
    data: { max_bad_fraction: 1 },
  });
  // The first batch waits for the threads to start.
  await loader.next();
  const start = performance.now();
  for (let i = 0; i < batches; i++) await loader.next();
  const seconds = (performance.now() - start) / 1000;
  const clips = batch * batches;
  return {
    clips_per_s: clips / seconds,
    clips,
    seconds,
    workers: loader.info.workers,
    bad_files: loader.events.filter(({ kind }) => kind === "bad").length,
  };
}
