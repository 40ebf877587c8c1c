/** Errors from before a command runs. */

import { expect, test } from "bun:test";
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";

const scripts = join(import.meta.dir, "../../scripts");
const told = join(scripts, "lib/told.ts");
const commands = "bench demo doctor eval index pretrain slurm".split(" ");

test("a module that does not load is told as an error with its remedy", () => {
  const folder = mkdtempSync(join(tmpdir(), "avjepa-told-"));
  const failing = join(folder, "failing.ts");
  const error = join(scripts, "../packages/core/src/error.ts");
  writeFileSync(
    failing,
    `import { AvjepaError } from "${error}";
    throw new AvjepaError("AVJ_ADDON", "there is no addon", { hint: "build it" });
    export const value = 1;`,
  );
  const main = join(folder, "main.ts");
  writeFileSync(
    main,
    `import "${told}";\nimport { value } from "${failing}";\nconsole.log(value);`,
  );
  const run = Bun.spawnSync([process.execPath, main], { cwd: scripts });
  rmSync(folder, { recursive: true });
  expect(String(run.stderr)).toBe("error: there is no addon\n  build it\n");
  expect(run.exitCode).toBe(1);
});

test.each(commands)("%s listens before it loads anything", (name) => {
  const text = readFileSync(join(scripts, `${name}.ts`), "utf8");
  expect(/^import .*/m.exec(text)?.[0]).toBe('import "./lib/told.ts";');
});
