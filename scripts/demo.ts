/** The whole way on data of its own: bun run demo */

import "./lib/told.ts";

import { AvjepaError, describeDevice } from "@avjepa/core";
import type { AudioVideoEncoder } from "@avjepa/models";
import {
  type Checkpoint,
  exitStopped,
  formatDuration,
  initialiseFrom,
  loadPretrainConfig,
  makeTrainer,
  openCheckpoint,
  openDevice,
  single,
  trainingClips,
} from "@avjepa/train";
import { writeFileSync } from "node:fs";
import { cpus } from "node:os";
import { join } from "node:path";

import { makeCommand, printer, runCommand } from "./lib/cli.ts";
import { writeClipPicture } from "./lib/demo/picture.ts";
import { probeEncoder } from "./lib/demo/probe_encoder.ts";
import { values } from "./lib/demo/scene.ts";
import { formatTable, type Row } from "./lib/demo/table.ts";
import { writeClips } from "./lib/demo/write_clips.ts";

const counts = { train: 3000, test: 2000 };
/** Of the encoders that have learned nothing, which the pretrained one is compared with. */
const randomSeeds = [101, 102, 103];
const config = "configs/pretrain/demo.yaml";

const command = makeCommand({
  name: "demo",
  summary:
    "Write films with sound, pretrain a small AV-JEPA on them, and probe what it has learned beside three encoders that have not.",
  common: ["folder", "devices", "json"],
  examples: ["bun run demo", "bun run demo --folder /tmp/demo"],
});

await runCommand(command, async (options) => {
  const begun = performance.now();
  const folder =
    options.folder ?? join(process.env.AVJEPA_RUNS || "runs", "demo");
  const device = openDevice(options.devices);

  // --- Films -------------------------------------------------------------------------------------------------------
  const total = counts.train + counts.test;
  stage(`writing ${total} films with sound to ${join(folder, "data")}`);
  const clips = await writeClips(join(folder, "data"), counts, (done) =>
    progress(`${done} of ${total} films`),
  );

  // --- Pretraining: what any user runs -----------------------------------------------------------------------------
  const pretrain = [
    ...["pretrain.ts", config, "--folder", folder],
    ...["--set", `data.datasets=[${clips.train.index}]`],
    ...options.devices.flatMap((name) => ["--devices", name]),
  ];
  stage(`bun scripts/${pretrain.join(" ")}`);
  const script = join(import.meta.dir, pretrain[0]!);
  const child = Bun.spawn([process.execPath, script, ...pretrain.slice(1)], {
    stdio: ["ignore", options.json ? "ignore" : "inherit", "inherit"],
  });
  // A terminal's Ctrl-C reaches the child by itself; it saves, and this waits for it.
  const wait = () => {};
  const pass = () => child.kill("SIGTERM");
  process.on("SIGINT", wait).on("SIGTERM", pass);
  const exitCode = await child.exited;
  process.off("SIGINT", wait).off("SIGTERM", pass);
  if (exitCode === exitStopped) return { exitCode };
  if (exitCode !== 0)
    throw new AvjepaError("AVJ_DEMO", "pretraining did not finish", {
      hint: "its message is above; the same command goes on where it was",
    });

  // --- Probes ------------------------------------------------------------------------------------------------------
  const { config: run } = loadPretrainConfig(join(folder, "config.yaml"));
  const rows: Row[] = [];
  for (const seed of [null, ...randomSeeds]) {
    const name = seed === null ? "pretrained" : `random, seed ${seed}`;
    stage(`probing: ${name}`);
    const meta = { ...run.meta, seed: seed ?? run.meta.seed };
    const trainer = makeTrainer({ ...run, meta }, device, single);
    const checkpoint = await openCheckpoint(folder);
    if (seed === null) await initialiseFrom(trainer, checkpoint);
    const accuracy = await probeEncoder(
      {
        encoder: trainer.models.target as AudioVideoEncoder,
        weights: seed === null ? weightsOf(checkpoint) : name,
        config: run,
        device,
      },
      clips,
      join(folder, "tokens"),
      progress,
    );
    rows.push({ name, accuracy });
    stage(`${name}: ${percent(accuracy.both.class!)} % of the classes`);
  }

  // --- What came out -----------------------------------------------------------------------------------------------
  const picture = join(folder, "clip.png");
  await using loader = trainingClips(run, single, { pass: 0, position: 0 });
  writeClipPicture(picture, (await loader.next())!, 0);
  const seconds = (performance.now() - begun) / 1000;
  const machine = `${cpus()[0]?.model.trim()}, ${describeDevice(device)}`;
  const table = formatTable(rows, 1 / values);
  const time = `${formatDuration(seconds)} minutes on ${machine}`;
  const result = { seconds, machine, clips: counts, rows };
  writeFileSync(
    join(folder, "result.json"),
    `${JSON.stringify(result, null, 2)}\n`,
  );
  writeFileSync(join(folder, "table.md"), `${table}\n\n${time}\n`);
  stage(`accuracy on ${counts.test} clips that were held out, in per cent`);
  const print = printer(options.json);
  print(`\n${table}\n\n${time}`);
  for (const [what, path] of [
    ["run folder", folder],
    ["a clip, its spectrogram and its masks", picture],
    ["this table", join(folder, "table.md")],
  ])
    print(`${what}: ${path}`);
  return { result };
});

/** What distinguishes the weights of a checkpoint. */
function weightsOf({ state }: Checkpoint): string {
  return state.files["weights.safetensors"]!.sha256;
}

/** `79.9` */
function percent(fraction: number): string {
  return (100 * fraction).toFixed(1);
}

/** A line for what begins. */
function stage(text: string): void {
  progress("");
  process.stderr.write(`demo: ${text}\n`);
}

/** A live line on a terminal, and nothing elsewhere. */
function progress(text: string): void {
  if (process.stderr.isTTY) process.stderr.write(`\r\x1b[2K${text}`);
}
