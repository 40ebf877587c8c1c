/** Attentive classifiers, with and without the projection after cross-attention. */

import type { DType } from "@avjepa/core";
import { AttentiveClassifier } from "@avjepa/models";
import type { ParityCase } from "../case.ts";
import {
  backwardLoss,
  compareInputGradient,
  compareOutputs,
} from "./outputs.ts";

export async function runPooler(
  given: ParityCase,
  dtype: DType,
): Promise<void> {
  const { hyper } = given;
  if (hyper.ln_eps !== 1e-5 || !hyper.qkv_bias)
    throw new Error("poolers have layer norms of eps 1e-5 and biases");
  using classifier = new AttentiveClassifier({
    dim: hyper.embed_dim,
    numHeads: hyper.num_heads,
    depth: hyper.depth,
    classes: hyper.num_classes,
    mlpRatio: hyper.mlp_ratio,
    projection: hyper.apply_xattn_proj ? "applied" : "unused",
    dtype,
  });
  given.loadParameters(classifier);
  const x = given.tensor("x", { dtype, requiresGrad: true });
  const logits = classifier.forward(x);
  await compareOutputs(given, logits);
  if (!(await backwardLoss(given, logits, dtype))) return;
  await given.compareGradients(classifier);
  await compareInputGradient(given, "x", x);
}
