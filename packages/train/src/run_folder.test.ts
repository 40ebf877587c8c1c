import { afterEach, beforeEach, expect, test } from "bun:test";
import {
  existsSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  rmSync,
  writeFileSync,
} from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";

import { RunFolder } from "./run_folder.ts";

let root: string;
beforeEach(() => {
  root = mkdtempSync(join(tmpdir(), "avjepa-run-"));
});
afterEach(() => rmSync(root, { recursive: true, force: true }));

/** A process that opens the folder, says so, and stays. */
function holder(folder: string) {
  const program = `
    import { RunFolder } from ${JSON.stringify(join(import.meta.dir, "run_folder.ts"))};
    try { RunFolder.open(${JSON.stringify(folder)}); console.log("held"); }
    catch (error) { console.log(error.code); process.exit(0); }
    setInterval(() => {}, 1000);`;
  return Bun.spawn([process.execPath, "-e", program], {
    cwd: import.meta.dir,
    stdout: "pipe",
    stderr: "inherit",
  });
}

async function firstLine(child: ReturnType<typeof holder>): Promise<string> {
  const reader = child.stdout.getReader();
  const { value } = await reader.read();
  reader.releaseLock();
  return Buffer.from(value ?? [])
    .toString()
    .trim();
}

test("made where it is missing, and let go", () => {
  const folder = RunFolder.open(join(root, "a/b"));
  expect(folder.takenOver).toBeUndefined();
  expect(readdirSync(folder.path)).toEqual([".lock"]);
  expect(() => RunFolder.open(folder.path)).toThrow(
    `in use by process ${process.pid} since`,
  );
  folder.release();
  expect(readdirSync(folder.path)).toEqual([]);
});

test("a path below a file", () => {
  writeFileSync(join(root, "file"), "");
  for (const path of ["file/run", "file"])
    expect(() => RunFolder.open(join(root, path))).toThrow(
      /cannot make the run folder .*: a part of the path is a file/,
    );
  expect(() => RunFolder.open("/proc/nowhere")).toThrow("cannot");
  for (const path of ["/proc/self", "/sys"])
    expect(() => RunFolder.open(path)).toThrow(
      `cannot write in the run folder ${path}`,
    );
});

test("another process holds it; killed, its lock is taken over", async () => {
  const child = holder(root);
  try {
    expect(await firstLine(child)).toBe("held");
    expect(() => RunFolder.open(root)).toThrow(`process ${child.pid} since`);
  } finally {
    child.kill("SIGKILL");
    await child.exited;
  }
  expect(existsSync(join(root, ".lock"))).toBe(true);
  const folder = RunFolder.open(root);
  expect(folder.takenOver?.pid).toBe(child.pid);
  folder.release();
  expect(readdirSync(root)).toEqual([]);
});

test("a used-again pid is another process", () => {
  const first = RunFolder.open(root);
  const path = join(root, ".lock");
  const lock = JSON.parse(readFileSync(path, "utf8"));
  first.release();
  writeFileSync(path, JSON.stringify({ ...lock, process_start: "1" }));
  const folder = RunFolder.open(root);
  expect(folder.takenOver?.process_start).toBe("1");
  folder.release();
});

test("another machine's lock holds while it is touched", () => {
  const first = RunFolder.open(root);
  const path = join(root, ".lock");
  const lock = JSON.parse(readFileSync(path, "utf8"));
  first.release();
  const far = { ...lock, host: "far", boot: "else pid:[1]", pid: 1 };
  writeFileSync(path, JSON.stringify(far));
  expect(() => RunFolder.open(root)).toThrow("process 1 on far");
  Bun.spawnSync(["touch", "-d", "1 hour ago", path]);
  const folder = RunFolder.open(root);
  expect(folder.takenOver?.host).toBe("far");
  folder.release();
});

test("a damaged lock is nobody's", () => {
  writeFileSync(join(root, ".lock"), "{");
  RunFolder.open(root).release();
});

test("of several at once, on a stale lock, one gets it", async () => {
  const first = RunFolder.open(root);
  const path = join(root, ".lock");
  const lock = JSON.parse(readFileSync(path, "utf8"));
  first.release();
  writeFileSync(path, JSON.stringify({ ...lock, process_start: "1" }));
  const children = Array.from({ length: 4 }, () => holder(root));
  try {
    const lines = await Promise.all(children.map(firstLine));
    expect(lines.sort()).toEqual([
      "AVJ_RUN_IN_USE",
      "AVJ_RUN_IN_USE",
      "AVJ_RUN_IN_USE",
      "held",
    ]);
  } finally {
    for (const child of children) child.kill("SIGKILL");
    await Promise.all(children.map((child) => child.exited));
  }
});
