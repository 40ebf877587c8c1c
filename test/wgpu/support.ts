/** The graphics adapter under test, and pretraining on it. */

import { pretrain } from "../pretrain/support.ts";

/** The adapter that `AVJEPA_TEST_DEVICES` names, the first if several. */
const named = (process.env.AVJEPA_TEST_DEVICES ?? "")
  .split(",")
  .map((name) => name.trim())
  .find((name) => name.startsWith("wgpu"));

/** Whether wgpu is to be tested: `scripts/test.ts` asks for it where there is a GPU. */
export const wanted: boolean = named !== undefined;

/** The device of the tests: `wgpu` is the first adapter, be it software. */
export const device: string =
  named === undefined || named === "wgpu" ? "wgpu:0" : named;

if (!wanted)
  console.log(
    "wgpu: its tests are skipped; AVJEPA_TEST_DEVICES=wgpu runs them on the first adapter",
  );

/** How often a driver crashed, in this process. */
let crashes = 0;

/** Drivers crash once in a while: that is said and counted, and the command run once more. */
export function onceMore<T extends { exitCode: number | null; err: string }>(
  run: () => T,
): T {
  const first = run();
  if (first.exitCode !== null && first.exitCode < 128) return first;
  crashes += 1;
  console.log(
    `wgpu: the driver crashed (${crashes} so far); tried once more\n${first.err}`,
  );
  return run();
}

/** Pretrains on {@link device}, in a process of its own. */
export const pretrainOnWgpu = (
  args: readonly string[],
): ReturnType<typeof pretrain> =>
  onceMore(() => pretrain(...args, "--devices", device));

/** Pretrains on {@link device} with one of `AVJEPA_WGPU_FAULT`'s faults. */
export function pretrainWithFault(
  fault: string,
  args: readonly string[],
): ReturnType<typeof pretrain> {
  process.env.AVJEPA_WGPU_FAULT = fault;
  try {
    return pretrainOnWgpu(args);
  } finally {
    delete process.env.AVJEPA_WGPU_FAULT;
  }
}
