/** What becomes of pictures: boxes, image operations, resizes, whole pipelines. */

import { native } from "@avjepa/core";
import type { ParityCase } from "../case.ts";

export function runTransforms(given: ParityCase): void {
  const run = operations[given.hyper.op as string];
  if (run === undefined)
    throw new Error(`${given.path}: there is no operation ${given.hyper.op}`);
  run(given);
}

const operations: Record<string, (given: ParityCase) => void> = {
  crop_bilinear_normalise: cropBilinearNormalise,
  crop_boxes: boxes,
  erasing_boxes: boxes,
  randaugment_ops: imageOperations,
  autoaugment_ops: imageOperations,
  cv2_short_side_center_crop: resize,
  pil_short_side_center_crop: resize,
  pil_resize: resize,
  pipeline,
};

const bytes = (given: ParityCase, name: string) =>
  given.host(name) as Uint8Array;

/** The sizes in front of the three channels. */
const sizes = (given: ParityCase, name: string) =>
  given.shape(name).slice(0, -1);

function cropBilinearNormalise(given: ParityCase): void {
  const { boxes_ijhw, ...settings } = given.hyper;
  for (const [k, box] of (boxes_ijhw as number[][]).entries())
    given.compare(
      `out.${k}`,
      native.mediaCropResize(
        bytes(given, "frames"),
        sizes(given, "frames"),
        JSON.stringify({ ...settings, box }),
      ),
    );
}

function boxes(given: ParityCase): void {
  given.compare("boxes", native.mediaBoxes(JSON.stringify(given.hyper)));
}

function imageOperations(given: ParityCase): void {
  const { entries, fill } = given.hyper;
  for (const entry of entries as { tensor: string }[])
    given.compare(
      entry.tensor,
      native.mediaImageOp(
        bytes(given, "image"),
        sizes(given, "image"),
        JSON.stringify({ fill, ...entry }),
      ),
    );
}

function resize(given: ParityCase): void {
  const { hyper } = given;
  const found = native.mediaResize(
    bytes(given, "image"),
    sizes(given, "image"),
    JSON.stringify(hyper),
  );
  const names = hyper.op === "pil_resize" ? ["out"] : ["resized", "cropped"];
  for (const [i, name] of names.entries()) {
    const size = sizes(given, name);
    given.require(
      String(found.sizes[i]) === String(size),
      `${name} is [${found.sizes[i]}], expected [${size}]`,
    );
    given.compare(name, found.data[i]!);
  }
  if (hyper.op !== "pil_resize" && given.has("out"))
    given.compare(
      "out",
      native.mediaNormalise(
        found.data[1]!,
        [1, ...found.sizes[1]!],
        JSON.stringify(hyper),
      ),
    );
}

function pipeline(given: ParityCase): void {
  const image = given.has("image");
  const name = image ? "image" : "frames";
  const shape = sizes(given, name);
  const views = native.mediaPipeline(
    bytes(given, name),
    image ? [1, ...shape] : shape,
    JSON.stringify(given.hyper),
  );
  for (const [i, view] of views.entries()) given.compare(`out.${i}`, view);
}
