/** A copy of the code in the run folder: a job that waits, or comes back, runs what was submitted. */

import { AvjepaError } from "@avjepa/core/error";
import {
  copyFileSync,
  cpSync,
  existsSync,
  linkSync,
  mkdirSync,
  readdirSync,
  readlinkSync,
  symlinkSync,
} from "node:fs";
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
      linkTree(join(root, name), join(to, name));
}

/**
 * A second name for every file below a folder, or a copy where the two are on
 * different disks. For files that are replaced, never written in place: what is
 * built, what is installed, and a snapshot itself.
 */
export function linkTree(from: string, to: string): void {
  mkdirSync(to, { recursive: true });
  for (const entry of readdirSync(from, { withFileTypes: true })) {
    const [source, target] = [join(from, entry.name), join(to, entry.name)];
    if (entry.isDirectory()) linkTree(source, target);
    else if (entry.isSymbolicLink()) symlinkSync(readlinkSync(source), target);
    else
      try {
        linkSync(source, target);
      } catch {
        copyFileSync(source, target);
      }
  }
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
