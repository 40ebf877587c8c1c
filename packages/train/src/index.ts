/** What is run: configuration, schedules, checkpoints, logs. */

export * from "./config/index.ts";
export { makeSchedules } from "./schedules.ts";
export type { ScheduleOptions, Schedules } from "./schedules.ts";
