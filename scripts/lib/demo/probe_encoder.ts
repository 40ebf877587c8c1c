/** What can be read from an encoder's frozen features of the demo's clips. */

import { ClipLoader } from "@avjepa/data";
import { extractFeatures, type Features, trainProbes } from "@avjepa/evals";
import type { AudioVideoEncoder, Modality } from "@avjepa/models";
import type { ResolvedPretrainConfig } from "@avjepa/train";

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

/** The same for every encoder, view and question. */
const probe = {
  epochs: 16,
  batch: 32,
  lr: 1e-3,
  weightDecay: 0.01,
  numHeads: 4,
};

/** Fractions of the test clips answered rightly, by view and question. */
export type Accuracy = Record<keyof typeof views, Record<string, number>>;

/**
 * Trains attentive probes on the training clips' features and tests them.
 *
 * @param progress is told what is being done.
 */
export async function probeEncoder(
  encoder: AudioVideoEncoder,
  config: ResolvedPretrainConfig,
  clips: DemoClips,
  progress: (text: string) => void,
): Promise<Accuracy> {
  const features = {
    train: await featuresOf(encoder, config, clips.train.index, progress),
    test: await featuresOf(encoder, config, clips.test.index, progress),
  };
  const accuracy: Partial<Accuracy> = {};
  for (const [i, view] of viewNames.entries()) {
    const tasks = asked[view].map((name) => ({
      name,
      classes: values,
      train: clips.train.scenes.map(questions[name]),
      test: clips.test.scenes.map(questions[name]),
    }));
    accuracy[view] = await trainProbes(
      features.train[i]!,
      features.test[i]!,
      tasks,
      {
        ...probe,
        onStep: (done) =>
          progress(`probing ${view}: ${Math.round(100 * done)} %`),
      },
    );
  }
  return accuracy as Accuracy;
}

const viewNames = Object.keys(views) as (keyof typeof views)[];

/** By view. */
async function featuresOf(
  encoder: AudioVideoEncoder,
  config: ResolvedPretrainConfig,
  index: string,
  progress: (text: string) => void,
): Promise<Features[]> {
  const { data, data_aug } = config;
  await using loader = new ClipLoader(index, {
    data: { ...data },
    dataAug: { ...data_aug },
    batch: 100,
    order: "sequential",
    passes: 1,
  });
  const found = await extractFeatures(
    encoder,
    loader,
    Object.values(views),
    (done) => progress(`features of ${done} clips`),
  );
  return found.features;
}
