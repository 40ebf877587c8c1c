/** `--profile`: a trace of a few steps of this process. */

import { join } from "node:path";

import { Trace } from "./trace.ts";

/** Steps of the process that are recorded: those before warm caches and threads up. */
const recorded = { from: 3, to: 6 };

/** What is to be recorded, and where it goes. */
export interface ProfileOptions {
  device: string;
  /** Steps done before this process's first. */
  first: number;
  /** The run folder. */
  folder: string;
  /** Hears where the trace is. */
  tell: (text: string) => void;
}

/** Records its steps. */
export class Profile {
  readonly #options: ProfileOptions;
  #trace: Trace | undefined;

  constructor(options: ProfileOptions) {
    this.#options = options;
  }

  /** To be called before a step. */
  begin(step: number): void {
    const { device, first } = this.#options;
    if (step === first + recorded.from) this.#trace = new Trace(device);
  }

  /** Runs a part of a step under its name. */
  span<T>(name: string, work: () => Promise<T>): Promise<T> {
    return this.#trace ? this.#trace.span(name, work) : work();
  }

  /** To be called after a step; `last`: there is none after it. */
  end(step: number, last: boolean): void {
    const { first, folder, tell } = this.#options;
    if (!this.#trace || !(last || step === first + recorded.to)) return;
    const path = join(folder, "trace.json");
    this.#trace.write(path);
    this.#trace = undefined;
    tell(`trace of ${step - first - recorded.from + 1} steps: ${path}`);
  }
}
