/** Trains a model: bun run pretrain CONFIG */

import "./lib/told.ts";

import { describeDevice, memory } from "@avjepa/core";
import {
  type ClipBatch,
  FileLedger,
  mediaVersions,
  readIndex,
} from "@avjepa/data";
import {
  CheckpointStore,
  CollapseWatch,
  Profile,
  RunFolder,
  RunInfo,
  RunLogs,
  RunSaver,
  type StepResult,
  type StepSettings,
  StopFlag,
  Watchdog,
  clipsOfAll,
  configHash,
  exitStopped,
  formatBytes,
  formatPlan,
  heldOutLoss,
  initialiseFrom,
  joinProcesses,
  loadPretrainConfig,
  makeTrainer,
  measureHealth,
  nextBatches,
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
  stepMetrics,
  stepOfAll,
  summariseFiles,
  toTrainBatch,
  toYaml,
  trainStep,
  trainingClips,
  weightsOf,
  whereToStart,
} from "@avjepa/train";
import { existsSync } from "node:fs";
import { join } from "node:path";

import { makeCommand, printer, runCommand, warn } from "./lib/cli.ts";
import { freeBytes } from "./lib/doctor/machine.ts";
import { onFirstRank } from "./lib/on_first_rank.ts";
import { makeOnlineProbe } from "./lib/online_probe.ts";

const command = makeCommand({
  name: "pretrain",
  summary:
    "Train a context encoder, a predictor and a target encoder on clips without labels. A run that the folder holds is continued.",
  config: "required",
  common: [
    "folder",
    "devices",
    "ranks",
    "collective",
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
    "bun run pretrain configs/pretrain/av-vitt16.yaml --ranks 2 --collective nccl",
  ],
});

command.option(
  "--allow-missing <pattern...>",
  "weights that the published checkpoint of meta.init_from may lack, such as 'patch_embed.audio_proj.*'",
);

await runCommand<{ allowMissing?: string[] }>(command, async (options) => {
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
  config.meta.allow_missing.push(...(options.allowMissing ?? []));
  const isFirst = (launch.place?.rank ?? 0) === 0;
  if (isFirst && (!launch.start || options.dryRun)) warnings.forEach(warn);
  if (launch.start && !options.dryRun) {
    // Devices that are not there are refused once, not by every process.
    for (const name of launch.devices) openDevice([name]);
    const self = [process.execPath, import.meta.path, ...process.argv.slice(2)];
    return { exitCode: await runRanks(launch, self), silent: true };
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
  if (ranks.world > 1)
    notes.push(`${ranks.world} processes meet through ${ranks.engine}`);
  let first = 0;
  let cursor = { pass: 0, position: skippedSamples() };
  if (start.resume) {
    const { allowChange } = options;
    const restored = await restoreRun(trainer, start.resume, { allowChange });
    ({ step: first, cursor } = restored);
    if (isFirst) store.goBackTo(start.resume);
    notes.push(`continuing after step ${first} of ${start.resume.path}`);
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
  await using loader = trainingClips(config, ranks, cursor, { judge: false });
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
  logs.truncateTo(first);
  if (run) replaceFile(join(run.path, "config.yaml"), toYaml(config));
  const info =
    run &&
    new RunInfo(run.path, {
      device: about.device,
      dtype: meta.dtype,
      world: ranks.world,
      config_hash: configHash(config),
      from_step: first,
      versions: {
        ffmpeg: mediaVersions() ?? "none",
        ...(ranks.world > 1 ? { collective: ranks.engine } : {}),
      },
    });
  if (start.resume) logs.say(headline);
  else logs.note(headline);
  if (run?.takenOver)
    notes.push(
      `took over from process ${run.takenOver.pid} on ${run.takenOver.host}, which is gone`,
    );
  for (const note of [...notes, ...loader.info.notices]) logs.say(note);

  // --- Training ----------------------------------------------------------------------------------------------------
  const collapse = new CollapseWatch();
  for (const rank of logs.valuesOf("effective_rank")) collapse.look(rank);
  const saver = new RunSaver(trainer, store, start.resume);
  const profile =
    options.profile && isFirst
      ? new Profile({ device, first, folder: logging.folder, tell: note })
      : undefined;
  let step = first;
  let stopped = (await stepOfAll(ranks, { signal: stop.signal })).signal;
  const since = performance.now();
  let clipsSeen = 0;
  const files = new FileLedger({
    samples,
    maxBadFraction: data.max_bad_fraction,
  });
  const part = <T>(name: string, work: () => Promise<T>): Promise<T> =>
    watchdog.during(`step ${step}, ${name}`, () =>
      profile ? profile.span(name, work) : work(),
    );
  try {
    while (step < plan.lastStep && !stopped) {
      step += 1;
      profile?.begin(step);
      const begun = performance.now();
      const { clips, news } = await part("data", () =>
        clipsOfAll(ranks, files, () =>
          nextBatches(loader, optimization.grad_accum),
        ),
      );
      logs.files(step, news);
      files.judge();
      const dataMs = performance.now() - begun;
      const settings = plan.settings(step);
      const { features, ...result } = await part("step", () =>
        trainStep(trainer, clips.map(toTrainBatch), settings),
      );
      await requireFinite(result, step, store, () => saver.finish());
      saver.check();

      const measures = await measureAfter(settings, features);
      const all = await part("agreement", () =>
        stepOfAll(ranks, {
          ...countClips(clips),
          memoryBytes: memory(device).bytes,
          minutes: saver.minutes,
          signal: stop.signal,
        }),
      );
      const epoch = plan.epochOf(step);
      const stepMs = performance.now() - begun;
      logs.step(
        stepMetrics({ settings, epoch, result, all, stepMs, dataMs, measures }),
      );
      const alarm = collapse.look(measures.effective_rank);
      if (alarm) logs.warn(step, alarm);
      clipsSeen += all.rows;
      stopped = all.signal;

      const last = step === plan.lastStep || stopped !== undefined;
      if (last || plan.checkpointDue(step, all.minutes))
        await part("checkpoint", () =>
          saver.save(step, loader.cursor, plan.epochToKeep(step)),
        );
      profile?.end(step, last);
    }
    await watchdog.during("the last checkpoint", () => saver.finish());
  } catch (error) {
    // What is being written is good, and all that will be left.
    await saver.finish().catch(() => undefined);
    info?.fail(step - 1, error);
    logs.failed(step, error);
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
  else logs.say(`${outcome} after step ${step}: ${saver.newest?.path}`);
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
      checkpoint: saver.newest?.path ?? null,
      clips: clipsSeen,
      seconds: (performance.now() - since) / 1000,
      bad_files: files.counts.bad,
    },
  };

  /** What is measured after a step, at its interval. */
  async function measureAfter(
    { step, sampleFeatures }: StepSettings,
    features: StepResult["features"],
  ) {
    const health = sampleFeatures
      ? await part("health", () => measureHealth(features, ranks))
      : {};
    const heldOut = plan.heldOutDue(step)
      ? await part("held-out", () => heldOutLoss(trainer))
      : undefined;
    if (heldOut) logs.files(step, heldOut.events);
    const probed = probe?.due(step)
      ? await onFirstRank(
          ranks,
          () => probe.measure(trainer.models.target),
          (work) => part("probe", work),
        )
      : {};
    return {
      ...health,
      ...(heldOut ? { loss_held_out: heldOut.loss } : {}),
      ...probed,
    };
  }

  /** Samples over all ranks that `meta.skip_batches` passes over. */
  function skippedSamples(): number {
    return Math.max(0, meta.skip_batches) * data.batch_size * ranks.world;
  }
});

/** For a plan, which may be made before the data is there; an index that is there must be right. */
function countSamples(indexes: readonly string[]): { samples?: number } {
  const missing = indexes.filter((index) => !existsSync(index));
  if (missing.length === 0)
    return { samples: readIndex(...indexes).paths.length };
  for (const index of missing)
    if (!index.includes("${")) warn(`there is no index ${index} yet`);
  return {};
}

/** Before the system ends the process for it. */
function warnOfMemory(needed: number): void {
  const free = freeBytes();
  if (needed <= free) return;
  warn(
    `training takes about ${formatBytes(needed)} of memory, but ${formatBytes(free)} are free: lower data.batch_size and raise optimization.grad_accum, or set optimization.activation_checkpointing: block`,
  );
}

/** This rank's part of the step's size. */
function countClips(clips: readonly ClipBatch[]) {
  const sum = (value: (batch: ClipBatch) => number) =>
    clips.reduce((total, batch) => total + value(batch), 0);
  return {
    rows: sum((batch) => batch.rows),
    tokensContext: sum((b) => b.masks?.context.position.length ?? 0),
    tokensTarget: sum((b) => b.masks?.target.position.length ?? 0),
  };
}
