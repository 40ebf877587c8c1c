/** The first graphics adapter, and pretraining on it. */

import { adapters } from "@avjepa/core";

import { pretrain } from "../pretrain/support.ts";

const named = process.env.AVJEPA_TEST_DEVICES?.split(",");

/** Whether wgpu is to be tested: there is an adapter, or `AVJEPA_TEST_DEVICES` names it. */
export const wanted: boolean = named
  ? named.some((name) => name.startsWith("wgpu"))
  : adapters().length > 0;

/** The device of the tests; software adapters are opened by number only. */
export const device = "wgpu:0";

if (!wanted)
  console.log(
    named
      ? "wgpu: AVJEPA_TEST_DEVICES leaves it out: its tests are skipped"
      : "wgpu: no graphics adapter here: its tests are skipped",
  );

/** How often a driver crashed, in this process. */
let crashes = 0;

/**
 * Pretrains on {@link device}, in a process of its own. Software drivers crash
 * once in a while: that is said and counted, and tried once more.
 */
export function pretrainOnWgpu(
  args: readonly string[],
): ReturnType<typeof pretrain> {
  const run = () => pretrain(...args, "--devices", device);
  const first = run();
  if (first.exitCode !== null && first.exitCode < 128) return first;
  crashes += 1;
  console.log(
    `wgpu: the driver crashed (${crashes} so far); tried once more\n${first.err}`,
  );
  return run();
}
