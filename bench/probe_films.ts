/**
 * Films whose classes overlap: what probes are compared on. Of each film the
 * light's side and the note lie around its class's, and the best that can be
 * done is well below 100 %, so that a better or worse training shows.
 *
 *     bun bench/probe_films.ts FOLDER [TRAIN] [TEST]
 *
 * writes `train.csv` (2,000 films) and `test.csv` (3,000) to FOLDER.
 */

import { RandomStream, writeFilm } from "@avjepa/data";
import { mkdirSync, writeFileSync } from "node:fs";
import { join } from "node:path";

import {
  drawsOf,
  fps,
  renderFrames,
  renderSound,
  sampleRate,
  size,
} from "../scripts/lib/demo/scene.ts";

const classes = 6;
const seed = 7;
/** Deviation of side and note, where classes are 4/6 and 3/6 apart. */
const spread = { side: 0.5, note: 0.45 };
/** Films that are written at a time: encoding is on threads. */
const atOnce = 4;

const [folder, ...counts] = process.argv.slice(2);
if (folder === undefined) throw new Error("which folder?");
const [train = 2000, test = 3000] = counts.map(Number);
mkdirSync(folder, { recursive: true });

let number = 0;
for (const [name, count] of Object.entries({ train, test })) {
  mkdirSync(join(folder, name), { recursive: true });
  const lines: string[] = [];
  for (let at = 0; at < count; at += atOnce) {
    const films: Promise<void>[] = [];
    for (let i = at; i < Math.min(count, at + atOnce); i++) {
      const own = i % classes;
      const file = `${name}/${String(i).padStart(5, "0")}.mp4`;
      films.push(film(join(folder, file), own, drawsOf(seed, number++)));
      lines.push(`${file} ${own}\n`);
    }
    await Promise.all(films);
  }
  writeFileSync(join(folder, `${name}.csv`), lines.join(""));
}

function film(path: string, own: number, draws: RandomStream): Promise<void> {
  const [a = 0, b = 0] = draws.draw("normal", [0, 1], 2);
  const scene = {
    side: (4 / classes) * own + spread.side * a,
    note: (3 / classes) * own + spread.note * b,
  };
  const frames = renderFrames(scene, draws);
  const sound = renderSound(scene, draws);
  return writeFilm(path, {
    width: size,
    height: size,
    fps,
    frames,
    sound,
    sampleRate,
  });
}
