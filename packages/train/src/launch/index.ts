/** A run's processes: how many, who starts them, how they meet and end. */

export { clipsOfAll, failTogether, startOfAll, stepOfAll } from "./agree.ts";
export type { StepPart } from "./agree.ts";
export { collectives } from "./collectives.ts";
export type { CollectiveName } from "./collectives.ts";
export { localDevice, placeFromEnvironment } from "./environment.ts";
export type { Place } from "./environment.ts";
export { joinProcesses } from "./join.ts";
export { onLauncherGone } from "./orphan.ts";
export { planLaunch } from "./plan.ts";
export type { LaunchPlan, LaunchRequest } from "./plan.ts";
export { runRanks } from "./start.ts";
export { Watchdog } from "./watchdog.ts";
