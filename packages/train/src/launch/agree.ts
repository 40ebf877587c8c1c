/** What the processes of a run decide together, so that all do the same. */

import { AvjepaError } from "@avjepa/core/error";
import type { ClipBatch, FileEvent, FileLedger } from "@avjepa/data";

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
  /** News of held-out files; those of clips come with them: {@link clipsOfAll}. */
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
  const told = news > 0 ? await ranks.gather(JSON.stringify(events)) : [];
  return {
    rows,
    tokensContext,
    tokensTarget,
    memoryBytes,
    minutes,
    signal: stopSignals[number - 1],
    events: told.flatMap((text) => JSON.parse(text) as RunFileEvent[]),
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

/**
 * A step's clips on this process, and the news of files on all of them, which
 * the ledger gets. Where one process has no clips, none has.
 *
 * @throws on every process what any of them failed with.
 */
export async function clipsOfAll(
  ranks: Collective,
  ledger: FileLedger,
  next: () => Promise<ClipBatch[]>,
): Promise<{ clips: ClipBatch[]; news: FileEvent[] }> {
  let clips: ClipBatch[] = [];
  let failure: unknown;
  try {
    clips = await next();
  } catch (error) {
    failure = error ?? new Error("no clips");
  }
  const events = clips.flatMap((batch) => batch.events);
  const tried = clips.at(-1)?.counts.tried ?? 0;
  const [failed = 0, news = 0, triedByAll = 0] = await ranks.sum([
    failure === undefined ? 0 : 1,
    events.length,
    tried,
  ]);
  if (failed > 0) await failTogether(ranks, failure);
  const told = news > 0 ? await ranks.gather(JSON.stringify(events)) : [];
  const all = told.flatMap((text) => JSON.parse(text) as FileEvent[]);
  return { clips, news: ledger.enter(all, triedByAll) };
}

/**
 * Ends all processes with the error of the first that has one: what only some
 * of them throw leaves the others waiting. Every process calls it.
 */
export async function failTogether(
  ranks: Collective,
  own: unknown,
): Promise<never> {
  if (ranks.world === 1) throw own;
  const told = own === undefined ? "" : JSON.stringify(inWords(own));
  const all = await ranks.gather(told);
  const rank = all.findIndex((text) => text !== "");
  if (rank === ranks.rank) throw own;
  const { code, message, hint } = JSON.parse(all[rank] ?? "{}") as ReturnType<
    typeof inWords
  >;
  throw new AvjepaError(code, `rank ${rank}: ${message}`, hint ? { hint } : {});
}

function inWords(error: unknown): {
  code: string;
  message: string;
  hint?: string | undefined;
} {
  if (AvjepaError.is(error)) {
    const { code, message, hint } = error;
    return { code, message, hint };
  }
  const message = error instanceof Error ? error.message : String(error);
  return { code: "AVJ_RANK", message };
}
