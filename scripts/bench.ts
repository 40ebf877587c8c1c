/** Measures: bun run bench step|kernels|loader|scale */

import "./lib/told.ts";

import type { DeviceCounters } from "@avjepa/core";
import { AvjepaError } from "@avjepa/core/error";
import {
  formatBytes,
  formatFlop,
  modelNames,
  openDevice,
  planLaunch,
  runRanks,
} from "@avjepa/train";
import { Option } from "commander";
import { benchKernels, type KernelRow } from "../bench/kernels.ts";
import { benchLoader, type LoaderReport } from "../bench/loader.ts";
import { benchScale, formatScale } from "../bench/scale.ts";
import {
  benchStep,
  type RanksReport,
  type StepOptions,
  type StepReport,
} from "../bench/step.ts";
import { makeCommand, runCommand, wholeNumber } from "./lib/cli.ts";

const command = makeCommand({
  name: "bench",
  summary:
    "Measure whole training steps on noise, single kernels, or how fast clips are loaded; or reckon how steps would scale over many GPUs.",
  common: ["devices", "ranks", "collective", "json"],
  examples: [
    "bun run bench step --model vit_tiny --batch 2 --dtype float32 --steps 5 --json",
    "bun run bench step --app avjepa --dtype bfloat16",
    "bun run bench step --ranks 2",
    "bun run bench kernels",
    "bun run bench kernels --devices wgpu",
    "bun run bench loader clips.csv",
    "bun run bench scale",
  ],
})
  .argument("<step|kernels|loader|scale>", "what to measure")
  .argument("[INDEX]", "an index of clips, for loader")
  .addOption(
    new Option("--app <app>", "step: video only, or with sound")
      .choices(["vjepa", "avjepa"])
      .default("vjepa"),
  )
  .addOption(
    new Option("--model <size>", "step: the encoder's size")
      .choices([...modelNames])
      .default("vit_tiny"),
  )
  .option("--batch <n>", "step, loader: clips at a time", wholeNumber(1), 2)
  .addOption(
    new Option("--dtype <type>", "step: type of the products")
      .choices(["float32", "bfloat16"])
      .default("float32"),
  )
  .option(
    "--steps <n>",
    "step: steps that count; loader: batches",
    wholeNumber(1),
    5,
  )
  .option("--warmup <n>", "step: steps before them", wholeNumber(0), 1)
  .option(
    "--checkpointing",
    "step: recompute blocks in the backward pass",
    false,
  )
  .option(
    "--zero1",
    "step: share the optimizer's moments out among the processes",
    false,
  );

await runCommand<StepOptions>(command, async (options) => {
  const [what, index] = command.args;
  switch (what) {
    case "step": {
      const launch = planLaunch(options);
      if (launch.start) {
        const self = [process.execPath, import.meta.path];
        const words = [...self, ...process.argv.slice(2)];
        const exitCode = await runRanks(launch, words);
        return { exitCode, silent: true };
      }
      const report = await benchStep(options, launch);
      if ((launch.place?.rank ?? 0) > 0) return { silent: true };
      if (!options.json) console.log(formatStep(report, options));
      return { result: report };
    }
    case "kernels":
      return { result: await kernels(options.devices, options.json) };
    case "loader": {
      const report = await loader(index, options);
      if (!options.json) console.log(formatLoader(report));
      return { result: report };
    }
    case "scale": {
      const rows = benchScale();
      if (!options.json) console.log(formatScale(rows));
      return { result: rows };
    }
    default:
      throw new AvjepaError(
        "AVJ_USAGE",
        `bench ${what}: there is no such measurement`,
        {
          hint: "step, kernels, loader or scale",
        },
      );
  }
});

function formatStep(report: StepReport, options: StepOptions): string {
  const { app, model, batch, dtype } = options;
  const above = report.peak_rss_bytes - report.idle_rss_bytes;
  return [
    `${app} ${model} ${dtype}, ${batch} clips a step, ${report.device} with ${report.threads} threads`,
    `step    ${report.median_s.toFixed(3)} s median, ${report.min_s.toFixed(3)} s at best, ${report.samples_per_s.toPrecision(3)} clips/s`,
    `compute ${formatFlop(report.flops_per_step)} a step, ${report.gflops.toFixed(0)} GFLOP/s`,
    `memory  ${formatBytes(report.peak_rss_bytes)} at most, ${formatBytes(above)} above the idle process`,
    `tensors ${formatBytes(report.tensor_bytes)} between steps, ${formatBytes(report.peak_tensor_bytes)} at most`,
    ...(report.device_counters ? [formatCounters(report.device_counters)] : []),
    ...(report.ranks ? [formatRanks(report.ranks)] : []),
  ].join("\n");
}

function formatCounters(counters: DeviceCounters): string {
  const { dispatches, submissions, uploaded, downloaded } = counters;
  return `device  ${dispatches} kernels in ${submissions} submissions a step, ${formatBytes(uploaded)} to it, ${formatBytes(downloaded)} back`;
}

function formatRanks({ world, engine, sent_bytes, sum_s }: RanksReport) {
  return `ranks   ${world} (${engine}), each sends ${formatBytes(sent_bytes)} a step: alone ${sum_s.toFixed(3)} s`;
}

/** Prints rows as they come, as text or JSON; the last row of JSON is the command's last line. */
async function kernels(
  devices: readonly string[],
  json: boolean,
): Promise<KernelRow | undefined> {
  let last: KernelRow | undefined;
  await benchKernels(openDevice(devices), (row) => {
    if (!json) console.log(formatKernel(row));
    else if (last) console.log(JSON.stringify(last));
    last = row;
  });
  return last;
}

function formatKernel({
  kernel,
  shape,
  dtype,
  seconds,
  gflops,
  gbytes_s,
  of_peak,
}: KernelRow): string {
  const speed = [
    ...(gflops === undefined
      ? []
      : [`${gflops.toFixed(gflops < 10 ? 2 : 0)} GFLOP/s`]),
    ...(gbytes_s === undefined ? [] : [`${gbytes_s.toFixed(1)} GB/s`]),
    ...(of_peak === undefined ? [] : [`${(100 * of_peak).toFixed(0)} %`]),
  ];
  const micro = `${(1e6 * seconds).toFixed(seconds < 1e-5 ? 2 : 0)} µs`;
  const columns = [
    kernel.padEnd(25),
    dtype.padEnd(8),
    shape.padStart(18),
    micro.padStart(12),
  ];
  return [...columns, ...speed].join("  ");
}

async function loader(
  index: string | undefined,
  options: StepOptions,
): Promise<LoaderReport> {
  if (index === undefined)
    throw new AvjepaError("AVJ_USAGE", "bench loader: INDEX is missing", {
      hint: "for example: bun run bench loader clips.csv; `bun run index DIR -o clips.csv` makes one",
    });
  return benchLoader({ index, batch: options.batch, batches: options.steps });
}

function formatLoader({
  clips_per_s,
  clips,
  seconds,
  workers,
  bad_files,
}: LoaderReport): string {
  const bad =
    bad_files === 0
      ? ""
      : `; ${bad_files} files cannot be read: bun run doctor says why`;
  return `${clips_per_s.toPrecision(3)} clips/s: ${clips} clips of 16 × 224 × 224 in ${seconds.toFixed(1)} s by ${workers} threads${bad}`;
}
