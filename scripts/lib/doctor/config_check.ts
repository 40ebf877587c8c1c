/** Whether a configuration can be run here: its indexes, its memory, its time, its run folder. */

import { AvjepaError } from "@avjepa/core";
import { readIndex } from "@avjepa/data";
import {
  formatBytes,
  formatDuration,
  formatPlan,
  loadEvalConfig,
  loadPretrainConfig,
  modelShape,
  openDevice,
  type Plan,
  planRun,
} from "@avjepa/train";
import {
  accessSync,
  constants,
  existsSync,
  statfsSync,
  statSync,
} from "node:fs";
import { dirname, resolve } from "node:path";
import { freeBytes } from "./machine.ts";
import { deviceText, measureSpeed, stepSeconds } from "./speed.ts";

/** What a check found. */
export interface ConfigReport {
  config: string;
  /** Of a pretraining configuration. */
  plan?: Plan;
  indexes: { path: string; files: number; missing: number; of: number }[];
  /** Seconds of a step and of the run, as estimated from the device's speed. */
  seconds?: { step: number; run: number | null };
  memory?: { needed: number; free: number };
  disk?: { folder: string; needed: number; free: number };
  warnings: string[];
  /** What keeps it from running. */
  problems: string[];
}

/** The command line's say. */
export interface ConfigCheckOptions {
  set: readonly string[];
  folder?: string | undefined;
  devices: readonly string[];
  ranks?: number | undefined;
}

/**
 * Checks a configuration.
 *
 * @throws AvjepaError AVJ_CONFIG when it does not resolve.
 */
export async function checkConfig(
  path: string,
  options: ConfigCheckOptions,
): Promise<ConfigReport> {
  return (await isEvaluation(path))
    ? checkEvaluation(path, options)
    : checkPretraining(path, options);
}

/** Evaluations name themselves. */
async function isEvaluation(path: string): Promise<boolean> {
  const file = Bun.file(path);
  return (await file.exists()) && /^eval_name\s*:/m.test(await file.text());
}

function checkEvaluation(
  path: string,
  { set, folder }: ConfigCheckOptions,
): ConfigReport {
  const { config, warnings } = loadEvalConfig(path, {
    set,
    ...(folder === undefined ? {} : { folder }),
  });
  const { dataset_train, dataset_val, root_path, image_folder } = config.data;
  const report: ConfigReport = {
    config: path,
    indexes: [],
    warnings,
    problems: [],
  };
  for (const index of [dataset_train, dataset_val])
    if (index !== undefined) addIndex(report, index);
  if (root_path !== undefined) {
    const images = resolve(root_path, image_folder ?? "");
    if (!existsSync(images))
      report.problems.push(`there is no folder ${images}`);
  }
  if (!existsSync(config.pretrain.folder))
    report.problems.push(
      `there is no run folder ${config.pretrain.folder} to take the encoder from`,
    );
  return report;
}

async function checkPretraining(
  path: string,
  options: ConfigCheckOptions,
): Promise<ConfigReport> {
  const { set, folder, devices, ranks } = options;
  const world = Math.max(1, ranks ?? 1, devices.length);
  const { config, warnings } = loadPretrainConfig(path, { set, folder, world });
  const report: ConfigReport = {
    config: path,
    indexes: [],
    warnings,
    problems: [],
  };
  for (const index of [...config.data.datasets, ...config.data.held_out])
    addIndex(report, index);
  const training = report.indexes.slice(0, config.data.datasets.length);
  const known =
    report.indexes.length ===
    config.data.datasets.length + config.data.held_out.length;
  const samples = training.reduce((sum, { files }) => sum + files, 0);
  const device = openDevice(devices);
  const plan = planRun(config, world, {
    device: deviceText(device),
    ...(known ? { samples } : {}),
  });
  report.plan = plan;
  if (known && samples < plan.batch.total)
    warnings.push(
      `the indexes have ${samples} files, fewer than the ${plan.batch.total} clips of a step: files repeat within it`,
    );
  const dtype = config.meta.dtype === "bfloat16" ? "bfloat16" : "float32";
  const speed = await measureSpeed(device, modelShape(config), dtype);
  const step = stepSeconds(plan.flops, speed);
  const { total } = plan.steps;
  report.seconds = { step, run: total === null ? null : total * step };
  addMemory(report, plan);
  addDisk(report, plan);
  return report;
}

/** Paths looked at of an index; `doctor INDEX` opens all. */
const looked = 1000;

function addIndex(report: ConfigReport, path: string): void {
  try {
    const { paths } = readIndex(path);
    const stride = Math.max(1, Math.floor(paths.length / looked));
    const some = paths.filter((_, i) => i % stride === 0);
    const missing = some.filter((file) => !existsSync(file)).length;
    report.indexes.push({
      path,
      files: paths.length,
      missing,
      of: some.length,
    });
    if (missing > 0)
      report.problems.push(
        `${path}: ${missing} of ${some.length} files looked at are not there`,
      );
  } catch (error) {
    if (!AvjepaError.is(error)) throw error;
    report.problems.push(
      error.hint === undefined
        ? error.message
        : `${error.message} (${error.hint})`,
    );
  }
}

function addMemory(report: ConfigReport, plan: Plan): void {
  const needed = plan.memory.total * plan.batch.world;
  const free = freeBytes();
  report.memory = { needed, free };
  if (needed > free)
    report.problems.push(
      `it takes about ${formatBytes(needed)} of memory, but ${formatBytes(free)} are free: lower data.batch_size and raise optimization.grad_accum, or set optimization.activation_checkpointing: block`,
    );
}

function addDisk(report: ConfigReport, plan: Plan): void {
  const folder = resolve(plan.folder);
  // The nearest part of the path that is there; the rest is made.
  let there = folder;
  while (!existsSync(there) && dirname(there) !== there) there = dirname(there);
  if (!statSync(there).isDirectory()) {
    report.problems.push(
      `the run folder ${folder} cannot be made: ${there} is no folder`,
    );
    return;
  }
  try {
    accessSync(there, constants.W_OK | constants.X_OK);
  } catch {
    report.problems.push(
      `the run folder ${folder} cannot be made: ${there} may not be written`,
    );
  }
  const { bavail, bsize } = statfsSync(there);
  const needed = plan.checkpoint.bytes * plan.checkpoint.most;
  report.disk = { folder, needed, free: bavail * bsize };
  if (needed > report.disk.free)
    report.problems.push(
      `checkpoints take ${formatBytes(needed)} in ${folder}, but ${formatBytes(report.disk.free)} are free: set meta.keep_checkpoints or --folder`,
    );
}

/** Lines for people. */
export function formatConfig(report: ConfigReport): string[] {
  const { plan, seconds, memory, disk, indexes, problems } = report;
  const rows: [name: string, text: string][] = [];
  for (const { path, files } of indexes)
    rows.push(["index", `${path}: ${files.toLocaleString("en-US")} files`]);
  if (seconds) {
    const run =
      seconds.run === null ? "" : `; ${formatDuration(seconds.run)} the run`;
    rows.push([
      "time",
      `about ${formatSeconds(seconds.step)} a step on ${plan?.device ?? "this device"}${run}, if the loader keeps up`,
    ]);
  }
  if (memory)
    rows.push([
      "free",
      `${formatBytes(memory.free)} of memory${disk ? `, ${formatBytes(disk.free)} of disk for checkpoints of ${formatBytes(disk.needed)}` : ""}`,
    ]);
  rows.push(
    ...problems.map((text): [string, string] => ["problem", text]),
    problems.length === 0
      ? ["ok", `${report.config} can be run here`]
      : [
          "not ok",
          `${problems.length} ${problems.length === 1 ? "problem" : "problems"}`,
        ],
  );
  return [
    ...(plan ? formatPlan(plan) : []),
    ...rows.map(([name, text]) => `${name.padEnd(8)}  ${text}`),
  ];
}

/** `0.53 s`, `41 s`, `5:40`. */
function formatSeconds(seconds: number): string {
  if (seconds >= 99.5) return formatDuration(seconds);
  return `${seconds >= 9.95 ? seconds.toFixed(0) : seconds.toPrecision(2)} s`;
}
