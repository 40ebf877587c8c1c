/** Which files of a run could not be used, and when they are too many. */

import { callNative, native } from "@avjepa/core";

import type { FileCounts, FileEvent } from "./clip_batch.ts";

/** What is counted. */
export interface FileLedgerOptions {
  /** Lines of the index. */
  samples: number;
  /** `data.max_bad_fraction` */
  maxBadFraction: number;
}

/** The names that kinds of events have among the counts. */
const counted: Readonly<Record<string, Exclude<keyof FileCounts, "tried">>> = {
  bad: "bad",
  missing_audio: "missingAudio",
  silent: "silent",
  missing_video: "missingVideo",
  short: "short",
};

/**
 * News of files from any number of loaders that share an index: each file
 * counts once, whichever met it first. Ledgers that are told the same say the
 * same, so the processes of a run end together.
 *
 * @example
 * const ledger = new FileLedger({ samples: loader.info.samples, maxBadFraction: 0.05 });
 * const news = ledger.enter(batch.events, batch.counts.tried);
 * ledger.judge();
 */
export class FileLedger {
  readonly #events = new Map<string, FileEvent>();
  #tried = 0;
  #judged = 0;

  constructor(readonly options: FileLedgerOptions) {}

  /**
   * @param tried distinct files that the loaders have opened so far, summed: a
   *   file that two have opened counts twice, but never more than there are.
   * @returns those that are news.
   */
  enter(events: readonly FileEvent[], tried: number): FileEvent[] {
    this.#tried = Math.min(tried, this.options.samples);
    return events.filter((event) => {
      const key = `${event.kind} ${event.index}`;
      if (this.#events.has(key)) return false;
      this.#events.set(key, event);
      return true;
    });
  }

  /** Distinct files so far. */
  get counts(): FileCounts {
    const counts: FileCounts = {
      tried: this.#tried,
      bad: 0,
      missingAudio: 0,
      silent: 0,
      missingVideo: 0,
      short: 0,
    };
    for (const { kind } of this.#events.values()) {
      const name = counted[kind];
      if (name) counts[name] += 1;
    }
    return counts;
  }

  /** @throws AvjepaError AVJ_BAD_FILES once the bad ones are too many, as a loader does by itself. */
  judge(): void {
    const { samples, maxBadFraction } = this.options;
    const bad = [...this.#events.values()].filter((e) => e.kind === "bad");
    if (bad.length === this.#judged) return;
    this.#judged = bad.length;
    const paths = bad.map(({ path }) => path);
    const reasons = bad.map(({ reason }) => reason);
    callNative(() =>
      native.mediaJudgeFiles(
        samples,
        maxBadFraction,
        this.#tried,
        paths,
        reasons,
      ),
    );
  }
}
