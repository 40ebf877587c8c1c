/** Core as a process sees it: memory over many steps, both ways across, calls of no sense. */

import { expect, test } from "bun:test";
import { join } from "node:path";

import { memory, synchronize, tensor } from "@avjepa/core";
import { settledMemory } from "../../packages/core/src/testing.ts";

/** Runs a child and parses its last line. */
async function run(
  name: string,
  options: { args?: string[]; env?: Record<string, string> } = {},
) {
  const path = join(import.meta.dir, "children", `${name}.ts`);
  const child = Bun.spawn([process.execPath, path, ...(options.args ?? [])], {
    env: { ...process.env, ...options.env },
    stdio: ["ignore", "pipe", "pipe"],
  });
  const [out, err, code] = await Promise.all([
    new Response(child.stdout).text(),
    new Response(child.stderr).text(),
    child.exited,
  ]);
  if (code !== 0) throw new Error(`${name} ended with ${code}\n${err}`);
  return JSON.parse(out.trim().split("\n").at(-1) ?? "");
}

test("napi and bun:ffi give the same bits", async () => {
  const napi = await run("train", { env: { AVJEPA_FFI: "0" } });
  const ffi = await run("train", { env: { AVJEPA_FFI: "1" } });
  expect([napi.transport, ffi.transport]).toEqual(["napi", "ffi"]);
  expect(napi.losses.every(Number.isFinite)).toBe(true);
  expect({ ...ffi, transport: "" }).toEqual({ ...napi, transport: "" });
});

test("so do one thread and several", async () => {
  const one = await run("train", { env: { AVJEPA_THREADS: "1" } });
  const three = await run("train", { env: { AVJEPA_THREADS: "3" } });
  expect(one).toEqual(three);
});

test.each(["0", "1"])(
  "calls of no sense are errors, and the process and its device go on (AVJEPA_FFI=%s)",
  async (ffi) => {
    const { answered, codes, sum } = await run("fuzz", {
      env: { AVJEPA_FFI: ffi },
    });
    expect(sum).toBe(10);
    expect(answered).toBeGreaterThan(100);
    expect(codes.AVJ_SHAPE).toBeGreaterThan(0);
    expect(codes.AVJ_HANDLE).toBeGreaterThan(0);
    // A caught panic is a bug all the same.
    expect(codes).not.toHaveProperty("AVJ_PANIC");
    expect(codes).not.toHaveProperty("later AVJ_PANIC");
  },
);

test.each([
  ["AVJEPA_THREADS", "0"],
  ["AVJEPA_THREADS", "many"],
  ["AVJEPA_ISA", "avx9"],
])("%s=%s is an error with its remedy", (name, value) => {
  const program = `import { zeros } from "@avjepa/core";
    try { zeros([1]); } catch ({ code, message, hint }) {
      console.log(JSON.stringify({ code, message, hint }));
    }`;
  const run = Bun.spawnSync([process.execPath, "-e", program], {
    cwd: join(import.meta.dir, "../.."),
    env: { ...process.env, [name]: value },
  });
  expect(run.exitCode).toBe(0);
  expect(JSON.parse(String(run.stdout))).toEqual({
    code: "AVJ_ARGUMENT",
    message: expect.stringContaining(name),
    hint: expect.stringContaining("environment variable"),
  });
});

/** Resident bytes may grow by this much from the 50th step to the 200th: the collector's and allocator's play. */
const slack = 24 * 2 ** 20;

test("memory and resident size are flat over 200 steps of changing lengths", async () => {
  const { first, last } = await run("memory");
  expect(last.bytes).toBe(first.bytes);
  expect(last.buffers).toBe(first.buffers);
  expect(last.tensors).toBe(first.tensors);
  expect(last.resident - first.resident).toBeLessThan(slack);
});

test("which a leak of half a megabyte a step would break", async () => {
  const { first, last } = await run("memory", { args: ["--leak"] });
  expect(last.resident - first.resident).toBeGreaterThan(slack);
});

test("tensors that nobody holds are freed by the garbage collector", async () => {
  const before = await settledMemory();
  (() => {
    for (let i = 0; i < 200; i++) tensor(new Float32Array(10_000));
  })();
  // Before anything is awaited: the collector's news come only then.
  expect(memory().tensors - before.tensors).toBe(200);
  for (let i = 0; i < 20 && memory().tensors > before.tensors + 20; i++) {
    Bun.gc(true);
    await Bun.sleep(5);
  }
  await synchronize();
  // The collector looks for pointers on the stack, and may take a stale one for a tensor.
  expect(memory().tensors - before.tensors).toBeLessThanOrEqual(20);
  expect(memory().bytes - before.bytes).toBeLessThanOrEqual(20 * 40_000);
});
