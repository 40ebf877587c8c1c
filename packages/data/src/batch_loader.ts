/** What the loaders of clips and of pictures have in common: their life. */

import { AvjepaError, awaitNative, callNative } from "@avjepa/core";

import type { Cursor, FileEvent } from "./clip_batch.ts";
import type { BatchArrays, NativeLoader } from "./native_types.ts";

/** What a batch must have. */
interface LoadedBatch extends Disposable {
  readonly events: readonly FileEvent[];
  readonly next: Cursor;
}

/** What distinguishes loaders. */
export interface LoaderKind<Batch, Info> {
  /** Opens the addon's loader at a place. */
  open(cursor: Cursor): NativeLoader;
  /** What the addon says of itself. */
  info(native: NativeLoader): Info;
  /** Makes a batch of what the addon gives. */
  batch(arrays: BatchArrays, info: Info): Batch;
}

/** A native loader's threads, its place in the data and its last batch. */
export class BatchLoader<Batch extends LoadedBatch, Info>
  implements AsyncIterable<Batch>, AsyncDisposable
{
  readonly #kind: LoaderKind<Batch, Info>;
  readonly #events: FileEvent[] = [];
  #native: NativeLoader;
  #info: Info;
  #cursor: Cursor;
  #last: Batch | null = null;
  #closed = false;

  /** @param cursor where to begin; default the beginning. */
  protected constructor(
    kind: LoaderKind<Batch, Info>,
    cursor: Cursor = { pass: 0, position: 0 },
  ) {
    this.#kind = kind;
    this.#cursor = { ...cursor };
    [this.#native, this.#info] = this.#open();
  }

  get info(): Info {
    return this.#info;
  }

  /** Where the batch after the last one begins. Setting it goes there. */
  get cursor(): Cursor {
    return { ...this.#cursor };
  }

  set cursor(cursor: Cursor) {
    this.#native.close();
    this.#cursor = { ...cursor };
    [this.#native, this.#info] = this.#open();
    this.#closed = false;
  }

  /** All files that were lacking something, so far. */
  get events(): readonly FileEvent[] {
    return this.#events;
  }

  /**
   * The next batch; null after the last one. Frees the last one's tensors.
   *
   * @throws AvjepaError AVJ_BAD_FILES past the fraction that may be broken; AVJ_CLOSED.
   */
  async next(): Promise<Batch | null> {
    this.#last?.[Symbol.dispose]();
    this.#last = null;
    const source = this.#native;
    const arrays = await awaitNative(() => source.next());
    if (arrays === null) return null;
    const batch = this.#kind.batch(arrays, this.#info);
    // The loader may have been sent elsewhere meanwhile.
    if (source === this.#native) {
      this.#cursor = batch.next;
      this.#events.push(...batch.events);
      this.#last = batch;
    }
    return batch;
  }

  /** Ends the threads. A batch that is waited for fails with AVJ_CLOSED. */
  close(): void {
    if (this.#closed) return;
    this.#closed = true;
    this.#last?.[Symbol.dispose]();
    this.#native.close();
  }

  async *[Symbol.asyncIterator](): AsyncGenerator<Batch, void, undefined> {
    for (;;) {
      const batch = await this.next();
      if (batch === null) return;
      yield batch;
    }
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.close();
  }

  #open(): [NativeLoader, Info] {
    const native = callNative(() => this.#kind.open(this.#cursor));
    return [native, this.#kind.info(native)];
  }
}

/** Refuses numbers that are no integers of at least so much. @throws AvjepaError AVJ_ARGUMENT */
export function requireIntegers(
  loader: string,
  numbers: Record<string, readonly [value: number | undefined, least: number]>,
): void {
  for (const [name, [value, least]] of Object.entries(numbers))
    if (value !== undefined && !(Number.isSafeInteger(value) && value >= least))
      throw new AvjepaError(
        "AVJ_ARGUMENT",
        `${loader}: ${name} is ${value}, but must be an integer of at least ${least}`,
      );
}

/** Without keys that are undefined. */
export function defined(
  values: Record<string, unknown>,
): Record<string, unknown> {
  return Object.fromEntries(
    Object.entries(values).filter(([, value]) => value !== undefined),
  );
}
