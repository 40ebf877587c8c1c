/** Saves a run while it goes on. */

import type { Cursor } from "@avjepa/data";

import { copyRun, writeRun } from "../state.ts";
import type { Trainer } from "../train_step.ts";
import { BackgroundWriter } from "./background.ts";
import type { Checkpoint, CheckpointStore } from "./store.ts";

/**
 * Checkpoints of a run: a consistent copy is taken between two steps and
 * written while training goes on. Every rank calls it, since the
 * optimizer's state may be shared out; rank 0 writes.
 *
 * @example
 * const saver = new RunSaver(trainer, store, start.resume);
 * await saver.save(step, clips.cursor, plan.epochToKeep(step));
 * await saver.finish();
 */
export class RunSaver {
  readonly #trainer: Trainer;
  readonly #store: CheckpointStore;
  readonly #writer: BackgroundWriter;
  #since = performance.now();

  /** @param newest the checkpoint the run goes on from. */
  constructor(trainer: Trainer, store: CheckpointStore, newest?: Checkpoint) {
    this.#trainer = trainer;
    this.#store = store;
    this.#writer = new BackgroundWriter(newest);
  }

  /** The newest checkpoint that is whole. */
  get newest(): Checkpoint | undefined {
    return this.#writer.saved;
  }

  /** Minutes since the last checkpoint, or since this process began. */
  get minutes(): number {
    return (performance.now() - this.#since) / 60_000;
  }

  /**
   * Begins to save the run after `step` steps.
   *
   * @param epoch whose checkpoint is kept for good.
   * @throws the error of the checkpoint before it.
   */
  async save(step: number, cursor: Cursor, epoch?: number): Promise<void> {
    const copy = await copyRun(this.#trainer, step, cursor);
    if (copy) {
      const keep = epoch === undefined ? {} : { epoch };
      await this.#writer.begin(() => writeRun(this.#store, copy, keep));
    }
    this.#since = performance.now();
  }

  /** Throws the error of a checkpoint that has failed by now. */
  check(): void {
    this.#writer.check();
  }

  /** Waits for what is being written. @throws its error. */
  async finish(): Promise<void> {
    await this.#writer.finish();
  }
}
