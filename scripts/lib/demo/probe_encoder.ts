/** What can be read from an encoder's frozen features of the demo's clips. */

import { type ClipBatch, ClipLoader } from "@avjepa/data";
import {
  encodeBatch,
  encodeIndex,
  predictAll,
  ProbeGrid,
  ProbeTraining,
  TokenCache,
  type TokenSet,
} from "@avjepa/evals";
import type { AudioVideoEncoder, Modality } from "@avjepa/models";
import { modelDims, type ResolvedPretrainConfig } from "@avjepa/train";
import { rmSync } from "node:fs";

import { questions, values } from "./scene.ts";
import type { DemoClips } from "./write_clips.ts";

/** What the encoder is given. */
export const views = {
  both: ["video", "audio"],
  picture: ["video"],
  sound: ["audio"],
} satisfies Record<string, Modality[]>;

/** What is asked of which view. */
export const asked = {
  both: ["class", "side", "note"],
  picture: ["class", "side"],
  sound: ["class", "note"],
} satisfies Record<keyof typeof views, (keyof typeof questions)[]>;

/** The same for every encoder, view and question. The learning rate falls by a cosine to 0. */
const probe = { batch: 32, lr: 1e-3, weight_decay: 0.01, depth: 1 };

/**
 * What two factors make together is learned long after each of them is, and
 * from random features later still: 32 epochs were enough for those, too.
 */
const epochs = { class: 22, side: 4, note: 12 };

/** Clips that are encoded, or tested, at once. */
const many = 100;

/** Fractions of the test clips answered rightly, by view and question. */
export type Accuracy = Record<keyof typeof views, Record<string, number>>;

/** An encoder, and what its tokens are called. */
export interface ProbedEncoder {
  encoder: AudioVideoEncoder;
  /** Distinguishes its weights from those of others. */
  weights: string;
  config: ResolvedPretrainConfig;
  device: string;
}

/**
 * Trains attentive probes on the training clips' tokens and tests them.
 *
 * @param folder for the tokens, which are removed in the end.
 * @param progress is told what is being done.
 */
export async function probeEncoder(
  probed: ProbedEncoder,
  clips: DemoClips,
  folder: string,
  progress: (text: string) => void,
): Promise<Accuracy> {
  const train = await tokensOf(probed, clips.train, folder, progress);
  const test = await tokensOf(probed, clips.test, folder, progress);
  const accuracy: Accuracy = { both: {}, picture: {}, sound: {} };
  for (const view of Object.keys(views) as (keyof typeof views)[]) {
    const sets = { train: await train.open(view), test: await test.open(view) };
    for (const question of asked[view]) {
      const answers = {
        train: clips.train.scenes.map(questions[question]),
        test: clips.test.scenes.map(questions[question]),
      };
      accuracy[view][question] = await answered(
        probed,
        sets,
        answers,
        epochs[question],
        (text) => progress(`probing ${view} for ${question}: ${text}`),
      );
    }
  }
  rmSync(folder, { recursive: true, force: true });
  return accuracy;
}

/** The tokens of all views of some clips. */
async function tokensOf(
  { encoder, weights, config, device }: ProbedEncoder,
  { index, scenes }: DemoClips["train"],
  folder: string,
  progress: (text: string) => void,
): Promise<TokenCache> {
  const { data, data_aug } = config;
  const sequences = {
    segments: 1,
    views: 1,
    attend: true,
    dtype: "float32",
    bfloat16: false,
    replaces: true,
  } as const;
  const cache = new TokenCache(folder, {
    ...sequences,
    weights,
    index,
    inputs: Object.keys(views),
  });
  await encodeIndex(cache, {
    encode: (batch: ClipBatch, position) =>
      encodeBatch(encoder, batch, position, { ...sequences, inputs: views }),
    total: scenes.length,
    batch: many,
    open: (position) =>
      new ClipLoader(index, {
        data: { ...data },
        dataAug: { ...data_aug },
        batch: many,
        order: "sequential",
        passes: 1,
        cursor: { pass: 0, position },
        device,
      }),
    onBatch: (done) => progress(`tokens of ${done} clips`),
  });
  return cache;
}

/** The fraction of test clips that a probe answers rightly. */
async function answered(
  { config, device }: ProbedEncoder,
  sets: { train: TokenSet; test: TokenSet },
  answers: { train: number[]; test: number[] },
  epochs: number,
  progress: (text: string) => void,
): Promise<number> {
  using grid = new ProbeGrid([probe], {
    dim: sets.train.dim,
    numHeads: modelDims(config).num_heads,
    classes: values,
    projection: "applied",
    blocks: "after",
    multiLabel: false,
    seed: 0,
    device,
    bfloat16: false,
    clip: null,
  });
  const training = new ProbeTraining(grid, {
    ...probe,
    epochs,
    sets: [sets.train],
    labels: answers.train,
    samples: Int32Array.from(answers.train.keys()),
    seed: 0,
    settings: (step) => ({
      lr: (probe.lr / 2) * (1 + Math.cos((Math.PI * (step - 1)) / steps)),
      wd: probe.weight_decay,
    }),
  });
  const { steps } = training;
  while (training.step < steps) {
    await training.next();
    progress(`${Math.round((100 * training.step) / steps)} %`);
  }
  const clips = Int32Array.from(answers.test.keys());
  const [found] = await predictAll(grid, sets.test, clips, answers.test, {
    batch: many,
  });
  const right = found!.ranks.filter((rank) => rank === 0);
  return right.length / clips.length;
}
