/**
 * Trains a few steps as one of several processes, and prints a line of JSON a
 * step: a hash of all weights, the loss, and which samples and masks it had.
 *
 *     bun steps.ts CONFIG_YAML STEPS mpi|nccl
 */

import { memory, scope } from "@avjepa/core";
import type { PackedIndices } from "@avjepa/models";
import {
  heldOutLoss,
  joinProcesses,
  loadPretrainConfig,
  makeTrainer,
  nextBatches,
  openDevice,
  planLaunch,
  toTrainBatch,
  trainStep,
  trainingClips,
  weightsOf,
} from "@avjepa/train";

const [config = "", steps = "1", through] = process.argv.slice(2);
const collective = through === "nccl" ? "nccl" : "mpi";
const launch = planLaunch({ devices: ["cpu"], collective });
const { config: resolved } = loadPretrainConfig(config, {
  world: launch.world,
});
const ranks = await joinProcesses(launch);
const trainer = makeTrainer(resolved, openDevice(launch.devices), ranks);
// Ranks that begin apart: the broadcast has to bring them together.
// (In a scope: what is left to the collector would be counted below, or not.)
if (ranks.rank > 0)
  scope(() => {
    for (const model of Object.values(trainer.models))
      for (const [, weights] of model.namedParameters())
        weights.copyFrom(weights.affine(0.5, ranks.rank));
  });
ranks.broadcast(Object.values(weightsOf(trainer.models)));

/** Float32, two a learned parameter. */
const moments = [trainer.models.encoder, trainer.models.predictor]
  .flatMap((model) => model.parameters())
  .filter(({ requiresGrad }) => requiresGrad)
  .reduce((bytes, { size }) => bytes + 8 * size, 0);
await using loader = trainingClips(resolved, ranks, { pass: 0, position: 0 });
const accum = resolved.optimization.grad_accum;
for (let step = 1; step <= Number(steps); step++) {
  const batches = await nextBatches(loader, accum);
  const result = await trainStep(trainer, batches.map(toTrainBatch), {
    step,
    lr: 1e-3,
    wd: 0.04,
    momentum: 0.99,
    clip: 1,
    sampleFeatures: false,
  });
  const line = {
    rank: ranks.rank,
    engine: ranks.engine,
    step,
    loss: result.loss,
    weights: await hashOfWeights(),
    memory: memory("cpu").bytes,
    moments,
    samples: batches.flatMap(({ indices, passes }) =>
      Array.from(indices, (index, i) => [passes[i], index]),
    ),
    masks: batches.flatMap(({ masks }) =>
      masks ? [...masksOfSamples(masks.context, masks.target)] : [],
    ),
  };
  process.stdout.write(`${JSON.stringify(line)}\n`);
}
if (resolved.data.held_out.length > 0) {
  const heldOut = (await heldOutLoss(trainer))?.loss;
  process.stdout.write(`${JSON.stringify({ rank: ranks.rank, heldOut })}\n`);
}
await ranks.close();
process.exit(0);

/** Every sample's kept tokens, context and targets under each mask. */
function* masksOfSamples(...lists: PackedIndices[]): Generator<string> {
  for (let sample = 0; sample < (lists[0]?.samples ?? 0); sample++)
    yield lists
      .flatMap(({ samples, masks, offsets, position, modality }) =>
        Array.from({ length: masks }, (_, mask) => {
          const s = mask * samples + sample;
          const range = [offsets[s], offsets[s + 1]] as const;
          return `${modality.slice(...range)} ${position.slice(...range)}`;
        }),
      )
      .join(";");
}

async function hashOfWeights(): Promise<string> {
  const hash = new Bun.CryptoHasher("sha256");
  for (const weights of Object.values(weightsOf(trainer.models)))
    hash.update((await weights.toArray()) as Float32Array);
  return hash.digest("hex");
}
