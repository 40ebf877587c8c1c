/** The README's program runs as it stands there. */

import { expect, test } from "bun:test";
import { readFileSync } from "node:fs";
import { join } from "node:path";

import { Clips, root } from "../pretrain/support.ts";

test("the README's program learns from clips", () => {
  using clips = new Clips(4);
  const readme = readFileSync(join(root, "README.md"), "utf8");
  const program = /```ts\n([\s\S]*?)```/.exec(readme)?.[1] ?? "";
  const line = program.split("\n").find((text) => text.includes("console.log"));
  // Endless as it stands: two steps are enough.
  const stopped = program
    .replace("clips.csv", clips.path("clips.csv"))
    .replace("batch: 16", "batch: 2")
    .replace(line!, `${line}\n  if (++steps === 2) process.exit(0);`);
  const run = Bun.spawnSync(
    [process.execPath, "-e", `let steps = 0;\n${stopped}`],
    { cwd: root },
  );
  expect(String(run.stderr)).toBe("");
  const losses = String(run.stdout).trim().split("\n").map(Number);
  expect(losses).toHaveLength(2);
  for (const loss of losses) expect(loss).toBeGreaterThan(0);
}, 60_000);
