import { expect, test } from "bun:test";

import { vitSizes } from "@avjepa/models";

import { modelNames, modelSizes } from "./model.ts";

test("the named sizes are those of the models", () => {
  expect(Object.keys(modelSizes)).toEqual([...modelNames]);
  expect(
    Object.fromEntries(
      Object.entries(modelSizes).map(([name, size]) => [
        name,
        {
          embedDim: size.embed_dim,
          depth: size.depth,
          numHeads: size.num_heads,
          mlpRatio: size.mlp_ratio,
        },
      ]),
    ),
  ).toEqual(vitSizes);
});
