import { afterEach, beforeEach, describe, expect, test } from "bun:test";
import {
  appendFileSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  rmSync,
} from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";

import { crc32c } from "./crc32c.ts";
import type { StepMetrics } from "./metrics_log.ts";
import {
  formatBytes,
  formatDuration,
  formatProgress,
  Progress,
} from "./progress.ts";
import { RunLogs } from "./run_logs.ts";

let folder: string;
beforeEach(() => {
  folder = mkdtempSync(join(tmpdir(), "avjepa-log-"));
});
afterEach(() => rmSync(folder, { recursive: true }));

const metricsOf = (step: number, ms = 100): StepMetrics => ({
  step,
  epoch: Math.ceil(step / 4),
  loss: 1 / step,
  loss_jepa: 1 / step,
  loss_reg: 0,
  lr: 1e-3 * step,
  wd: 0.04,
  momentum: 0.99,
  grad_norm_encoder: 2.5,
  grad_norm_predictor: 0.125,
  step_ms: ms,
  data_ms: ms / 10,
  clips_per_s: 4000 / ms,
  memory_bytes: 1.5e9,
  tokens_context: 100 + step,
  tokens_target: 300,
  ...(step % 5 === 0 ? { effective_rank: 60.6 } : {}),
});

function open(rank = 0) {
  const shown: string[] = [];
  const logs = new RunLogs({
    folder,
    tag: "t",
    rank,
    ipe: 4,
    totalSteps: 200,
    everySteps: 2,
    tensorboard: true,
    stream: { write: (text) => shown.push(text) },
  });
  return { logs, shown };
}

/** An event file read by the format's own description, not by the writer. */
function readEvents(path: string): { step: number; values: object }[] {
  const bytes = readFileSync(path);
  const varint = (at: number): [bigint, number] => {
    let value = 0n;
    for (let shift = 0n; ; shift += 7n) {
      const byte = bytes[at++]!;
      value |= BigInt(byte & 0x7f) << shift;
      if (byte < 0x80) return [value, at];
    }
  };
  /** Fields of the message in [from, to): number, wire type, position. */
  const fields = (from: number, to: number) => {
    const found: { field: number; at: number; end: number; value: bigint }[] =
      [];
    while (from < to) {
      const [key, start] = varint(from);
      const wire = Number(key & 7n);
      let [at, end, value] = [start, start, 0n];
      if (wire === 0) [value, end] = varint(start);
      else if (wire === 1) end = start + 8;
      else if (wire === 5) end = start + 4;
      else {
        const [length, body] = varint(start);
        at = body;
        end = body + Number(length);
      }
      found.push({ field: Number(key >> 3n), at, end, value });
      from = end;
    }
    expect(from).toBe(to);
    return found;
  };
  const masked = (from: number, to: number): number => {
    const crc = BigInt(crc32c(bytes.subarray(from, to)));
    const rotated = ((crc >> 15n) | (crc << 17n)) & 0xffffffffn;
    return Number((rotated + 0xa282ead8n) & 0xffffffffn);
  };
  const events: { step: number; values: Record<string, number> }[] = [];
  for (let at = 0; at < bytes.length;) {
    const length = Number(bytes.readBigUInt64LE(at));
    expect(bytes.readUInt32LE(at + 8)).toBe(masked(at, at + 8));
    const [from, to] = [at + 12, at + 12 + length];
    expect(bytes.readUInt32LE(to)).toBe(masked(from, to));
    at = to + 4;
    const event = { step: 0, values: {} as Record<string, number> };
    for (const { field, at, end, value } of fields(from, to)) {
      if (field === 1) expect(bytes.readDoubleLE(at)).toBeGreaterThan(1e9);
      if (field === 2) event.step = Number(value);
      if (field === 3)
        expect(bytes.toString("utf8", at, end)).toBe("brain.Event:2");
      if (field !== 5) continue;
      for (const summary of fields(at, end)) {
        const [tag, simple] = fields(summary.at, summary.end);
        event.values[bytes.toString("utf8", tag!.at, tag!.end)] =
          bytes.readFloatLE(simple!.at);
      }
    }
    events.push(event);
  }
  return events;
}

/** Everything in the folder but the times. */
function contents() {
  const read = (name: string) => readFileSync(join(folder, name), "utf8");
  const events = readdirSync(folder).filter((f) => f.includes("tfevents"));
  expect(events).toHaveLength(1);
  const noTimes = (key: string, value: unknown) =>
    /_ms$|clips_per_s/.test(key) ? undefined : value;
  return {
    metrics: read("metrics.jsonl")
      .split("\n")
      .filter(Boolean)
      .map((line) => JSON.parse(line, noTimes) as StepMetrics),
    table: read("t_r0.csv").replace(/,\d+$/gm, ""),
    text: read("log.txt").replace(/ \S+ clips.*/g, ""),
    events: readEvents(join(folder, events[0]!)).map(({ step, values }) => ({
      step,
      values: JSON.parse(JSON.stringify(values), (key, value: unknown) =>
        /_ms$|clips_per_s$/.test(key) ? undefined : value,
      ) as object,
    })),
  };
}

test("CRC-32C of RFC 3720's examples", () => {
  expect(crc32c(new Uint8Array(32))).toBe(0x8a9136aa);
  expect(crc32c(new Uint8Array(32).fill(0xff))).toBe(0x62a8ab43);
  expect(crc32c(Buffer.from("123456789"))).toBe(0xe3069283);
});

test("a killed and resumed run has the logs of an undisturbed one", () => {
  const whole = open().logs;
  for (let step = 1; step <= 150; step++) whole.step(metricsOf(step));
  whole.close();
  const wanted = contents();
  rmSync(folder, { recursive: true });
  folder = mkdtempSync(join(tmpdir(), "avjepa-log-"));

  // Killed in step 142, in the middle of a write; the checkpoint is of 130.
  const killed = open().logs;
  for (let step = 1; step <= 142; step++) killed.step(metricsOf(step, 90));
  killed.close();
  for (const file of readdirSync(folder))
    appendFileSync(join(folder, file), '{"step":1');
  const resumed = open().logs;
  resumed.truncateTo(130);
  for (let step = 131; step <= 150; step++) resumed.step(metricsOf(step, 80));
  resumed.close();
  expect(contents()).toEqual(wanted);
  expect(wanted.metrics).toHaveLength(150);
  expect(wanted.events.at(-1)!.step).toBe(150);
  expect(wanted.events.at(-1)!.values).toMatchObject({
    "train/lr": Math.fround(0.15),
    "train/tokens_context": 250,
    "train/effective_rank": Math.fround(60.6),
  });
});

test("cut to 0 a folder's logs begin anew", () => {
  const first = open().logs;
  first.note("header");
  first.step(metricsOf(1));
  first.truncateTo(0);
  first.close();
  expect(contents()).toMatchObject({ metrics: [], text: "" });
  expect(readFileSync(join(folder, "t_r0.csv"), "utf8")).toStartWith("epoch,");
});

test("the table is the reference's: header once, its formats", () => {
  for (const steps of [[1, 2], [5]]) {
    const { logs } = open();
    for (const step of steps) logs.step(metricsOf(step, 123.9));
    logs.close();
  }
  expect(readFileSync(join(folder, "t_r0.csv"), "utf8")).toBe(
    [
      "epoch,itr,loss,loss-jepa,reg-loss,enc-grad-norm,pred-grad-norm,gpu-time(ms),wall-time(ms)",
      "1,0,1.00000,1.00000,0.00000,2.50000,0.12500,-1,123",
      "1,1,0.50000,0.50000,0.00000,2.50000,0.12500,-1,123",
      "2,0,0.20000,0.20000,0.00000,2.50000,0.12500,-1,123",
      "",
    ].join("\n"),
  );
});

test("other ranks have their table and nothing else", () => {
  const { logs, shown } = open(1);
  logs.step(metricsOf(1));
  logs.note("nothing");
  logs.truncateTo(0);
  logs.close();
  expect(readdirSync(folder)).toEqual(["t_r1.csv"]);
  expect(shown).toEqual([]);
});

test("the error that ended a process is kept, until the run goes on from before it", () => {
  const { logs, shown } = open();
  for (let step = 1; step <= 4; step++) logs.step(metricsOf(step));
  const before = readFileSync(join(folder, "log.txt"), "utf8");
  const error = new Error(
    "2 of 3 files are bad:\n  a.mp4: empty\n  b.mp4: text",
  );
  logs.failed(5, error);
  expect(readFileSync(join(folder, "log.txt"), "utf8")).toBe(
    `${before}step 5: error: 2 of 3 files are bad; a.mp4: empty; b.mp4: text\n`,
  );
  // The command tells it, with its remedy, when all is closed.
  expect(shown.join("")).not.toContain("error");
  logs.truncateTo(4);
  expect(readFileSync(join(folder, "log.txt"), "utf8")).toBe(before);
  logs.close();
});

describe("the progress line", () => {
  test("off a terminal: one plain line an interval", () => {
    const { logs, shown } = open();
    for (let step = 1; step <= 5; step++) logs.step(metricsOf(step));
    logs.close();
    expect(shown).toEqual([
      "step   2/200  loss 0.5000  lr 2.0e-3  40 clips/s  data 10 %  1.5 GB   ETA 0:20\n",
      "step   4/200  loss 0.2500  lr 4.0e-3  40 clips/s  data 10 %  1.5 GB   ETA 0:20\n",
    ]);
    expect(readFileSync(join(folder, "log.txt"), "utf8")).toBe(shown.join(""));
  });

  test("on a terminal: one live line, cut to its width, notes above it", () => {
    const shown: string[] = [];
    const stream = {
      write: (text: string) => shown.push(text),
      isTTY: true,
      columns: 30,
    };
    const progress = new Progress({
      totalSteps: 9,
      stream,
      env: { NO_COLOR: "1" },
    });
    progress.step({ ...metricsOf(1), loss_video: 1, loss_audio: 2 }, false);
    progress.note("a note");
    progress.end();
    const line = "\r\x1b[2Kstep 1/9  loss 1.0000  40 cli";
    expect(shown).toEqual([line, "\r\x1b[2K", "a note\n", line, "\n"]);
  });

  test("colour only where it is wanted", () => {
    const shown: string[] = [];
    const stream = {
      write: (text: string) => shown.push(text),
      isTTY: true,
      columns: 200,
    };
    new Progress({ totalSteps: 9, stream, env: {} }).step(metricsOf(1), true);
    expect(shown.join("")).toContain("\x1b[1mloss 1.0000\x1b[22m");
  });

  test("too narrow a terminal loses what tells least, the end of the run last", () => {
    const metrics = { ...metricsOf(1), loss_video: 1, loss_audio: 2 };
    const state = { metrics, totalSteps: 9, eta: 60, rank: 5 };
    const lines = [200, 80, 60, 50].map((width) =>
      formatProgress(state, width).replaceAll(/ {2,}/g, " "),
    );
    expect(lines[0]).toContain("(v 1.000 a 2.000)");
    for (const line of lines) expect(line).toEndWith("ETA 1:00");
    expect(lines.map((line) => line.includes("B "))).toEqual([
      ...[true, false, false, false],
    ]);
    expect(lines[3]).not.toContain("(");
  });

  test("sizes and durations", () => {
    expect([512, 1.84e9, 12.3e6, 123.4e6, 999.9e6].map(formatBytes)).toEqual([
      "512 B",
      "1.8 GB",
      "12 MB",
      "123 MB",
      "1.0 GB",
    ]);
    expect([0, 252, 3852, 273_852].map(formatDuration)).toEqual([
      "0:00",
      "4:12",
      "1:04:12",
      "3 d 04:04",
    ]);
  });
});
