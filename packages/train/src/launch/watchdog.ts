/**
 * Notices that a run stands still, says where, and ends it: a rank that waits
 * for one that will never come would wait for ever.
 */

import { readFileSync, readdirSync } from "node:fs";

import type { Waiting } from "@avjepa/core";

/** What the watchdog looks at. */
export interface Watched {
  rank: number;
  world: number;
  /** The call this process is in with the others. */
  readonly waiting?: Waiting | null;
  /** Has that call give up, where that is possible. */
  interrupt?(): void;
}

export interface WatchdogOptions {
  /** Seconds without progress. `AVJEPA_STALL_MINUTES`, by default 30 minutes. */
  limit?: number;
  /** Where the report goes. */
  report?: (text: string) => void;
  /** Ends the process. */
  exit?: (code: number) => void;
}

/** Seconds from a rank's report to its end, so that the others' reports come first. */
const grace = 5;

/** Watches a process until it is disposed. */
export class Watchdog implements Disposable {
  readonly #limit: number;
  readonly #timer: Timer;
  readonly #phases: { name: string; since: number }[] = [];
  #reported = false;

  constructor(
    readonly watched: Watched,
    options: WatchdogOptions = {},
  ) {
    const { limit = limitFromEnvironment() } = options;
    const { report = (text) => void process.stderr.write(`${text}\n`) } =
      options;
    const { exit = (code) => process.exit(code) } = options;
    this.#limit = limit;
    const end = (): void => {
      this.watched.interrupt?.();
      exit(1);
    };
    const look = (): void => {
      if (this.#reported || !this.isStalled) return;
      this.#reported = true;
      report(this.describe());
      // A process that is only slow is not ended: those that wait for it are.
      if (this.watched.waiting) setTimeout(end, 1000 * grace);
    };
    this.#timer = setInterval(look, Math.min(5000, 250 * limit));
    this.#timer.unref();
  }

  /** Runs `work` under a name that a report tells. */
  async during<T>(name: string, work: () => Promise<T>): Promise<T> {
    this.#phases.push({ name, since: performance.now() });
    try {
      return await work();
    } finally {
      this.#phases.pop();
      this.#reported = false;
    }
  }

  /** Whether this process waits for others, or is in one phase, for longer than the limit. */
  get isStalled(): boolean {
    const { waiting } = this.watched;
    if (waiting) return waiting.seconds > this.#limit;
    const phase = this.#phases.at(-1);
    return phase !== undefined && secondsSince(phase.since) > this.#limit;
  }

  /** Where this process is: its phases from the outermost, its call to the others, its threads. */
  describe(): string {
    const { rank, world, waiting } = this.watched;
    const phases = this.#phases.map(
      ({ name, since }) =>
        `in ${name} for ${Math.round(secondsSince(since))} s`,
    );
    const call = waiting
      ? [
          `waiting for the other ranks in ${waiting.call} (call ${waiting.number}) for ${Math.round(waiting.seconds)} s`,
        ]
      : [];
    const what = [...phases, ...call, ...threads()];
    const heading = `rank ${rank} of ${world}: no progress for ${Math.round(this.#limit)} s (process ${process.pid})`;
    return what.reduce(
      (text, line) => `${text}\nrank ${rank} of ${world}:   ${line}`,
      heading,
    );
  }

  [Symbol.dispose](): void {
    clearInterval(this.#timer);
  }
}

const secondsSince = (at: number): number => (performance.now() - at) / 1000;

function limitFromEnvironment(): number {
  const minutes = Number(process.env.AVJEPA_STALL_MINUTES ?? 30);
  return 60 * (minutes > 0 ? minutes : 30);
}

/** The process's threads by name and state, those of a kind counted; Linux only. */
function threads(): string[] {
  const counts = new Map<string, number>();
  try {
    for (const id of readdirSync("/proc/self/task")) {
      const stat = readFileSync(`/proc/self/task/${id}/stat`, "utf8");
      const name = stat.slice(stat.indexOf("(") + 1, stat.lastIndexOf(")"));
      const state = stat.slice(
        stat.lastIndexOf(")") + 2,
        stat.lastIndexOf(")") + 3,
      );
      const where = readFileSync(`/proc/self/task/${id}/wchan`, "utf8");
      const text = `${name} ${states[state] ?? state}${where && where !== "0" ? ` in ${where}` : ""}`;
      counts.set(text, (counts.get(text) ?? 0) + 1);
    }
  } catch {
    return [];
  }
  const listed = [...counts].map(([text, n]) =>
    n > 1 ? `${n} × ${text}` : text,
  );
  return [`threads: ${listed.join("; ")}`];
}

const states: Record<string, string> = {
  R: "running",
  S: "asleep",
  D: "waiting for a device",
  T: "stopped",
};
