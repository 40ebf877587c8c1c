/** `bun run pretrain --ranks N`: from start to end, and every way it may end early. */

import { timeKeys } from "@avjepa/train";
import { afterAll, beforeAll, describe, expect, test } from "bun:test";
import { existsSync, readFileSync, readdirSync, writeFileSync } from "node:fs";
import { join } from "node:path";

import { Clips, bytesOf, metricsOf, until } from "../pretrain/support.ts";
import { goneFrom, rankOf, run, runArgs, start, stepsIn, tag } from "./runs.ts";
import { mpirun, withoutMpi } from "./support.ts";

let clips: Clips;
beforeAll(() => {
  clips = new Clips();
});
afterAll(() => clips[Symbol.dispose]());

/** What Open MPI's mpirun tells a process its number by. */
const variable = "OMPI_COMM_WORLD_RANK";
const args = (folder: string, steps: number) => runArgs(clips, folder, steps);
const steps = (folder: string) => stepsIn(clips.path(folder));
const gone = (folder: string) => goneFrom(clips.path(folder));
const waitForRank = (folder: string, rank: number) =>
  rankOf(clips.path(folder), rank, variable);

describe.skipIf(withoutMpi !== null)("--ranks 2", () => {
  const length = 8;

  test("trains as one process does, two runs at a time", async () => {
    const [one, two, other] = await Promise.all([
      run(args("one", length)),
      run([...args("two", length), "--ranks", "2", "--json"]),
      run(args("other", length), { launcher: mpirun(2) }),
    ]);
    for (const { exitCode, err } of [one, two, other])
      expect(exitCode, err).toBe(0);
    const result = JSON.parse(two?.out.trim().split("\n").at(-1) ?? "{}") as {
      step: number;
      clips: number;
    };
    expect(result).toMatchObject({ step: length, clips: 4 * length });
    const [a, b] = [metricsOf(clips.path("one")), metricsOf(clips.path("two"))];
    b.forEach((metrics, i) => {
      for (const key of ["loss", "loss_video", "loss_audio"])
        expect(metrics[key]).toBeCloseTo(a[i]?.[key] as number, 3);
      for (const key of ["tokens_context", "tokens_target", "lr", "momentum"])
        expect(metrics[key]).toBe(a[i]?.[key] as number);
    });
    // Started by --ranks or by mpirun: the same to the bit.
    expect(metricsOf(clips.path("other"), timeKeys)).toEqual(
      metricsOf(clips.path("two"), timeKeys),
    );
    const names = readdirSync(clips.path("two"));
    expect(names).toContain(`${tag}_r0.csv`);
    expect(names).toContain(`${tag}_r1.csv`);
    expect(names.filter((name) => name.includes("metrics"))).toHaveLength(1);
    const { world } = JSON.parse(
      readFileSync(join(clips.path("two"), "run.json"), "utf8"),
    ) as { world: number };
    expect(world).toBe(2);
  }, 240_000);

  test("stops after saving and goes on to the bit; one process goes on with it too", async () => {
    const stopped = start([...args("stopped", length), "--ranks", "2"]);
    await until(() => steps("stopped") >= 2);
    stopped.child.kill("SIGTERM");
    const { exitCode, err } = await stopped.done;
    expect(exitCode, err).toBe(75);
    await gone("stopped");
    const reached = steps("stopped");
    expect(reached).toBeLessThan(length);
    const resumed = await run([...args("stopped", length), "--ranks", "2"]);
    expect(resumed.err).toContain(`continuing after step ${reached}`);
    expect(bytesOf(join(clips.path("stopped"), `${tag}-s${length}`))).toEqual(
      bytesOf(join(clips.path("two"), `${tag}-s${length}`)),
    );
    const alone = await run([
      ...args("stopped", length),
      ...["--resume", `${tag}-s${2 * Math.floor(reached / 2)}`],
    ]);
    expect(alone.exitCode, alone.err).toBe(0);
    const [a, b] = ["stopped", "two"].map((name) =>
      metricsOf(clips.path(name)),
    );
    expect(a?.at(-1)?.loss).toBeCloseTo(b?.at(-1)?.loss as number, 3);
  }, 240_000);

  test("moments that are shared out are whole in a checkpoint, and go on from one", async () => {
    const zero = [...args("zero", length), "--set", "optimization.zero1=true"];
    const begun = await run([...zero, "--ranks", "2", "--steps", "4"]);
    expect(begun.exitCode, begun.err).toBe(0);
    const ended = await run([...zero, "--ranks", "2"]);
    expect(ended.err).toContain("continuing after step 4");
    for (const step of [4, length])
      expect(bytesOf(join(clips.path("zero"), `${tag}-s${step}`))).toEqual(
        bytesOf(join(clips.path("two"), `${tag}-s${step}`)),
      );
  }, 240_000);

  test("too many bad files among those of all ranks end them at the same step", async () => {
    const bad = Array.from({ length: 4 }, (_, i) => `bad${i}.mp4`);
    for (const name of bad) writeFileSync(clips.path(name), "no film");
    const good = readFileSync(clips.path("clips.csv"), "utf8");
    const index = clips.path("bad.csv");
    writeFileSync(index, good + bad.map((name) => `${name} 0\n`).join(""));
    // Of 12 files 4: each rank alone would go on until it has met all of them.
    const { exitCode, err } = await run([
      ...args("bad", 4000),
      ...["--set", `data.datasets=[${index}]`],
      ...["--set", "data.max_bad_fraction=0.3"],
      ...["--ranks", "2"],
    ]);
    expect(exitCode).toBe(1);
    expect(err).toContain("4 of 12 files tried so far are bad (12 in all)");
    const rows = [0, 1].map(
      (rank) =>
        readFileSync(
          join(clips.path("bad"), `${tag}_r${rank}.csv`),
          "utf8",
        ).split("\n").length,
    );
    expect(rows[0]).toBe(rows[1] as number);
    await gone("bad");
  }, 120_000);

  test("a rank that is killed ends all, and is named", async () => {
    const { done } = start([...args("killed", 4000), "--ranks", "2"]);
    process.kill(await waitForRank("killed", 1), "SIGKILL");
    const { exitCode, err } = await done;
    expect(exitCode).toBe(1);
    expect(err).toContain("rank 1 was killed by SIGKILL");
    await gone("killed");
  }, 120_000);

  test("a rank's own error is shown, and ends all", async () => {
    const words = args("failing", 4000).map((word) =>
      word.startsWith("data.datasets=") ? "data.datasets=[none.csv]" : word,
    );
    const { exitCode, err } = await run([...words, "--ranks", "2"]);
    expect(exitCode).toBe(1);
    expect(err).toContain("none.csv");
    await gone("failing");
  }, 60_000);

  test("ranks outlive nobody: they save and end when their launcher is killed", async () => {
    const { child } = start([...args("orphans", 4000), "--ranks", "2"]);
    await waitForRank("orphans", 1);
    child.kill("SIGKILL");
    await gone("orphans");
    expect(existsSync(join(clips.path("orphans"), `${tag}-latest`))).toBe(true);
  }, 120_000);

  test("a rank that stands still is noticed by those that wait for it", async () => {
    const { done } = start([...args("stalled", 4000), "--ranks", "2"], {
      env: { AVJEPA_STALL_MINUTES: "0.05" },
    });
    process.kill(await waitForRank("stalled", 1), "SIGSTOP");
    const { exitCode, err } = await done;
    expect(exitCode).toBe(1);
    expect(err).toContain("rank 0 of 2: no progress for 3 s");
    expect(err).toMatch(/waiting for the other ranks in .+ \(call \d+\)/);
    await gone("stalled");
  }, 120_000);
});

test("without MPI there is one line that installs it", async () => {
  const { exitCode, err } = await run([...args("none", 4), "--ranks", "2"], {
    env: { PATH: "/nonexistent" },
  });
  expect(exitCode).toBe(1);
  expect(err).toContain("no mpirun on the PATH");
  expect(err).toContain("apt-get install");
  expect(existsSync(clips.path("none"))).toBe(false);
}, 120_000);

test("processes that are not there are refused before anything starts", async () => {
  const cuda = await run([...args("cuda", 4), "--devices", "cuda:0,cuda:1"]);
  expect(cuda.exitCode).toBe(1);
  expect(cuda.err).toContain('"cuda:0"');
  const usage = await run(args("usage", 4).concat("--ranks", "3"));
  expect(usage.exitCode).toBe(1);
  expect(usage.err).toContain("not divisible by 3 processes");
}, 120_000);

if (withoutMpi) test.todo(`several processes: ${withoutMpi}`);
