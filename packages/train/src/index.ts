/** What is run: configuration, schedules, checkpoints, logs. */

export * from "./config/index.ts";
export { makeSchedules } from "./schedules.ts";
export type { ScheduleOptions, Schedules } from "./schedules.ts";
export { timeKeys } from "./log/metrics_log.ts";
export type { StepMetrics } from "./log/metrics_log.ts";
export { describeFile, summariseFiles } from "./log/file_report.ts";
export { formatBytes, formatDuration, formatProgress } from "./log/progress.ts";
export type { ProgressStream } from "./log/progress.ts";
export { gitRevision, RunInfo } from "./log/run_info.ts";
export type { RunFacts } from "./log/run_info.ts";
export { RunLogs } from "./log/run_logs.ts";
export type { RunLogsOptions } from "./log/run_logs.ts";
export { CheckpointStore, openCheckpoint } from "./checkpoint/store.ts";
export type {
  Checkpoint,
  CommitOptions,
  PendingCheckpoint,
} from "./checkpoint/store.ts";
export type { State } from "./checkpoint/state.ts";
export { replaceFile, replaceLink } from "./files/atomic.ts";
export { fileError } from "./files/file_error.ts";
export { RunFolder } from "./run_folder.ts";
export type { LockHolder } from "./run_folder.ts";
export { exitStopped, StopFlag } from "./signals.ts";
export type { StopSignal } from "./signals.ts";
export { checkpointPath } from "./frozen/checkpoint_path.ts";
export { loadFrozenModel } from "./frozen/encoder.ts";
export type { FrozenModel, FrozenModelOptions } from "./frozen/encoder.ts";
export { encoderFacts, requireModel } from "./frozen/facts.ts";
export type { AudioConvention, EncoderFacts } from "./frozen/facts.ts";
export { loadFrozenModels } from "./frozen/models.ts";
export type { FrozenModels } from "./frozen/models.ts";
export { single } from "./collective.ts";
export type { Collective } from "./collective.ts";
export * from "./launch/index.ts";
export { buildModels, loadWeights, weightsOf } from "./models.ts";
export type { Models } from "./models.ts";
export {
  heldOutClips,
  nextBatches,
  toTrainBatch,
  trainingClips,
} from "./clip_batches.ts";
export { heldOutLoss } from "./held_out.ts";
export type { HeldOut } from "./held_out.ts";
export { setRunAside, whereToStart } from "./previous_run.ts";
export type { Start } from "./previous_run.ts";
export { makeTrainer } from "./trainer.ts";
export { Profile } from "./log/profile.ts";
export type { ProfileOptions } from "./log/profile.ts";
export { stepMetrics } from "./log/step_metrics.ts";
export type { StepFindings } from "./log/step_metrics.ts";
export { evaluateLoss, trainStep } from "./train_step.ts";
export type {
  StepResult,
  StepSettings,
  TrainBatch,
  Trainer,
} from "./train_step.ts";
export { copyRun, initialiseFrom, restoreRun, writeRun } from "./state.ts";
export type { RunCopy } from "./state.ts";
export { RunSaver } from "./checkpoint/saver.ts";
export { measureHealth } from "./health.ts";
export { CollapseWatch, featureHealth } from "./collapse.ts";
export { openDevice } from "./open_device.ts";
export { planSteps, requireFinite } from "./run.ts";
export type { RunPlan } from "./run.ts";
export { formatFlop, formatPlan, planRun } from "./plan.ts";
export type { Plan, PlanFacts } from "./plan.ts";
export { stepFlops, totalFlops, wholeClip } from "./plan/flops.ts";
export type { Flops } from "./plan/flops.ts";
export { meanMaskLengths } from "./plan/lengths.ts";
export type { Length, MaskLength } from "./plan/lengths.ts";
export type { MemoryPlan } from "./plan/memory.ts";
export {
  encoderParameters,
  modelShape,
  predictorParameters,
} from "./plan/shape.ts";
export type { ModelShape } from "./plan/shape.ts";
