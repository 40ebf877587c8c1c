/** `bun run doctor` on media that the ffmpeg program makes, and on what is no media. */

import { afterAll, beforeAll, describe, expect, test } from "bun:test";
import {
  chmodSync,
  mkdirSync,
  mkdtempSync,
  readFileSync,
  rmSync,
  writeFileSync,
} from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";

let folder = "";
const path = (name: string) => join(folder, name);

beforeAll(() => {
  folder = mkdtempSync(join(tmpdir(), "avjepa-doctor-"));
  const picture = "-f lavfi -i testsrc=size=64x48:rate=25:duration=4";
  const sound = "-f lavfi -i sine=frequency=440:sample_rate=16000:duration=4";
  ffmpeg("good.mp4", `${picture} ${sound} -c:v mpeg4 -c:a aac`);
  ffmpeg("with space.mp4", `${picture} ${sound} -c:v mpeg4 -c:a aac`);
  ffmpeg("mute.mp4", `${picture} -c:v mpeg4`);
  ffmpeg("blind.wav", sound);
  ffmpeg(
    "brief.mp4",
    "-f lavfi -i testsrc=size=64x48:rate=25:duration=0.4 -c:v mpeg4",
  );
  const good = readFileSync(path("good.mp4"));
  writeFileSync(path("truncated.mp4"), good.subarray(0, good.length / 2));
  writeFileSync(path("zero.mp4"), "");
  writeFileSync(path("text.mp4"), "this is no film\n".repeat(100));
});
afterAll(() => rmSync(folder, { recursive: true, force: true }));

function ffmpeg(name: string, args: string): void {
  const run = Bun.spawnSync([
    "ffmpeg",
    "-nostdin",
    "-v",
    "error",
    "-y",
    ...args.split(" "),
    path(name),
  ]);
  if (run.exitCode !== 0) throw new Error(`ffmpeg ${name}: ${run.stderr}`);
}

/** Runs the command. */
function doctor(...args: string[]) {
  return doctorWith({}, ...args);
}

/** Runs the command in an environment with more in it. */
function doctorWith(more: Record<string, string>, ...args: string[]) {
  const script = join(import.meta.dir, "../../scripts/doctor.ts");
  const { stdout, stderr, exitCode } = Bun.spawnSync(
    [process.execPath, script, ...args],
    {
      env: { ...process.env, AVJEPA_RUNS: path("runs"), ...more },
    },
  );
  return { out: String(stdout), err: String(stderr), exitCode };
}

function index(name: string, files: readonly string[]): string {
  const lines = files.map(
    (file, i) => `${/ /.test(file) ? `"${file}"` : file} ${i % 3}\n`,
  );
  writeFileSync(path(name), lines.join(""));
  return path(name);
}

describe("an index", () => {
  test("of good files", () => {
    const file = index("good.csv", ["good.mp4", "with space.mp4", "good.mp4"]);
    const { out, exitCode } = doctor(file);
    expect(exitCode).toBe(0);
    expect(out).toContain("3 files in 3 classes, 3 readable");
    expect(out).toContain("mpeg4 64 × 48 (3)");
    expect(out).toContain("1 lines that repeat a path");
    expect(out).toContain("0 of 3 (0 %");
  });

  const files = [
    ...Array.from({ length: 6 }, () => "good.mp4"),
    "mute.mp4",
    "blind.wav",
    "brief.mp4",
    "truncated.mp4",
    "zero.mp4",
    "text.mp4",
    "gone.mp4",
  ];

  test("of good and bad files: each bad one by path, line and reason", () => {
    const { out, exitCode } = doctor(index("mixed.csv", files), "--json");
    expect(exitCode).toBe(1);
    const report = JSON.parse(out.trim().split("\n").at(-1) ?? "");
    expect(report).toMatchObject({
      files: 13,
      missing_audio: 2,
      missing_video: 1,
      max_bad_fraction: 0.05,
    });
    expect(report.bad.map(({ line }: { line: number }) => line)).toEqual([
      10, 11, 12, 13,
    ]);
    for (const { path, reason } of report.bad) {
      expect(path).toMatch(/(truncated|zero|text|gone)\.mp4$/);
      expect(reason.length).toBeGreaterThan(5);
      expect(reason).not.toContain(folder);
    }
    expect(report.short).toBeGreaterThanOrEqual(1);
    expect(report.seconds.longest).toBeCloseTo(4, 0);
  });

  test("passes when so many may be bad", () => {
    const { out, exitCode } = doctor(
      path("mixed.csv"),
      "--max-bad-fraction",
      "0.4",
    );
    expect(exitCode).toBe(0);
    expect(out).toContain(
      "4 of 13 (30.8 %; data.max_bad_fraction allows 40 %)",
    );
    expect(out).toContain("gone.mp4 (line 13)");
  });

  test.each([
    ["missing", () => path("none.csv"), 1, "none.csv"],
    ["empty", () => index("empty.csv", []), 1, "empty.csv"],
    [
      "without labels",
      () => (writeFileSync(path("bare.csv"), "good.mp4\n"), path("bare.csv")),
      1,
      "bare.csv:1",
    ],
    ["a folder", () => folder, 2, "bun run index"],
    ["a film", () => path("good.mp4"), 2, "neither"],
  ] as const)("that is %s", (_, make, code, message) => {
    const { err, exitCode } = doctor(make());
    expect(exitCode).toBe(code);
    expect(err).toStartWith("error: ");
    expect(err).toContain(message);
  });
});

describe("a configuration", () => {
  const config = join(import.meta.dir, "../../configs/pretrain/demo.yaml");
  const check = (...args: string[]) => doctor(config, ...args);
  const data = () => [
    "--set",
    `data.datasets=[${index("many.csv", Array(16).fill("good.mp4"))}]`,
  ];

  test("that can be run: its plan, time, memory and disk", () => {
    const { out, exitCode } = check(...data());
    expect(out).toContain("AV-JEPA   vit_tiny");
    expect(out).toContain("16 files");
    expect(out).toMatch(/time +about [\d.]+ s a step on cpu \(/);
    expect(out).toContain("can be run here");
    expect(exitCode).toBe(0);
  });

  test("that cannot, for every reason at once", () => {
    writeFileSync(path("file"), "");
    const { out, exitCode } = check(
      "--folder",
      path("file/run"),
      "--set",
      `data.datasets=[${index("lost.csv", ["gone.mp4"])},${path("none.csv")}]`,
      "--set",
      "data.batch_size=100000000",
    );
    expect(exitCode).toBe(1);
    expect(out).toContain("1 of 1 files looked at are not there");
    expect(out).toContain("none.csv");
    expect(out).toContain("is no folder");
    expect(out).toContain("optimization.grad_accum");
    expect(out).toMatch(/not ok +4 problems/);
  });

  test("as JSON", () => {
    const { out } = check(...data(), "--json");
    const report = JSON.parse(out.trim().split("\n").at(-1) ?? "");
    expect(report.plan.modelName).toBe("vit_tiny");
    expect(report.memory.needed).toBe(report.plan.memory.total);
    expect(report.problems).toEqual([]);
  });

  test("with a run folder that may not be written", () => {
    mkdirSync(path("locked"));
    chmodSync(path("locked"), 0o500);
    const { exitCode } = check(...data(), "--folder", path("locked/run"));
    // Root may write anywhere.
    expect(exitCode).toBe(process.getuid?.() === 0 ? 0 : 1);
  });

  test("with a misspelt key", () => {
    const { err, exitCode } = check("--set", "optimisation.lr=1");
    expect(exitCode).toBe(1);
    expect(err).toContain("optimization");
  });

  test("of an evaluation", () => {
    const evaluation = join(
      import.meta.dir,
      "../../configs/evals/vitl16_k400_16x8x3.yaml",
    );
    const file = path("good.csv");
    const { out, exitCode } = doctor(
      evaluation,
      "--set",
      `data.dataset_train=${file}`,
      "--set",
      `data.dataset_val=${file}`,
      "--folder",
      path("norun"),
    );
    expect(exitCode).toBe(1);
    expect(out).toContain("3 files");
    expect(out).toContain("there is no run folder");
  });
});

test("the machine", () => {
  const { out, exitCode } = doctor("--devices", "--json");
  expect(exitCode).toBe(0);
  const machine = JSON.parse(out.trim().split("\n").at(-1) ?? "");
  expect(machine.cores).toBeGreaterThan(0);
  expect(machine.compute).toMatch(/\d+ threads?/);
  // Adapters, where there are any, are `wgpu:0`, `wgpu:1`, …
  const names = machine.devices.map(({ name }: { name: string }) => name);
  const adapters = machine.adapters.map(
    ({ device }: { device: string }) => device,
  );
  expect(names).toEqual(["cpu", ...adapters, "cuda"]);
  const text = doctor("--devices").out;
  expect(text).toMatch(/cuda +not in this build/);
  expect(text).toMatch(/ffmpeg +found/);
});

test("FFmpeg that is there and cannot be loaded is not found", () => {
  const lookAt = (library: string) => {
    const run = doctorWith(
      { AVJEPA_MEDIA_LIB: library },
      "--devices",
      "--json",
    );
    expect(run.exitCode).toBe(0);
    return JSON.parse(run.out.trim().split("\n").at(-1) ?? "").ffmpeg;
  };
  // What it says where a library that FFmpeg is linked with is missing comes from the same place.
  const broken = lookAt(path("text.mp4"));
  expect(broken.found).toBe(false);
  expect(broken.message).toContain("FFmpeg cannot be loaded: ");
  expect(broken.message).toContain("LD_LIBRARY_PATH");
  expect(broken.message).toContain("apt-get install -y ffmpeg");
  const absent = lookAt(path("absent.so"));
  expect(absent.found).toBe(false);
  expect(absent.message).toMatch(/is not in .*absent\.so/);
  expect(absent.message).toContain("libavcodec-dev");
});

test("nothing to check is wrong usage", () => {
  const { err, exitCode } = doctor();
  expect(exitCode).toBe(2);
  expect(err).toContain("name what to check");
});
