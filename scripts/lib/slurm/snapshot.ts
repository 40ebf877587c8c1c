/** A copy of the code in the run folder: a job that waits, or comes back, runs what was submitted. */

import { AvjepaError } from "@avjepa/core/error";
import { cpSync, existsSync, mkdirSync } from "node:fs";
import { dirname, join } from "node:path";

/** Built or installed, not in git. */
const ignored = ["native", "node_modules"];

/** What a command needs of the checkout. */
const needed = ["packages", "scripts", "configs"];

/**
 * Copies the checkout's files, changes included, with what was built and
 * installed; the rest (crates, tests, runs) stays.
 */
export function snapshotCode(root: string, to: string): void {
  for (const path of files(root)) copy(join(root, path), join(to, path));
  for (const name of [...ignored, ...packageModules(root)])
    if (existsSync(join(root, name)))
      cpSync(join(root, name), join(to, name), {
        recursive: true,
        verbatimSymlinks: true,
      });
}

/** Files of the checkout that git tracks, or would; everything below the needed folders outside git. */
function files(root: string): string[] {
  const git = Bun.spawnSync(
    [
      "git",
      "ls-files",
      "-co",
      "--exclude-standard",
      "-z",
      "--",
      ...needed,
      "*.json",
      "*.toml",
    ],
    { cwd: root, stderr: "ignore" },
  );
  const listed =
    git.exitCode === 0
      ? String(git.stdout).split("\0").filter(Boolean)
      : [...new Bun.Glob(`{${needed.join(",")}}/**`).scanSync({ cwd: root })]
          .concat("package.json")
          .filter((path) => !path.includes("node_modules/"));
  const there = listed.filter((path) => existsSync(join(root, path)));
  if (there.includes("package.json")) return there;
  throw new AvjepaError(
    "AVJ_SLURM",
    `${root} is no checkout: it has no package.json`,
  );
}

/** Each package's links to the others. */
const packageModules = (root: string): string[] => [
  ...new Bun.Glob("packages/*/node_modules").scanSync({
    cwd: root,
    onlyFiles: false,
  }),
];

function copy(from: string, to: string): void {
  mkdirSync(dirname(to), { recursive: true });
  cpSync(from, to);
}
