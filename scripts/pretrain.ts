/** Trains a model: bun run pretrain CONFIG */

import { AvjepaError, describeDevice, memory } from "@avjepa/core";
import { type ClipBatch, type FileCounts, readIndex } from "@avjepa/data";
import {
  type Checkpoint,
  CheckpointStore,
  CollapseWatch,
  Trace,
  RunFolder,
  RunInfo,
  RunLogs,
  StopFlag,
  configHash,
  describeFile,
  exitStopped,
  formatPlan,
  heldOutLoss,
  initialiseFrom,
  loadPretrainConfig,
  makeTrainer,
  measureHealth,
  openDevice,
  planRun,
  planSteps,
  refuseUnbuilt,
  replaceFile,
  requireFinite,
  restoreRun,
  saveRun,
  setRunAside,
  single,
  summariseFiles,
  toTrainBatch,
  toYaml,
  trainStep,
  trainingClips,
  whereToStart,
} from "@avjepa/train";
import { join } from "node:path";

import { makeCommand, runCommand } from "./lib/cli.ts";
import { makeOnlineProbe } from "./lib/online_probe.ts";

/** Steps of this process that `--profile` records: those before warm caches and threads up. */
const profiled = { from: 3, to: 6 };

const command = makeCommand({
  name: "pretrain",
  summary:
    "Train a context encoder, a predictor and a target encoder on clips without labels. A run that the folder holds is continued.",
  config: "required",
  common: [
    "folder",
    "devices",
    "ranks",
    "set",
    "resume",
    "steps",
    "seed",
    "dryRun",
    "allowChange",
    "profile",
    "json",
  ],
  examples: [
    "bun run pretrain configs/pretrain/vitl16.yaml",
    "bun run pretrain configs/pretrain/av-vitt16.yaml --set 'data.datasets=[clips.csv]' --folder runs/first",
    "bun run pretrain configs/pretrain/vitl16.yaml --dry-run",
  ],
});

await runCommand(command, async (options) => {
  // --- What is asked for -------------------------------------------------------------------------------------------
  const path = options.config as string;
  const { folder, seed, set } = options;
  const { config, warnings } = loadPretrainConfig(path, {
    set,
    folder,
    seed,
    allowUnset: options.dryRun,
  });
  const device = openDevice(options.devices, options.ranks);
  const warn = (text: string) =>
    console.error(`warning: ${text.replaceAll("\n", "\n  ")}`);
  warnings.forEach(warn);
  const about = { device: `${device} (${describeDevice(device)})` };
  if (options.dryRun) {
    const samples = countSamples(config.data.datasets, warn);
    const plan = planRun(config, 1, { ...about, ...samples });
    for (const line of formatPlan(plan)) console.error(line);
    return { result: plan };
  }
  refuseUnbuilt(config, path);
  const { data, logging, meta, optimization } = config;
  const samples = readIndex(...data.datasets).paths.length;
  if (data.held_out.length > 0) readIndex(...data.held_out);
  const plan = planSteps(config, samples, options.steps);
  const probe = makeOnlineProbe(config, device);

  // --- The folder, and what is in it -------------------------------------------------------------------------------
  const run = RunFolder.open(logging.folder);
  const store = new CheckpointStore(
    run.path,
    logging.write_tag,
    meta.keep_checkpoints,
  );
  store.clean();
  const start = await whereToStart(store, config, options.resume);

  // --- Models, optimizer, state ------------------------------------------------------------------------------------
  const trainer = makeTrainer(config, device, single);
  const notes: string[] = [];
  let step = 0;
  let cursor = { pass: 0, position: skippedSamples() };
  if (start.resume) {
    const { allowChange } = options;
    const restored = await restoreRun(trainer, start.resume, { allowChange });
    ({ step, cursor } = restored);
    notes.push(`continuing after step ${step} of ${start.resume.path}`);
    notes.push(...restored.notes);
  } else {
    const aside = setRunAside(run.path, logging.write_tag);
    if (aside) notes.push(`the run that was here is in ${aside} now`);
    if (start.initFrom) {
      const told = await initialiseFrom(trainer, start.initFrom);
      notes.push(`weights of ${start.initFrom.path}`, ...told);
    }
  }

  // --- Logs --------------------------------------------------------------------------------------------------------
  await using loader = trainingClips(config, trainer.collective, cursor);
  const logs = new RunLogs({
    folder: run.path,
    tag: logging.write_tag,
    rank: 0,
    ipe: plan.ipe,
    totalSteps: plan.ipe * optimization.epochs,
    lastStep: plan.lastStep,
    everySteps: logging.every_steps,
    tensorboard: logging.tensorboard,
  });
  logs.truncateTo(step);
  replaceFile(join(run.path, "config.yaml"), toYaml(config));
  const info = new RunInfo(run.path, {
    device: about.device,
    dtype: meta.dtype,
    world: 1,
    config_hash: configHash(config),
    from_step: step,
  });
  const [headline = ""] = formatPlan(planRun(config, 1, { ...about, samples }));
  if (start.resume) logs.say(headline);
  else logs.note(headline);
  if (run.takenOver)
    notes.push(
      `took over from process ${run.takenOver.pid} on ${run.takenOver.host}, which is gone`,
    );
  for (const note of [...notes, ...loader.info.notices]) logs.say(note);
  const collapse = new CollapseWatch();
  for (const rank of logs.valuesOf("effective_rank")) collapse.look(rank);
  using stop = new StopFlag((text) => logs.say(text));

  // --- Training ----------------------------------------------------------------------------------------------------
  let saved: Checkpoint | undefined = start.resume;
  let savedAt = performance.now();
  let trace: Trace | undefined;
  const first = step;
  let files: FileCounts | undefined;
  const seen = { clips: 0, since: performance.now() };
  try {
    while (step < plan.lastStep && !stop.signal) {
      step += 1;
      const begun = performance.now();
      if (options.profile && step === first + profiled.from)
        trace = new Trace(device);
      const clips = await traced("data", nextClips);
      const dataMs = performance.now() - begun;
      for (const event of clips.flatMap((batch) => batch.events)) {
        const isNew = logs.fact(step, describeFile(event));
        if (isNew && event.kind === "bad") logs.say(describeFile(event));
      }

      const settings = plan.settings(step);
      const { features, ...result } = await traced("step", () =>
        trainStep(trainer, clips.map(toTrainBatch), settings),
      );
      requireFinite(result, step, saved?.path);
      const health = await traced("health", () => measureHealth(features));
      const heldOut = plan.heldOutDue(step)
        ? await traced("held-out", () => heldOutLoss(trainer))
        : undefined;
      const probed = probe?.due(step)
        ? await traced("probe", () => probe.measure(trainer.models.target))
        : {};

      const stepMs = performance.now() - begun;
      const rows = sum(clips, (batch) => batch.rows);
      logs.step({
        step,
        epoch: plan.epochOf(step),
        loss: result.loss,
        loss_jepa: result.jepa,
        loss_reg: result.reg,
        ...(result.video === undefined ? {} : { loss_video: result.video }),
        ...(result.audio === undefined ? {} : { loss_audio: result.audio }),
        lr: settings.lr,
        wd: settings.wd,
        momentum: settings.momentum,
        grad_norm_encoder: result.gradNormEncoder,
        grad_norm_predictor: result.gradNormPredictor,
        step_ms: stepMs,
        data_ms: dataMs,
        clips_per_s: (1000 * rows) / stepMs,
        memory_bytes: memory(device).bytes,
        tokens_context: sum(
          clips,
          (b) => b.masks?.context.position.length ?? 0,
        ),
        tokens_target: sum(clips, (b) => b.masks?.target.position.length ?? 0),
        ...health,
        ...(heldOut === undefined ? {} : { loss_held_out: heldOut }),
        ...probed,
      });
      const rank = health.effective_rank;
      const alarm = rank === undefined ? undefined : collapse.look(rank);
      if (alarm && logs.fact(step, alarm)) logs.say(`warning: ${alarm}`);
      seen.clips += rows;
      files = clips.at(-1)?.counts;

      const minutes = (performance.now() - savedAt) / 60_000;
      const last = step === plan.lastStep || stop.signal !== undefined;
      if (last || plan.checkpointDue(step, minutes)) {
        const epoch = plan.epochToKeep(step);
        saved = await traced("checkpoint", () =>
          saveRun(
            store,
            trainer,
            step,
            cursor,
            epoch === undefined ? {} : { epoch },
          ),
        );
        savedAt = performance.now();
      }
      if (trace && (step === first + profiled.to || last)) {
        trace.write(join(run.path, "trace.json"));
        logs.say(
          `trace of ${step - first - profiled.from + 1} steps: ${join(run.path, "trace.json")}`,
        );
        trace = undefined;
      }
    }
  } catch (error) {
    info.end(step - 1, `failed: ${(error as Error).message.split("\n")[0]}`);
    logs.close();
    throw error;
  }

  // --- The end -----------------------------------------------------------------------------------------------------
  const finished = step >= plan.lastStep;
  const outcome = finished ? "finished" : `stopped by ${stop.signal}`;
  info.end(step, outcome);
  if (first >= plan.lastStep)
    logs.say(
      `step ${first} of ${plan.lastStep} is done already: nothing to do`,
    );
  else logs.say(`${outcome} after step ${step}: ${saved?.path}`);
  const lacking = files && summariseFiles(files);
  if (lacking) logs.say(`${lacking}: log.txt names them`);
  logs.close();
  run.release();
  return {
    exitCode: finished ? 0 : exitStopped,
    result: {
      outcome,
      step,
      folder: run.path,
      checkpoint: saved?.path ?? null,
      clips: seen.clips,
      seconds: (performance.now() - seen.since) / 1000,
      bad_files: files?.bad ?? 0,
    },
  };

  /** The batches of a step. */
  async function nextClips(): Promise<ClipBatch[]> {
    const batches: ClipBatch[] = [];
    while (batches.length < optimization.grad_accum) {
      const batch = await loader.next();
      if (batch === null) throw new Error("the training clips have ended");
      batches.push(batch);
    }
    cursor = loader.cursor;
    return batches;
  }

  function traced<T>(name: string, work: () => Promise<T>): Promise<T> {
    return trace ? trace.span(name, work) : work();
  }

  /** Samples over all ranks that `meta.skip_batches` passes over. */
  function skippedSamples(): number {
    return Math.max(0, meta.skip_batches) * data.batch_size;
  }
});

/** For a plan, which may be made before the data is there. */
function countSamples(
  indexes: readonly string[],
  warn: (text: string) => void,
): { samples?: number } {
  if (indexes.some((index) => index.includes("${"))) return {};
  try {
    return { samples: readIndex(...indexes).paths.length };
  } catch (error) {
    if (!AvjepaError.is(error)) throw error;
    warn(error.message);
    return {};
  }
}

function sum<T>(items: readonly T[], value: (item: T) => number): number {
  return items.reduce((total, item) => total + value(item), 0);
}
