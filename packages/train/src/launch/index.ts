/** A run's processes: how many, who starts them, how they meet and end. */

export { clipsOfAll, failTogether, startOfAll, stepOfAll } from "./agree.ts";
export type { StepPart } from "./agree.ts";
export { localDevice, placeFromEnvironment } from "./environment.ts";
export type { Place } from "./environment.ts";
export { joinProcesses } from "./join.ts";
export { runRanks } from "./mpirun.ts";
export { onLauncherGone } from "./orphan.ts";
export { planLaunch } from "./plan.ts";
export type { LaunchPlan, LaunchRequest } from "./plan.ts";
export { Watchdog } from "./watchdog.ts";
