/**
 * Stopping a run from outside: SIGUSR2 (SLURM, before its time limit), SIGTERM
 * and SIGINT ask for a stop after the current step; a second SIGINT ends the
 * process at once.
 */

/** A run that was stopped by a signal, after saving. */
export const exitStopped = 75;

/** The signals that ask for a stop. */
export const stopSignals = ["SIGUSR2", "SIGTERM", "SIGINT"] as const;

export type StopSignal = (typeof stopSignals)[number];

/** Listens for the signals until it is disposed. */
export class StopFlag {
  #signal: StopSignal | undefined;
  #interrupts = 0;
  readonly #listeners: [StopSignal, () => void][];

  /**
   * Start to listen. `note` tells the user what happens.
   *
   * @example
   * using stop = new StopFlag((text) => logs.note(text));
   * for (…) { await step(); if (stop.signal) break; }
   */
  constructor(
    note: (text: string) => void,
    exit: (code: number) => void = (code) => process.exit(code),
  ) {
    this.#listeners = stopSignals.map((signal) => [
      signal,
      () => {
        if (signal === "SIGINT" && ++this.#interrupts > 1) return exit(130);
        if (this.#signal) return;
        this.#signal = signal;
        note(
          `${signal}: finishing the step, saving${signal === "SIGINT" ? " (again: exit at once)" : ""}`,
        );
      },
    ]);
    for (const [signal, listener] of this.#listeners)
      process.on(signal, listener);
  }

  /** The signal that asked for a stop, or undefined. */
  get signal(): StopSignal | undefined {
    return this.#signal;
  }

  /** Stop listening. */
  [Symbol.dispose](): void {
    for (const [signal, listener] of this.#listeners)
      process.off(signal, listener);
  }
}
