/** A whole pretraining run: masks, encoder, predictor, target, loss, clipping, AdamW, moving average. */

import { type DType, noGrad, optim, scope, tensor } from "@avjepa/core";
import {
  type EncoderInput,
  jepaLoss,
  packMasks,
  type PackedIndices,
} from "@avjepa/models";
import type { ParityCase } from "../case.ts";
import { type Fill, fillValues } from "../fill.ts";
import { makeEncoder, makePredictor } from "./models.ts";
import { schedulesOf } from "./schedules.ts";

export async function runTrajectory(
  given: ParityCase,
  dtype: DType,
): Promise<void> {
  const { hyper } = given;
  const audible = hyper.batch_fill.audio !== undefined;
  using encoder = makeEncoder(given, hyper.encoder, audible, dtype);
  using predictor = makePredictor(
    given,
    hyper.predictor,
    audible,
    dtype,
    encoder,
  );
  given.loadParameters(encoder, "encoder.");
  given.loadParameters(predictor, "predictor.");
  using target = encoder.clone({ frozen: true });
  const adamw = new optim.AdamW([encoder, predictor], {
    betas: hyper.betas,
    eps: hyper.eps,
  });
  const { lrAt, wdAt, emaAt } = schedulesOf(given);
  const losses: number[] = [];
  const norms: number[] = [];
  for (let i = 0; i < hyper.steps; i++) {
    const read = scope(() => {
      const batch = readBatch(hyper.batch_fill, i, dtype);
      const [context, targets] = [
        stepMasks(given, "enc", i, audible),
        stepMasks(given, "pred", i, audible),
      ];
      const h = noGrad(() => target.forward(batch));
      const z = predictor.forward(encoder.forward(batch, context), targets);
      const loss = jepaLoss(z, h, {
        p: hyper.loss_exp,
        regCoeff: hyper.reg_coeff,
      });
      loss.backward();
      return [
        loss,
        ...adamw.step({
          lr: lrAt(i + 1),
          wd: wdAt(i + 1),
          clip: i >= hyper.clip_from_step ? hyper.clip : null,
          ema: { target, momentum: emaAt(i) },
        }),
      ];
    });
    const [loss, ...squares] = await Promise.all(
      read.map((value) => value.item()),
    );
    losses.push(loss as number);
    norms.push(...squares);
    for (const value of read) value.dispose();
  }
  given.compare("loss", losses);
  given.compare("grad_norm", norms);
  for (const [name, module] of Object.entries({
    encoder,
    predictor,
    target_encoder: target,
  })) {
    for (const [key, parameter] of module.namedParameters()) {
      const expected = `final.${name}.${key}`;
      if (given.has(expected)) await given.compareTensor(expected, parameter);
    }
  }
  adamw.dispose();
}

function readBatch(
  fills: Record<string, Fill & { shape: number[] }>,
  step: number,
  dtype: DType,
): EncoderInput {
  const read = (name: string) => {
    const fill = fills[name];
    if (fill === undefined) return undefined;
    const count = fill.shape.reduce((product, size) => product * size, 1);
    return tensor(fillValues(`${name}.${step}`, fill, count), fill.shape, {
      dtype,
    });
  };
  return { video: read("clip"), audio: read("audio") };
}

/** Masks of a step: `enc.<step>.<generator>`, or with sound `enc_v.…` and `enc_a.…`. */
function stepMasks(
  given: ParityCase,
  prefix: string,
  step: number,
  audible: boolean,
): PackedIndices {
  const lists = (name: string) => {
    const masks = [];
    for (let k = 0; given.has(`${name}.${step}.${k}`); k++)
      masks.push(given.rows(`${name}.${step}.${k}`));
    return masks;
  };
  return audible
    ? packMasks({ video: lists(`${prefix}_v`), audio: lists(`${prefix}_a`) })
    : packMasks({ video: lists(prefix) });
}
