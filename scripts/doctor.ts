/** Checks data, configuration and machine: bun run doctor CONFIG|INDEX|--devices */

import "./lib/told.ts";

import { AvjepaError } from "@avjepa/core/error";
import { statSync } from "node:fs";
import { makeCommand, runCommand } from "./lib/cli.ts";
import { checkConfig, formatConfig } from "./lib/doctor/config_check.ts";
import {
  checkIndex,
  formatIndex,
  isAcceptable,
} from "./lib/doctor/index_check.ts";
import { formatMachine, lookAtMachine } from "./lib/doctor/machine.ts";

const command = makeCommand({
  name: "doctor",
  summary:
    "Check an index (every file of it), a configuration (data, memory, time, disk), or the machine.",
  config: "optional",
  common: ["folder", "ranks", "set", "json"],
  examples: [
    "bun run doctor clips.csv",
    "bun run doctor configs/pretrain/demo.yaml",
    "bun run doctor --devices",
  ],
})
  .option(
    "--devices [device...]",
    "list the machine's; with CONFIG, what it is to run on",
    (text: string, before: string[] | true = []) => [
      ...(before === true ? [] : before),
      ...text.split(","),
    ],
  )
  .option(
    "--max-bad-fraction <x>",
    "INDEX: fail when more of the files are bad",
    Number,
    0.05,
  );

interface DoctorOptions {
  maxBadFraction: number;
}

await runCommand<DoctorOptions>(command, async (options) => {
  const { config: target, json, devices, maxBadFraction } = options;
  const print = (lines: readonly string[]) => {
    for (const line of lines) (json ? console.error : console.log)(line);
  };
  if (target === undefined) {
    if (command.getOptionValueSource("devices") === undefined)
      throw new AvjepaError("AVJ_USAGE", "name what to check", {
        hint: "a configuration (.yaml), an index (.csv), or --devices for the machine",
      });
    const machine = lookAtMachine();
    print(formatMachine(machine));
    const missing = devices.filter(
      (name) =>
        !machine.devices.some(
          (device) =>
            device.usable &&
            (device.name === name || device.name === `${name}:0`),
        ),
    );
    if (missing.length > 0)
      throw new AvjepaError(
        "AVJ_DEVICE",
        `there is no ${missing.join(", ")} here`,
      );
    return { result: machine };
  }
  if (/\.ya?ml$/i.test(target)) {
    const report = await checkConfig(target, options);
    for (const warning of report.warnings) console.error(`warning: ${warning}`);
    print(formatConfig(report));
    return { result: report, exitCode: report.problems.length === 0 ? 0 : 1 };
  }
  requireIndex(target);
  if (!(maxBadFraction >= 0 && maxBadFraction <= 1))
    throw new AvjepaError(
      "AVJ_USAGE",
      `--max-bad-fraction: expected a number from 0 to 1`,
    );
  const report = await checkIndex(target, { maxBadFraction, progress });
  clearProgress();
  print(formatIndex(report));
  return { result: report, exitCode: isAcceptable(report) ? 0 : 1 };
});

/** What is neither configuration nor index is told apart before it is read as one. */
function requireIndex(path: string): void {
  const info = statSync(path, { throwIfNoEntry: false });
  if (info?.isDirectory())
    throw new AvjepaError("AVJ_USAGE", `${path} is a folder`, {
      hint: `make an index of it: bun run index ${path} -o clips.csv`,
    });
  if (info && !/\.(csv|tsv|txt)$/i.test(path))
    throw new AvjepaError(
      "AVJ_USAGE",
      `${path} is neither a configuration (.yaml) nor an index (.csv)`,
    );
}

/** A live line on a terminal, and nothing elsewhere. */
function progress(done: number, of: number, what: string): void {
  if (process.stderr.isTTY)
    process.stderr.write(`\r\x1b[K${done} of ${of} files ${what}`);
}

function clearProgress(): void {
  if (process.stderr.isTTY) process.stderr.write("\r\x1b[K");
}
