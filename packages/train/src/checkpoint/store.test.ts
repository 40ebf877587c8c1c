import { afterEach, beforeEach, describe, expect, test } from "bun:test";
import {
  existsSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  readlinkSync,
  rmSync,
  truncateSync,
  writeFileSync,
} from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";

import { formatError } from "@avjepa/core/error";

import { encodeState, readState } from "./state.ts";
import { CheckpointStore, openCheckpoint } from "./store.ts";

let folder: string;
let store: CheckpointStore;
beforeEach(() => {
  folder = mkdtempSync(join(tmpdir(), "avjepa-checkpoint-"));
  store = new CheckpointStore(folder, "jepa", 2);
});
afterEach(() => rmSync(folder, { recursive: true, force: true }));

const save = (step: number, options = {}) =>
  store.save(
    step,
    { seed: 7, cursor: { pass: 1, index: step } },
    async (dir) => {
      await Bun.write(join(dir, "weights.safetensors"), `weights ${step}`);
      await Bun.write(join(dir, "optim-r0of1.safetensors"), "moments");
    },
    options,
  );

const failure = async (action: () => unknown): Promise<string> => {
  try {
    await action();
  } catch (error) {
    return formatError(error);
  }
  throw new Error("did not fail");
};

test("saved, found again, older ones removed", async () => {
  for (const step of [2, 4, 6]) await save(step);
  expect(readdirSync(folder).sort()).toEqual([
    "jepa-latest",
    "jepa-s4",
    "jepa-s6",
  ]);
  expect(readlinkSync(join(folder, "jepa-latest"))).toBe("jepa-s6");
  const latest = (await store.latest())!;
  expect(latest).toMatchObject({ path: store.pathOf(6), step: 6 });
  expect(latest.state).toMatchObject({
    format_version: 1,
    seed: 7,
    cursor: { pass: 1, index: 6 },
  });
  for (const which of [4, "jepa-s4", store.pathOf(4)])
    expect((await store.find(which)).step).toBe(4);
  expect((await store.find("jepa-latest")).path).toBe(store.pathOf(6));
  expect((await openCheckpoint(folder)).step).toBe(6);
  expect(
    await new CheckpointStore(join(folder, "none"), "jepa").latest(),
  ).toBeUndefined();
});

test("a run that goes back to an older checkpoint is there until it saves", async () => {
  for (const step of [2, 4]) await save(step);
  store.goBackTo(await store.find(2));
  expect((await store.latest())?.step).toBe(2);
  await save(3);
  expect((await store.latest())?.step).toBe(3);
  const other = new CheckpointStore(join(folder, "other"), "jepa");
  mkdirSync(other.folder);
  other.goBackTo(await store.find(3));
  expect(readdirSync(other.folder)).toEqual([]);
});

test("equal runs write equal bytes, whatever the order of keys", async () => {
  await save(1);
  const first = readFileSync(join(store.pathOf(1), "state.json"), "utf8");
  await store.save(
    1,
    { cursor: { index: 1, pass: 1 }, seed: 7 },
    async (dir) => {
      writeFileSync(join(dir, "optim-r0of1.safetensors"), "moments");
      writeFileSync(join(dir, "weights.safetensors"), "weights 1");
    },
  );
  expect(readFileSync(join(store.pathOf(1), "state.json"), "utf8")).toBe(first);
  expect(first).not.toContain(folder);
});

test("those of an epoch are kept for good", async () => {
  await save(1, { epoch: 1 });
  for (const step of [2, 3, 4]) await save(step);
  expect(store.steps()).toEqual([1, 3, 4]);
  expect((await store.find("jepa-e1")).step).toBe(1);
});

test("after a resume from an older one, the other time line goes first", async () => {
  store = new CheckpointStore(folder, "jepa", 3);
  for (const step of [2, 4, 6]) await save(step);
  await save(3);
  expect(store.latestStep()).toBe(3);
  expect(store.steps()).toEqual([2, 3, 6]);
  await save(4);
  expect(store.steps()).toEqual([2, 3, 4]);
});

describe("a save that fails leaves the previous checkpoint", () => {
  const intact = async (text: string) => {
    expect(text).toContain("cannot save the checkpoint of step 5");
    expect(text).toContain(
      `the checkpoint of step 3 is intact: ${store.pathOf(3)}`,
    );
    expect((await store.latest())!.step).toBe(3);
    expect(readdirSync(folder).sort()).toEqual(["jepa-latest", "jepa-s3"]);
  };
  const saveError = async (writeFiles: (dir: string) => Promise<void>) => {
    try {
      await store.save(5, {}, writeFiles);
    } catch (error) {
      return formatError(error);
    }
    throw new Error("saved");
  };
  test("disk full", async () => {
    await save(3);
    const text = await saveError(async (dir) => {
      writeFileSync(join(dir, "weights.safetensors"), "part");
      writeFileSync("/dev/full", "x".repeat(1 << 20));
    });
    await intact(text);
    expect(text).toContain("the disk is full");
    expect(text).toContain("free some space");
  });
  test("any other reason", async () => {
    await save(3);
    await intact(
      await saveError(() => Promise.reject(new Error("device lost"))),
    );
  });
  test("the limit of a file's size", async () => {
    await save(3);
    const program = `
      import { CheckpointStore } from ${JSON.stringify(join(import.meta.dir, "store.ts"))};
      import { formatError } from "@avjepa/core/error";
      import { writeFileSync } from "node:fs";
      const store = new CheckpointStore(${JSON.stringify(folder)}, "jepa", 1);
      try {
        await store.save(5, {}, async (dir) =>
          writeFileSync(dir + "/weights.safetensors", Buffer.alloc(1 << 20)));
      } catch (error) { console.log(formatError(error)); }`;
    const { stdout } = Bun.spawnSync(
      [
        "bash",
        "-c",
        'ulimit -f 512; exec "$0" -e "$1"',
        process.execPath,
        program,
      ],
      { cwd: import.meta.dir },
    );
    await intact(stdout.toString());
    expect(stdout.toString()).toContain("larger than allowed");
  });
});

test("what a crash left is cleaned", async () => {
  await save(3);
  mkdirSync(store.asideOf(5));
  writeFileSync(join(store.asideOf(5), "weights.safetensors"), "half");
  mkdirSync(join(folder, ".jepa-s3.old"));
  mkdirSync(join(folder, ".jepa-s4.old"));
  mkdirSync(join(folder, ".other-s4.tmp"));
  store.clean();
  expect(readdirSync(folder).sort()).toEqual([
    ".other-s4.tmp",
    "jepa-latest",
    "jepa-s3",
    "jepa-s4",
  ]);
});

test("without its link the newest is found by its step", async () => {
  await save(3);
  await save(10);
  rmSync(join(folder, "jepa-latest"));
  expect((await store.latest())!.step).toBe(10);
});

describe("a damaged checkpoint is refused, naming the file and the older one", () => {
  const hint = () => `--resume ${store.pathOf(3)}`;
  beforeEach(async () => {
    await save(3);
    await save(6);
  });
  const weights = () => join(store.pathOf(6), "weights.safetensors");
  test("a changed byte", async () => {
    writeFileSync(weights(), "weights 7");
    const text = await failure(() => store.latest());
    expect(text).toContain(`${weights()} is damaged: its hash`);
    expect(text).toContain(hint());
  });
  test("cut off", async () => {
    truncateSync(weights(), 4);
    const text = await failure(() => store.latest());
    expect(text).toContain("it has 4 bytes, not 9");
    expect(text).toContain(hint());
  });
  test("a file that is gone", async () => {
    rmSync(weights());
    expect(await failure(() => store.latest())).toContain(
      "the file is missing",
    );
  });
  test("a changed state", async () => {
    const path = join(store.pathOf(6), "state.json");
    const text = readFileSync(path, "utf8");
    writeFileSync(path, text.replace('"seed": 7', '"seed": 8'));
    expect(await failure(() => store.latest())).toContain(
      "state.json is damaged: its hash",
    );
    writeFileSync(path, text.slice(0, 40));
    expect(await failure(() => store.latest())).toContain("it is not JSON");
    rmSync(path);
    expect(await failure(() => store.latest())).toContain(
      "it has no state.json",
    );
    expect(existsSync(store.pathOf(6))).toBe(true);
  });
  test("the oldest has none to fall back on", async () => {
    rmSync(join(store.pathOf(3), "weights.safetensors"));
    expect(await failure(() => store.find(3))).toContain(
      "there is no older checkpoint",
    );
  });
  test("one that is not there", async () => {
    expect(await failure(() => store.find(99))).toContain(
      "there is no checkpoint",
    );
    expect(await failure(() => openCheckpoint("/nowhere/x"))).toContain(
      "/nowhere/x",
    );
    expect(await failure(() => openCheckpoint(weights()))).toContain(
      "is a file",
    );
  });
});

describe("formats", () => {
  const write = (version: number) =>
    writeFileSync(
      join(folder, "state.json"),
      encodeState({ format_version: version, step: 1, files: {}, old: true }),
    );
  test("a newer one is refused", async () => {
    write(2);
    const text = await failure(() => readState(folder));
    expect(text).toContain("written by a newer AV-JEPA: its format is 2");
    expect(text).toContain("update AV-JEPA");
  });
  test("an older one is migrated by the table, or refused without an entry", async () => {
    write(0);
    expect(await failure(() => readState(folder))).toContain("no longer reads");
    const state = readState(folder, undefined, {
      0: ({ old: _, ...rest }) => ({ ...rest, migrated: true }),
    });
    expect(state).toEqual({
      format_version: 1,
      step: 1,
      files: {},
      migrated: true,
    });
  });
});
