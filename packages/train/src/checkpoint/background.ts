/**
 * Writes checkpoints while training goes on, one at a time. An error is
 * reported at the next call: a run must not go on for hours without knowing
 * that it is not saved.
 */

import type { Checkpoint } from "./store.ts";

/** Writes in the background. */
export class BackgroundWriter {
  #writing: Promise<void> | undefined;
  #failure: { error: unknown } | undefined;
  #saved: Checkpoint | undefined;

  /** @param saved the newest checkpoint so far. */
  constructor(saved?: Checkpoint) {
    this.#saved = saved;
  }

  /** The newest checkpoint that is whole. */
  get saved(): Checkpoint | undefined {
    return this.#saved;
  }

  /** Begins to write, once what was begun before is done. @throws its error. */
  async begin(write: () => Promise<Checkpoint>): Promise<void> {
    await this.finish();
    this.#writing = write().then(
      (checkpoint) => {
        this.#saved = checkpoint;
      },
      (error: unknown) => {
        this.#failure = { error };
      },
    );
  }

  /** Throws the error of what was begun, if it has failed by now. */
  check(): void {
    const failure = this.#failure;
    this.#failure = undefined;
    if (failure) throw failure.error;
  }

  /** Waits for what was begun; returns the newest checkpoint. @throws its error. */
  async finish(): Promise<Checkpoint | undefined> {
    await this.#writing;
    this.#writing = undefined;
    this.check();
    return this.#saved;
  }
}
