/**
 * `bun run pretrain --ranks 2 --collective nccl` over a double of NCCL and of
 * NVIDIA's driver: real processes, and no GPU. See `crates/nccl_double`.
 */

import { afterAll, beforeAll, expect, test } from "bun:test";
import { existsSync, readFileSync } from "node:fs";
import { join } from "node:path";

import { Clips, bytesOf, metricsOf, until } from "../pretrain/support.ts";
import { goneFrom, rankOf, run, runArgs, start, stepsIn, tag } from "./runs.ts";
import { ncclDouble } from "./support.ts";

let clips: Clips;
beforeAll(() => {
  clips = new Clips();
});
afterAll(() => clips[Symbol.dispose]());

const length = 4;
const endless = 4000;
const args = (folder: string, steps: number) => [
  ...runArgs(clips, folder, steps),
  ...["--collective", "nccl"],
];
const double = (settings?: Record<string, string>) => ({
  env: ncclDouble(clips.path("."), settings),
});
const gone = (folder: string) => goneFrom(clips.path(folder));
const log = (folder: string) =>
  readFileSync(join(clips.path(folder), "log.txt"), "utf8");

test("trains as one process does, started by --ranks or with torchrun's names", async () => {
  // torchrun's own store listens at its port, and says nothing that a rank understands.
  const store = Bun.listen({
    hostname: "127.0.0.1",
    port: 0,
    socket: { data() {} },
  });
  const torchrun = [0, 1].map((rank) =>
    run(args("torchrun", length), {
      env: {
        ...double().env,
        AVJEPA_THREADS: "1",
        TORCHELASTIC_RUN_ID: "none",
        TORCHELASTIC_USE_AGENT_STORE: "True",
        RANK: String(rank),
        LOCAL_RANK: String(rank),
        WORLD_SIZE: "2",
        MASTER_ADDR: "127.0.0.1",
        MASTER_PORT: String(store.port),
      },
    }),
  );
  const [one, both, ...started] = await Promise.all([
    run(runArgs(clips, "one", length)),
    run([...args("two", length), "--ranks", "2", "--json"], double()),
    ...torchrun,
  ]);
  store.stop(true);
  for (const { exitCode, err } of [one, both, ...started])
    expect(exitCode, err).toBe(0);
  expect(JSON.parse(both.out.trim().split("\n").at(-1) ?? "{}")).toMatchObject({
    step: length,
    clips: 4 * length,
  });
  const name = "NCCL 2.27.3 on no GPU 0 (test double)";
  expect(both.err).toContain(`2 processes meet through ${name}`);
  const info = readFileSync(join(clips.path("two"), "run.json"), "utf8");
  expect(JSON.parse(info)).toMatchObject({ versions: { collective: name } });
  const [a, b] = ["one", "two"].map((folder) => metricsOf(clips.path(folder)));
  expect(b).toHaveLength(length);
  b?.forEach((metrics, i) =>
    expect(metrics.loss).toBeCloseTo(a?.[i]?.loss as number, 3),
  );
  const last = `${tag}-s${length}`;
  expect(bytesOf(join(clips.path("torchrun"), last))).toEqual(
    bytesOf(join(clips.path("two"), last)),
  );
}, 240_000);

test("stops after saving and goes on", async () => {
  const words = [...args("stopped", 40), "--ranks", "2"];
  const stopped = start(words, double());
  await until(() => stepsIn(clips.path("stopped")) >= 2);
  stopped.child.kill("SIGTERM");
  const { exitCode, err } = await stopped.done;
  expect(exitCode, err).toBe(75);
  await gone("stopped");
  const on = await run(words, double());
  expect(on.exitCode, on.err).toBe(0);
  expect(on.err).toContain("continuing after step");
  expect(stepsIn(clips.path("stopped"))).toBe(40);
}, 240_000);

test("a rank that is killed in a call, one whose call fails, one whose call never ends: all end and say why", async () => {
  const faulty = (folder: string, fault: string, minutes = "30") => {
    const { env } = double({ FAULT: `1:ncclAllReduce:${fault}` });
    return run([...args(folder, endless), "--ranks", "2"], {
      env: { ...env, AVJEPA_STALL_MINUTES: minutes },
    });
  };
  const [killed, failing] = await Promise.all([
    faulty("killed", "9:die"),
    faulty("failing", "7:return 2"),
  ]);
  // Alone: ranks that begin late must not be taken for stalled ones.
  const stalled = await faulty("stalled", "7:never", "0.1");
  expect(killed.err).toContain("rank 1 was killed by SIGKILL");
  expect(killed.err).toContain("all ranks have ended");
  expect(log("killed")).toContain("rank 1 is gone");
  expect(failing.err).toContain(
    "rank 1 is gone: NCCL: ncclAllReduce: unhandled system error",
  );
  expect(stalled.err).toMatch(/rank \d of 2: no progress for 6 s/);
  expect(stalled.err).toMatch(/waiting for the other ranks in .+ \(call \d+\)/);
  for (const { exitCode } of [killed, failing, stalled])
    expect(exitCode).toBe(1);
  await Promise.all(["killed", "failing", "stalled"].map(gone));
}, 120_000);

test("ranks save and end when their launcher is killed", async () => {
  const { child } = start(
    [...args("orphans", endless), "--ranks", "2"],
    double(),
  );
  await rankOf(clips.path("orphans"), 1, "RANK");
  child.kill("SIGKILL");
  await gone("orphans");
  expect(existsSync(join(clips.path("orphans"), `${tag}-latest`))).toBe(true);
}, 120_000);

test("what is missing is told once, before anything starts", async () => {
  const words = [...args("none", length), "--ranks", "2"];
  const refused = async (env: Record<string, string>) => {
    const { exitCode, err } = await run(words, { env });
    expect(exitCode).toBe(1);
    expect(err.match(/error:/g)).toHaveLength(1);
    return err;
  };
  const { env } = double();
  const [few, old, without, driver] = await Promise.all([
    refused(double({ DEVICES: "1" }).env),
    refused(double({ VERSION: "21000" }).env),
    refused({ ...env, AVJEPA_NCCL_LIBRARY: "/nowhere/libnccl.so.2" }),
    refused({ ...env, AVJEPA_CUDA_LIBRARY: "/nowhere/libcuda.so.1" }),
  ]);
  expect(few).toContain("need a GPU each; there is 1");
  expect(old).toContain("NCCL 2.10.0: 2.14 is the oldest");
  expect(without).toContain("nvidia-nccl-cu12");
  expect(driver).toContain("install NVIDIA's driver");
  expect(existsSync(clips.path("none"))).toBe(false);
}, 120_000);

test("ranks that the others do not join give up, and name who is missing", async () => {
  const { exitCode, err } = await run(args("alone", length), {
    env: {
      ...double().env,
      RANK: "0",
      WORLD_SIZE: "2",
      LOCAL_RANK: "0",
      MASTER_ADDR: "127.0.0.1",
      MASTER_PORT: "28391",
      AVJEPA_MEET_SECONDS: "1",
    },
  });
  expect(exitCode).toBe(1);
  expect(err).toContain("of 2 ranks these have not come within 1 s: 1");
  const unknown = await run(args("alone", length), {
    env: { ...double().env, RANK: "0", WORLD_SIZE: "2" },
  });
  expect(unknown.err).toContain("MASTER_ADDR=HOST");
}, 60_000);
