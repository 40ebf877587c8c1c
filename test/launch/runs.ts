/** Runs of `pretrain` as several processes, and what becomes of them. */

import { existsSync, readFileSync } from "node:fs";
import { join } from "node:path";

import { Clips, root, small, stepsOf, until } from "../pretrain/support.ts";
import { environment, processesWith } from "./support.ts";

export const tag = "avjepaTiny-L1";
const script = join(root, "scripts/pretrain.ts");

/** Options of a run of so many steps, four clips each. */
export const runArgs = (
  clips: Clips,
  folder: string,
  steps: number,
): string[] => [
  "configs/pretrain/av-vitt16.yaml",
  ...["--folder", clips.path(folder)],
  ...small(clips.path("clips.csv")),
  ...stepsOf(1, steps),
  ...["--set", "data.batch_size=null"],
  ...["--set", "optimization.batch_size_total=4"],
  ...["--set", "meta.checkpoint_every_steps=2"],
  ...["--set", "meta.keep_checkpoints=20"],
];

interface Options {
  launcher?: string[];
  env?: Record<string, string | undefined>;
}

/** Starts one, with what it will have printed. */
export function start(
  words: string[],
  { launcher = [], env = {} }: Options = {},
) {
  const child = Bun.spawn([...launcher, process.execPath, script, ...words], {
    cwd: root,
    // The ranks share these threads.
    env: { ...environment, AVJEPA_THREADS: "2", ...env },
    stdin: "ignore",
    stdout: "pipe",
    stderr: "pipe",
  });
  const texts = Promise.all([
    new Response(child.stdout).text(),
    new Response(child.stderr).text(),
  ]);
  const done = texts.then(async ([out, err]) => ({
    out,
    err,
    exitCode: await child.exited,
  }));
  return { child, done };
}

/** Runs one to its end. */
export const run = (words: string[], options?: Options) =>
  start(words, options).done;

/** Steps that a run's log tells of. */
export const stepsIn = (folder: string): number => {
  const path = join(folder, "metrics.jsonl");
  return existsSync(path)
    ? readFileSync(path, "utf8").split("\n").length - 1
    : 0;
};

/** A rank's pid, once the run is under way; `variable` is what tells a process its number. */
export async function rankOf(
  folder: string,
  rank: number,
  variable: string,
): Promise<number> {
  await until(() => stepsIn(folder) >= 1);
  const pid = processesWith(folder).find((pid) =>
    `\0${readFileSync(`/proc/${pid}/environ`, "utf8")}`.includes(
      `\0${variable}=${rank}\0`,
    ),
  );
  if (pid === undefined) throw new Error(`rank ${rank} is not there`);
  return pid;
}

/** Resolves when no process of the run is left. */
export const goneFrom = (folder: string) =>
  until(() => processesWith(folder).length === 0);
