/** Small films of four kinds, a small pretrained model, and the command run on them. */

import { writeFilm } from "@avjepa/data";
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";

export const root = join(import.meta.dir, "../..");

/** Kinds of films: red or blue, with a low or a high note. */
export const kinds = 4;

/** A folder with `train.csv` and `val.csv`, and a run in `run/`. */
export class Bench implements Disposable {
  readonly folder = mkdtempSync(join(tmpdir(), "avjepa-eval-"));

  static async make(counts = { train: 16, val: 8 }): Promise<Bench> {
    const bench = new Bench();
    for (const [split, count] of Object.entries(counts)) {
      const lines: string[] = [];
      for (let i = 0; i < count; i++) {
        const name = `${split}${i}.mp4`;
        // One test film is without sound.
        await film(bench.path(name), i % kinds, i, split === "val" && i === 5);
        lines.push(`${name} ${i % kinds}\n`);
      }
      writeFileSync(bench.path(`${split}.csv`), lines.join(""));
    }
    const { exitCode, err } = run("pretrain", [
      "configs/pretrain/av-vitt16.yaml",
      ...["--folder", bench.path("run"), "--steps", "2"],
      ...sets({
        "data.datasets": `[${bench.path("train.csv")}]`,
        "data.batch_size": 4,
        "data.crop_size": 32,
        "data.num_frames": 4,
        "data.sampling_rate": 2,
        "data.audio.duration": 0.32,
        "model.depth": 2,
        "model.pred_depth": 1,
        "model.pred_embed_dim": 48,
        "model.pred_num_heads": 3,
        "meta.dtype": "float32",
        "logging.online_probe_train": bench.path("train.csv"),
        "logging.online_probe_val": bench.path("val.csv"),
        "logging.online_probe_every_steps": 2,
      }),
    ]);
    if (exitCode !== 0) throw new Error(err);
    return bench;
  }

  path(name: string): string {
    return join(this.folder, name);
  }

  /** Options that make an evaluation small and its data ours. */
  small(out: string, more: Record<string, unknown> = {}): string[] {
    return [
      ...["--folder", this.path(out)],
      ...sets({
        "pretrain.folder": this.path("run"),
        "pretrain.checkpoint": "null",
        "pretrain.model_name": "vit_tiny",
        "data.dataset_train": this.path("train.csv"),
        "data.dataset_val": this.path("val.csv"),
        "data.num_classes": kinds,
        "data.num_segments": 1,
        "data.num_views_per_segment": 1,
        "data.frames_per_clip": 4,
        "data.frame_step": 2,
        "data.num_workers": 2,
        "optimization.resolution": 32,
        "optimization.num_epochs": 1,
        "optimization.batch_size": 8,
        "optimization.use_bfloat16": false,
        "probe.lr": "[0.001]",
        "probe.depth": "[1]",
        "probe.linear": false,
        "probe.knn": 0,
        ...more,
      }),
    ];
  }

  result(out: string): Record<string, any> {
    return JSON.parse(
      readFileSync(join(this.path(out), "result.json"), "utf8"),
    );
  }

  [Symbol.dispose](): void {
    rmSync(this.folder, { recursive: true, force: true });
  }
}

/** `--set` arguments. */
export const sets = (values: Record<string, unknown>): string[] =>
  Object.entries(values).flatMap(([key, value]) => [
    "--set",
    `${key}=${value}`,
  ]);

/** Other devices are looked for where none is named. */
export const cpu = ["--devices", "cpu"];

/** Runs a command to its end; on the CPU unless told otherwise. */
export function run(
  command: "pretrain" | "eval",
  args: readonly string[],
  device: readonly string[] = cpu,
) {
  const script = join(root, `scripts/${command}.ts`);
  const { stdout, stderr, exitCode } = Bun.spawnSync(
    [process.execPath, script, ...args, ...device],
    { cwd: root },
  );
  return { out: String(stdout), err: String(stderr), exitCode };
}

/** Half a second of one colour with a note. */
async function film(
  path: string,
  kind: number,
  seed: number,
  mute: boolean,
): Promise<void> {
  const [width, height, fps, count] = [48, 32, 25, 13];
  const frames = new Uint8Array(count * height * width * 3);
  for (let i = 0; i < frames.length; i += 3) {
    frames[i + (kind % 2 === 0 ? 0 : 2)] = 200;
    frames[i + 1] = (seed * 37 + i * 7) % 60;
  }
  const pitch = (kind < 2 ? 300 : 1200) + 5 * seed;
  const sound = Float32Array.from(
    { length: (16_000 * count) / fps },
    (_, t) => 0.5 * Math.sin((2 * Math.PI * pitch * t) / 16_000),
  );
  await writeFilm(path, {
    width,
    height,
    fps,
    frames,
    ...(mute ? {} : { sound }),
  });
}
