/** What to do with a run that the folder holds already. */

import { existsSync, mkdirSync, readdirSync, renameSync } from "node:fs";
import { join } from "node:path";

import { AvjepaError } from "@avjepa/core";
import { isForeignCheckpoint } from "@avjepa/models";

import {
  type Checkpoint,
  type CheckpointStore,
  openCheckpoint,
} from "./checkpoint/store.ts";
import type { ResolvedPretrainConfig } from "./config/index.ts";
import { linkTarget } from "./files/atomic.ts";

/** Where a run starts. */
export interface Start {
  /** The checkpoint to continue from; without it the run is new. */
  resume?: Checkpoint;
  /** The checkpoint whose weights a new run takes over. */
  initFrom?: Checkpoint | ForeignStart;
}

/** A file of another program; see initialiseFrom. */
export interface ForeignStart {
  path: string;
  foreign: true;
}

/**
 * Decides between a new run and going on: `meta.load_checkpoint`, then
 * `--resume`, then `meta.init_from`.
 *
 * @param resume `auto`, `never` or a checkpoint's path.
 * @throws AvjepaError AVJ_CHECKPOINT
 */
export async function whereToStart(
  store: CheckpointStore,
  { meta }: ResolvedPretrainConfig,
  resume: string,
): Promise<Start> {
  if (resume !== "auto" && resume !== "never")
    return { resume: await store.find(resume) };
  if (resume === "auto") {
    const checkpoint =
      meta.load_checkpoint && meta.read_checkpoint !== null
        ? await store.find(meta.read_checkpoint)
        : await store.latest();
    if (checkpoint) return { resume: checkpoint };
    refuseOtherRun(store);
    if (meta.load_checkpoint)
      throw new AvjepaError(
        "AVJ_CHECKPOINT",
        `meta.load_checkpoint is set, but there is no checkpoint in ${store.folder}`,
        {
          hint: "name the run's folder (--folder), or set meta.load_checkpoint: false",
        },
      );
  }
  if (meta.init_from === null) return {};
  if (isForeignCheckpoint(meta.init_from))
    return { initFrom: { path: meta.init_from, foreign: true } };
  return { initFrom: await openCheckpoint(meta.init_from) };
}

/**
 * A folder holds one run: its logs would be mixed with those of another tag's.
 * Nor does one begin anew in silence whose checkpoints somebody took away.
 */
function refuseOtherRun({ folder, tag }: CheckpointStore): void {
  const latest = readdirSync(folder).find((name) => name.endsWith("-latest"));
  if (latest === undefined) return;
  if (latest === `${tag}-latest`)
    throw new AvjepaError(
      "AVJ_CHECKPOINT",
      `${join(folder, latest)} leads to ${linkTarget(join(folder, latest))}, which is gone, and no other checkpoint is there`,
      {
        hint: "put it back, or set what is left of the run aside and begin anew: --resume never",
      },
    );
  throw new AvjepaError(
    "AVJ_CONFIG_CHANGED",
    `the run in ${folder} was configured otherwise\nlogging.write_tag: ${JSON.stringify(latest.slice(0, -"-latest".length))}, now ${JSON.stringify(tag)}`,
    {
      hint: "give the run's tag, or another --folder for a new run; --resume never sets this one aside",
    },
  );
}

/**
 * Moves a run's files out of the way of a new one, into `before-1/`,
 * `before-2/`, … of the same folder; other files stay.
 *
 * @returns that folder; undefined where there was no run.
 */
export function setRunAside(folder: string): string | undefined {
  const names = readdirSync(folder).filter(belongsToRun);
  if (names.length === 0) return undefined;
  let n = 1;
  while (existsSync(join(folder, `before-${n}`))) n++;
  const aside = join(folder, `before-${n}`);
  mkdirSync(aside);
  for (const name of names) renameSync(join(folder, name), join(aside, name));
  return aside;
}

const common = new Set([
  "config.yaml",
  "metrics.jsonl",
  "log.txt",
  "run.json",
  "trace.json",
]);

function belongsToRun(name: string): boolean {
  return (
    common.has(name) ||
    name.startsWith("events.out.tfevents.") ||
    /^[\w.+-]+(-s\d+|-e\d+|-latest|_r\d+\.csv)$/.test(name)
  );
}
