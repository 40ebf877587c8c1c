/** Trains a model: bun run pretrain CONFIG */

import { AvjepaError, describeDevice, memory } from "@avjepa/core";
import {
  type ClipBatch,
  FileLedger,
  mediaVersions,
  readIndex,
} from "@avjepa/data";
import {
  BackgroundWriter,
  CheckpointStore,
  CollapseWatch,
  Trace,
  RunFolder,
  RunInfo,
  RunLogs,
  StopFlag,
  Watchdog,
  clipsOfAll,
  configHash,
  copyRun,
  describeFile,
  exitStopped,
  formatBytes,
  formatPlan,
  heldOutLoss,
  initialiseFrom,
  joinProcesses,
  loadPretrainConfig,
  makeTrainer,
  measureHealth,
  onLauncherGone,
  openDevice,
  planLaunch,
  planRun,
  planSteps,
  refuseUnbuilt,
  replaceFile,
  requireFinite,
  restoreRun,
  runRanks,
  setRunAside,
  startOfAll,
  stepOfAll,
  summariseFiles,
  toTrainBatch,
  toYaml,
  trainStep,
  trainingClips,
  weightsOf,
  whereToStart,
  writeRun,
} from "@avjepa/train";
import { join } from "node:path";

import { makeCommand, printer, runCommand, warn } from "./lib/cli.ts";
import { freeBytes } from "./lib/doctor/machine.ts";
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
    "bun run pretrain configs/pretrain/av-vitt16.yaml --ranks 4",
  ],
});

await runCommand(command, async (options) => {
  // --- What is asked for -------------------------------------------------------------------------------------------
  const path = options.config as string;
  const { folder, seed, set } = options;
  const launch = planLaunch(options);
  const { config, warnings } = loadPretrainConfig(path, {
    set,
    folder,
    seed,
    world: launch.world,
    allowUnset: options.dryRun,
  });
  const isFirst = (launch.place?.rank ?? 0) === 0;
  if (isFirst && (!launch.start || options.dryRun)) warnings.forEach(warn);
  if (launch.start && !options.dryRun) {
    // Devices that are not there are refused once, not by every process.
    for (const name of launch.devices) openDevice([name]);
    const self = [process.execPath, import.meta.path, ...process.argv.slice(2)];
    return { exitCode: await runRanks(launch.world, self), silent: true };
  }
  const device = openDevice(launch.devices.slice(0, 1));
  const about = { device: `${device} (${describeDevice(device)})` };
  if (options.dryRun) {
    const samples = countSamples(config.data.datasets);
    const plan = planRun(config, launch.world, { ...about, ...samples });
    warnOfMemory(plan.memory.total);
    formatPlan(plan).forEach(printer(options.json));
    return { result: plan };
  }
  refuseUnbuilt(config, path);
  const { data, logging, meta, optimization } = config;
  const samples = readIndex(...data.datasets).paths.length;
  if (data.held_out.length > 0) readIndex(...data.held_out);
  const planned = planRun(config, launch.world, { ...about, samples });
  if (isFirst) warnOfMemory(planned.memory.total);
  const [headline = ""] = formatPlan(planned);
  const plan = planSteps(config, samples, options.steps);
  const probe = makeOnlineProbe(config, device);

  // --- The processes of the run ------------------------------------------------------------------------------------
  // From here on a signal is heard; until the logs are there its note goes to the terminal.
  let note = (text: string) => console.error(text);
  using stop = new StopFlag((text) => isFirst && note(text));
  using _ = onLauncherGone(() => process.kill(process.pid, "SIGTERM"));
  const ranks = await joinProcesses(launch);
  using watchdog = new Watchdog(ranks);

  // --- The folder, and what is in it -------------------------------------------------------------------------------
  const run = isFirst ? RunFolder.open(logging.folder) : undefined;
  const store = new CheckpointStore(
    logging.folder,
    logging.write_tag,
    meta.keep_checkpoints,
  );
  if (isFirst) store.clean();
  const start = await startOfAll(ranks, () =>
    whereToStart(store, config, options.resume),
  );

  // --- Models, optimizer, state ------------------------------------------------------------------------------------
  const trainer = makeTrainer(config, device, ranks);
  const notes: string[] = [];
  let step = 0;
  let cursor = { pass: 0, position: skippedSamples() };
  if (start.resume) {
    const { allowChange } = options;
    const restored = await restoreRun(trainer, start.resume, { allowChange });
    ({ step, cursor } = restored);
    if (isFirst) store.goBackTo(start.resume);
    notes.push(`continuing after step ${step} of ${start.resume.path}`);
    notes.push(...restored.notes);
  } else {
    if (start.initFrom) {
      const told = await initialiseFrom(trainer, start.initFrom);
      notes.push(`weights of ${start.initFrom.path}`, ...told);
    }
    // A run without a checkpoint begins again, its logs cut back to nothing.
    const aside =
      run && options.resume === "never" ? setRunAside(run.path) : undefined;
    if (aside) notes.push(`the run that was here is in ${aside} now`);
  }
  ranks.broadcast(Object.values(weightsOf(trainer.models)));
  await ranks.barrier();

  // --- Logs --------------------------------------------------------------------------------------------------------
  await using loader = trainingClips(config, ranks, cursor, {
    judge: false,
  });
  const logs = new RunLogs({
    folder: logging.folder,
    tag: logging.write_tag,
    rank: ranks.rank,
    ipe: plan.ipe,
    totalSteps: plan.ipe * optimization.epochs,
    lastStep: plan.lastStep,
    everySteps: logging.every_steps,
    tensorboard: logging.tensorboard,
  });
  note = (text) => logs.say(text);
  logs.truncateTo(step);
  if (run) replaceFile(join(run.path, "config.yaml"), toYaml(config));
  const info =
    run &&
    new RunInfo(run.path, {
      device: about.device,
      dtype: meta.dtype,
      world: ranks.world,
      config_hash: configHash(config),
      from_step: step,
      versions: { ffmpeg: mediaVersions() ?? "none" },
    });
  if (start.resume) logs.say(headline);
  else logs.note(headline);
  if (run?.takenOver)
    notes.push(
      `took over from process ${run.takenOver.pid} on ${run.takenOver.host}, which is gone`,
    );
  for (const note of [...notes, ...loader.info.notices]) logs.say(note);
  const collapse = new CollapseWatch();
  for (const rank of logs.valuesOf("effective_rank")) collapse.look(rank);

  // --- Training ----------------------------------------------------------------------------------------------------
  const writer = new BackgroundWriter(start.resume);
  let savedAt = performance.now();
  let trace: Trace | undefined;
  const first = step;
  const files = new FileLedger({
    samples,
    maxBadFraction: data.max_bad_fraction,
  });
  let stopped = (await stepOfAll(ranks, { signal: stop.signal })).signal;
  const seen = { clips: 0, since: performance.now() };
  try {
    while (step < plan.lastStep && !stopped) {
      step += 1;
      const begun = performance.now();
      if (options.profile && step === first + profiled.from)
        trace = new Trace(device);
      const { clips, news } = await traced("data", () =>
        clipsOfAll(ranks, files, nextClips),
      );
      for (const event of news) {
        const isNew = logs.fact(step, describeFile(event));
        if (isNew && event.kind === "bad") logs.say(describeFile(event));
      }
      files.judge();
      const dataMs = performance.now() - begun;
      const settings = plan.settings(step);
      const { features, ...result } = await traced("step", () =>
        trainStep(trainer, clips.map(toTrainBatch), settings),
      );
      await requireFinite(result, step, store, () => writer.finish());
      writer.check();
      const health = settings.sampleFeatures
        ? await traced("health", () => measureHealth(features, ranks))
        : {};
      const heldOut = plan.heldOutDue(step)
        ? await traced("held-out", () => heldOutLoss(trainer))
        : undefined;
      const probed = probe?.due(step)
        ? await traced("probe", () => probe.measure(trainer.models.target))
        : {};

      const stepMs = performance.now() - begun;
      const own = {
        rows: sum(clips, (batch) => batch.rows),
        tokensContext: sum(clips, (b) => b.masks?.context.position.length ?? 0),
        tokensTarget: sum(clips, (b) => b.masks?.target.position.length ?? 0),
        memoryBytes: memory(device).bytes,
        minutes: (performance.now() - savedAt) / 60_000,
        signal: stop.signal,
      };
      const all = await traced("agreement", () => stepOfAll(ranks, own));
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
        clips_per_s: (1000 * all.rows) / stepMs,
        memory_bytes: all.memoryBytes,
        tokens_context: all.tokensContext,
        tokens_target: all.tokensTarget,
        ...health,
        ...(heldOut === undefined ? {} : { loss_held_out: heldOut }),
        ...probed,
      });
      const rank = health.effective_rank;
      const alarm = rank === undefined ? undefined : collapse.look(rank);
      if (alarm && logs.fact(step, alarm)) logs.say(`warning: ${alarm}`);
      seen.clips += all.rows;
      stopped = all.signal;

      const last = step === plan.lastStep || stopped !== undefined;
      if (last || plan.checkpointDue(step, all.minutes)) {
        const epoch = plan.epochToKeep(step);
        // The weights are the same on every rank: one writes a copy of them, while training goes on.
        await traced("checkpoint", async () => {
          const copy = await copyRun(trainer, step, cursor);
          if (!copy) return;
          const keep = epoch === undefined ? {} : { epoch };
          await writer.begin(() => writeRun(store, copy, keep));
        });
        savedAt = performance.now();
      }
      if (trace && (step === first + profiled.to || last)) {
        const file = join(logging.folder, "trace.json");
        if (isFirst) trace.write(file);
        logs.say(`trace of ${step - first - profiled.from + 1} steps: ${file}`);
        trace = undefined;
      }
    }
    await watchdog.during("the last checkpoint", () => writer.finish());
  } catch (error) {
    // What is being written is good, and all that will be left.
    await writer.finish().catch(() => undefined);
    info?.fail(step - 1, error);
    logs.close();
    throw error;
  }

  // --- The end -----------------------------------------------------------------------------------------------------
  logs.endProgress();
  const finished = step >= plan.lastStep;
  const outcome = finished ? "finished" : `stopped by ${stopped}`;
  info?.end(step, outcome);
  if (first >= plan.lastStep)
    logs.say(
      `step ${first} of ${plan.lastStep} is done already: nothing to do`,
    );
  else logs.say(`${outcome} after step ${step}: ${writer.saved?.path}`);
  const lacking = summariseFiles(files.counts);
  if (lacking) logs.say(`${lacking}: log.txt names them`);
  logs.close();
  run?.release();
  await ranks.close();
  // Rank 0 speaks for the run, last: launchers kill the others when one reports anything but success.
  if (isFirst && ranks.world > 1) await Bun.sleep(300);
  return {
    exitCode: finished || !isFirst ? 0 : exitStopped,
    silent: !isFirst,
    result: {
      outcome,
      step,
      folder: logging.folder,
      checkpoint: writer.saved?.path ?? null,
      clips: seen.clips,
      seconds: (performance.now() - seen.since) / 1000,
      bad_files: files.counts.bad,
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
    return watchdog.during(`step ${step}, ${name}`, () =>
      trace ? trace.span(name, work) : work(),
    );
  }

  /** Samples over all ranks that `meta.skip_batches` passes over. */
  function skippedSamples(): number {
    return Math.max(0, meta.skip_batches) * data.batch_size * ranks.world;
  }
});

/** For a plan, which may be made before the data is there. */
function countSamples(indexes: readonly string[]): { samples?: number } {
  if (indexes.some((index) => index.includes("${"))) return {};
  try {
    return { samples: readIndex(...indexes).paths.length };
  } catch (error) {
    if (!AvjepaError.is(error)) throw error;
    warn(error.message);
    return {};
  }
}

/** Before the system ends the process for it. */
function warnOfMemory(needed: number): void {
  const free = freeBytes();
  if (needed <= free) return;
  warn(
    `training takes about ${formatBytes(needed)} of memory, but ${formatBytes(free)} are free: lower data.batch_size and raise optimization.grad_accum, or set optimization.activation_checkpointing: block`,
  );
}

function sum<T>(items: readonly T[], value: (item: T) => number): number {
  return items.reduce((total, item) => total + value(item), 0);
}
