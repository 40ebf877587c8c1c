/** What the processes of a run decide together, so that all do the same. */

import type { FileCounts } from "@avjepa/data";

import { openCheckpoint } from "../checkpoint/store.ts";
import type { Collective } from "../collective.ts";
import type { RunFileEvent } from "../log/file_report.ts";
import type { Start } from "../previous_run.ts";
import { stopSignals } from "../signals.ts";
import type { StopSignal } from "../signals.ts";

/**
 * Rank 0's decision on where the run starts: the others' view of the folder may
 * be older, or change while they look. Weights to begin with are for rank 0
 * alone, which gives them to the others.
 */
export async function startOfAll(
  ranks: Collective,
  decide: () => Promise<Start>,
): Promise<Start> {
  const own = ranks.rank === 0 ? await decide() : {};
  const [resume = ""] = await ranks.gather(own.resume?.path ?? "");
  if (ranks.rank === 0) return own;
  return resume ? { resume: await openCheckpoint(resume) } : {};
}

/** A process's part of a step. */
export interface StepPart {
  rows: number;
  tokensContext: number;
  tokensTarget: number;
  memoryBytes: number;
  /** Since the last checkpoint. */
  minutes: number;
  /** The signal that asked this process to stop. */
  signal: StopSignal | undefined;
  /** News of files. */
  events: readonly RunFileEvent[];
}

/**
 * The whole step: rows and tokens are summed, of memory and minutes it is the
 * largest, a signal to any process is one to all, news are everybody's.
 */
export async function stepOfAll(
  ranks: Collective,
  part: Partial<StepPart>,
): Promise<StepPart> {
  const { signal, events = [] } = part;
  if (ranks.world === 1) return { ...nothing, ...part, signal, events };
  const [rows = 0, tokensContext = 0, tokensTarget = 0, news = 0] =
    await ranks.sum([
      part.rows ?? 0,
      part.tokensContext ?? 0,
      part.tokensTarget ?? 0,
      events.length,
    ]);
  const [memoryBytes = 0, minutes = 0, number = 0] = await ranks.max([
    part.memoryBytes ?? 0,
    part.minutes ?? 0,
    signal ? stopSignals.indexOf(signal) + 1 : 0,
  ]);
  const all =
    news === 0
      ? []
      : (await ranks.gather(JSON.stringify(events))).flatMap(
          (text) => JSON.parse(text) as RunFileEvent[],
        );
  return {
    rows,
    tokensContext,
    tokensTarget,
    memoryBytes,
    minutes,
    signal: stopSignals[number - 1],
    events: all,
  };
}

const nothing: StepPart = {
  rows: 0,
  tokensContext: 0,
  tokensTarget: 0,
  memoryBytes: 0,
  minutes: 0,
  signal: undefined,
  events: [],
};

/** Files of all processes: each counts those that it has seen. */
export async function filesOfAll(
  ranks: Collective,
  own: FileCounts | undefined,
): Promise<FileCounts> {
  const names = [
    "tried",
    "bad",
    "missingAudio",
    "silent",
    "missingVideo",
    "short",
  ] as const;
  const sums = await ranks.sum(names.map((name) => own?.[name] ?? 0));
  return Object.fromEntries(
    names.map((name, i) => [name, sums[i] ?? 0]),
  ) as unknown as FileCounts;
}
