/** Small clips, small models, and the command run on them. */

import {
  mkdtempSync,
  readFileSync,
  readdirSync,
  rmSync,
  writeFileSync,
} from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";

export const root = join(import.meta.dir, "../..");

/** A folder with clips of sound and picture, `clips.csv` and `mute.csv` in it. */
export class Clips implements Disposable {
  readonly folder = mkdtempSync(join(tmpdir(), "avjepa-pretrain-"));

  /** @param count files; one in four is without sound. */
  constructor(count = 8) {
    for (let i = 0; i < count; i++) {
      const mute = i % 4 === 3;
      ffmpeg(
        this.path(`clip${i}.mp4`),
        `-f lavfi -i testsrc2=size=64x48:rate=25:duration=1.6,hue=h=${45 * i}` +
          (mute
            ? ""
            : ` -f lavfi -i sine=frequency=${220 + 60 * i}:sample_rate=16000:duration=1.6 -c:a aac`) +
          " -c:v mpeg4 -q:v 5",
      );
    }
    const lines = Array.from(
      { length: count },
      (_, i) => `clip${i}.mp4 ${i % 2}\n`,
    );
    writeFileSync(this.path("clips.csv"), lines.join(""));
  }

  path(name: string): string {
    return join(this.folder, name);
  }

  [Symbol.dispose](): void {
    rmSync(this.folder, { recursive: true, force: true });
  }
}

/** Runs the ffmpeg program; its arguments are split at spaces. */
export function ffmpeg(output: string, args: string): void {
  const command = [
    "ffmpeg",
    "-nostdin",
    "-v",
    "error",
    "-y",
    ...args.split(" "),
    output,
  ];
  const { exitCode, stderr } = Bun.spawnSync(command);
  if (exitCode !== 0) throw new Error(`${command.join(" ")}: ${stderr}`);
}

/** `--set` arguments that make any shipped configuration small. */
export function small(index: string): string[] {
  const sets = {
    "data.datasets": `[${index}]`,
    "data.batch_size": 2,
    "data.crop_size": 32,
    "data.patch_size": 8,
    "data.num_frames": 4,
    "data.sampling_rate": 2,
    "data.num_workers": 2,
    "model.model_name": "vit_tiny",
    "model.depth": 2,
    "model.pred_depth": 2,
    "model.pred_embed_dim": 48,
    "model.pred_num_heads": 3,
    "meta.dtype": "float32",
  };
  return Object.entries(sets).flatMap(([key, value]) => [
    "--set",
    `${key}=${value}`,
  ]);
}

const script = join(root, "scripts/pretrain.ts");

/** Runs the command to its end. */
export function pretrain(...args: string[]) {
  const { stdout, stderr, exitCode } = Bun.spawnSync(
    [process.execPath, script, ...args],
    // Vulkan drivers complain on standard error where the folder is not named.
    { cwd: root, env: { XDG_RUNTIME_DIR: tmpdir(), ...process.env } },
  );
  return { out: String(stdout), err: String(stderr), exitCode };
}

/** Starts the command. */
export function startPretrain(...args: string[]) {
  return Bun.spawn([process.execPath, script, ...args], {
    cwd: root,
    stdout: "pipe",
    stderr: "pipe",
  });
}

/** Waits until `condition` holds; fails where that takes a minute. */
export async function until(condition: () => boolean): Promise<void> {
  for (let waited = 0; !condition(); waited += 5) {
    if (waited > 60_000) throw new Error("waited for a minute");
    await Bun.sleep(5);
  }
}

/** `config` arguments of a run of the given number of steps. */
export const stepsOf = (epochs: number, ipe: number): string[] => [
  "--set",
  `optimization.epochs=${epochs}`,
  "--set",
  `optimization.ipe=${ipe}`,
  "--set",
  "optimization.warmup=1",
];

/** `metrics.jsonl` without the keys that tell of time. */
export function metricsOf(
  folder: string,
  timeKeys: readonly string[] = [],
): Record<string, number>[] {
  return readFileSync(join(folder, "metrics.jsonl"), "utf8")
    .trimEnd()
    .split("\n")
    .map((line) => {
      const values = JSON.parse(line) as Record<string, number>;
      for (const key of timeKeys) delete values[key];
      return values;
    });
}

/** Every file of a checkpoint, by name. */
export function bytesOf(checkpoint: string): Record<string, string> {
  return Object.fromEntries(
    readdirSync(checkpoint)
      .sort()
      .map((name) => [
        name,
        new Bun.CryptoHasher("sha256")
          .update(readFileSync(join(checkpoint, name)))
          .digest("hex"),
      ]),
  );
}
