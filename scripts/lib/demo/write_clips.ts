/** Writes the demo's clips and their indexes. */

import {
  existsSync,
  mkdirSync,
  readFileSync,
  rmSync,
  writeFileSync,
} from "node:fs";
import { join } from "node:path";
import { RandomStream, writeFilm } from "@avjepa/data";

import {
  drawsOf,
  fps,
  questions,
  renderFrames,
  renderSound,
  type Scene,
  sampleRate,
  size,
  values,
} from "./scene.ts";

/** Clips by their number, those of training first. */
export interface DemoClips {
  train: { index: string; scenes: Scene[] };
  test: { index: string; scenes: Scene[] };
}

const seed = 0;
/** Films that are written at a time: encoding is on threads. */
const atOnce = 4;

/**
 * Writes `train/`, `test/` and their indexes below `folder`; what is there
 * already stays.
 *
 * @param onClip called with the number of clips done.
 */
export async function writeClips(
  folder: string,
  counts: { train: number; test: number },
  onClip: (done: number) => void,
): Promise<DemoClips> {
  const total = counts.train + counts.test;
  const scenes = balancedScenes(total);
  const splits = {
    train: scenes.slice(0, counts.train),
    test: scenes.slice(counts.train),
  };
  const clips = {
    train: { index: join(folder, "train.csv"), scenes: splits.train },
    test: { index: join(folder, "test.csv"), scenes: splits.test },
  };
  const recipe = JSON.stringify({ seed, ...counts, scene: sourceOfScene() });
  const mark = join(folder, "recipe.json");
  if (existsSync(mark) && readFileSync(mark, "utf8") === recipe) return clips;
  rmSync(folder, { recursive: true, force: true });

  let number = 0;
  for (const [name, own] of Object.entries(splits)) {
    mkdirSync(join(folder, name), { recursive: true });
    const lines: string[] = [];
    let writing: Promise<void>[] = [];
    for (const [i, scene] of own.entries()) {
      const file = `${name}/${String(i).padStart(4, "0")}.mp4`;
      const draws = drawsOf(seed, number);
      const frames = renderFrames(scene, draws);
      const sound = renderSound(scene, draws);
      const film = {
        width: size,
        height: size,
        fps,
        frames,
        sound,
        sampleRate,
      };
      writing.push(writeFilm(join(folder, file), film));
      lines.push(`${file} ${questions.class(scene)}\n`);
      number += 1;
      if (writing.length < atOnce && i < own.length - 1) continue;
      await Promise.all(writing);
      writing = [];
      onClip(number);
    }
    writeFileSync(join(folder, `${name}.csv`), lines.join(""));
  }
  writeFileSync(mark, recipe);
  return clips;
}

/** Every pair of factors equally often, shuffled. */
function balancedScenes(count: number): Scene[] {
  const order = new RandomStream("numpy", seed).draw("permutation", [count]);
  return Array.from(order, (i) => ({
    side: i % values,
    note: Math.floor(i / values) % values,
  }));
}

/** Clips of another version of the scene are written anew. */
function sourceOfScene(): string {
  const source = readFileSync(join(import.meta.dir, "scene.ts"));
  return new Bun.CryptoHasher("sha256").update(source).digest("hex");
}
