import { noGrad, tensor } from "@avjepa/core";
import { allTokens, VideoEncoder } from "@avjepa/models";
import { describe, expect, test } from "bun:test";

import { FrameByFrame } from "./frame_by_frame.ts";

const [rows, time, side] = [3, 4, 32];
const places = (side / 16) ** 2;
const pixels = Uint8Array.from(
  { length: rows * time * side * side * 3 },
  (_, i) => (i * 7919) % 251,
);

describe("a model of pictures", () => {
  const encoder = new VideoEncoder({
    embedDim: 24,
    depth: 1,
    numHeads: 2,
    frames: 1,
    crop: side,
  });
  const byFrame = new FrameByFrame(encoder);
  const pictures = tensor(pixels, [rows * time, side, side, 3]);
  const clips = pictures.reshape(rows, time, side, side, 3);

  test("sees each frame of a clip as it sees a picture", async () => {
    const video = allTokens(rows, { video: time * places });
    const found = noGrad(() =>
      byFrame.forward({ video: clips, present: video }),
    );
    const wanted = noGrad(() => encoder.forward({ video: pictures }));
    expect(found.indices.offsets).toEqual(Int32Array.of(0, 16, 32, 48));
    expect(await found.data.toArray()).toEqual(await wanted.data.toArray());
  });

  test("takes normalised pixels, and rows without a picture", async () => {
    const floats = noGrad(() =>
      clips.cast("float32").mul(0.01).permute(0, 4, 1, 2, 3),
    );
    const every = Array.from({ length: time * places }, (_, i) => i);
    const present = allTokens(rows, { video: [every, [], every] });
    const found = noGrad(() => byFrame.forward({ video: floats, present }));
    expect(found.indices.offsets).toEqual(Int32Array.of(0, 16, 16, 32));
    const first = noGrad(() =>
      encoder.forward({
        video: pictures.cast("float32").mul(0.01).permute(0, 3, 1, 2),
      }),
    );
    const [own, all] = [await found.data.toArray(), await first.data.toArray()];
    const clip = time * places * 24;
    expect(own.slice(0, clip)).toEqual(all.slice(0, clip));
    expect(own.slice(clip)).toEqual(all.slice(2 * clip));
  });

  test("hears nothing", () => {
    expect(() => byFrame.forward({ audio: clips })).toThrow("is given clips");
  });
});
