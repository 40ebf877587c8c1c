/** The objective, its parts and its gradient. */

import {
  concat,
  type DType,
  layerNorm,
  type Tensor,
  tensor,
} from "@avjepa/core";
import {
  allTokens,
  jepaLossTerms,
  locate,
  oneMask,
  type PackedIndices,
  Tokens,
} from "@avjepa/models";
import type { ParityCase } from "../case.ts";
import { readMasks } from "./outputs.ts";

export async function runLoss(given: ParityCase, dtype: DType): Promise<void> {
  const { p, reg_coeff: regCoeff, batch, tokens, dim, masks } = given.hyper;
  const targets = readMasks(given, "pred", null) as PackedIndices;
  const predictions: Tensor[] = Array.from({ length: masks }, (_, k) =>
    given.tensor(`z.${k}`, { dtype, requiresGrad: true }),
  );
  const z = new Tokens(
    concat(predictions.map((part) => part.reshape(-1, dim))),
    targets,
  );
  const h = new Tokens(
    given.tensor("h", { dtype }).reshape(batch * tokens, dim),
    allTokens(batch, { video: tokens }),
  );
  const { loss, jepa, reg } = jepaLossTerms(z, h, { p, regCoeff });
  loss.backward();
  given.compare("loss", [await loss.item()]);
  given.compare("loss_jepa", [await jepa.item()]);
  given.compare("loss_reg", [await reg.item()]);
  const normalised = layerNorm(h.data, null, null, 1e-5);
  for (const [k, part] of predictions.entries()) {
    const rows = locate(h.indices, oneMask(targets, k));
    await given.compareTensor(
      `target.${k}`,
      normalised.indexSelect(tensor(rows)),
    );
    await given.compareTensor(`grad.z.${k}`, part.grad as Tensor);
  }
}
