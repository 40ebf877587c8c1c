/** Which checkpoint a configuration means. */

import { existsSync, readdirSync, statSync } from "node:fs";
import { isAbsolute, join } from "node:path";

import { AvjepaError } from "@avjepa/core";

/**
 * The checkpoint that a configuration names: `name` in `folder` or as a path of
 * its own, or without a name the folder's newest.
 *
 * @throws AvjepaError AVJ_CHECKPOINT listing the checkpoints that are there.
 */
export function checkpointPath(folder: string, name: string | null): string {
  if (name === null) return folder;
  const inFolder = isAbsolute(name) ? name : join(folder, name);
  if (existsSync(inFolder)) return inFolder;
  if (existsSync(name)) return name;
  const names = existsSync(folder) ? checkpointsIn(folder) : undefined;
  if (names === undefined)
    throw new AvjepaError(
      "AVJ_CHECKPOINT",
      `there is no run folder ${folder} to take the encoder from`,
      { hint: "name it: --set pretrain.folder=runs/first" },
    );
  // The folder may itself be the checkpoint.
  if (existsSync(join(folder, "state.json"))) return folder;
  throw new AvjepaError(
    "AVJ_CHECKPOINT",
    `there is no checkpoint ${name} in ${folder}`,
    {
      hint:
        names.length === 0
          ? "the folder has none; name another: --set pretrain.folder=runs/first"
          : `there are ${names.join(", ")}: --set pretrain.checkpoint=${names.find((n) => n.endsWith("-latest")) ?? names[0]}`,
    },
  );
}

function checkpointsIn(folder: string): string[] {
  if (!statSync(folder).isDirectory()) return [];
  return readdirSync(folder)
    .filter(
      (name) =>
        existsSync(join(folder, name, "state.json")) ||
        name.endsWith(".pth.tar"),
    )
    .sort();
}
