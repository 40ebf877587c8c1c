/**
 * A decoder from the feature of a token to what the token shows: a small MLP
 * for each modality, so that what it draws must be in the feature.
 */

import { Generator, layerNorm, nn, scope, type Tensor } from "@avjepa/core";

/** Size of a decoder. */
export interface PixelDecoderOptions {
  /** Width of the features. */
  dim: number;
  /** Default 512. */
  hidden?: number;
  /** Values of a patch of each modality; 0: the decoder has none of it. */
  videoPatch: number;
  audioPatch: number;
  seed?: number;
  device?: string;
}

/** Where a feature comes from: the encoder saw the token, or the predictor guessed it. */
export type FeatureSource = "visible" | "masked";

/** Layer norm, two hidden layers, the patch's values. */
class PatchHead extends nn.Module {
  readonly fc1: nn.Linear;
  readonly fc2: nn.Linear;
  readonly out: nn.Linear;

  constructor(
    dim: number,
    hidden: number,
    values: number,
    options: { device?: string; generator: Generator },
  ) {
    super();
    this.fc1 = new nn.Linear(dim, hidden, options);
    this.fc2 = new nn.Linear(hidden, hidden, options);
    this.out = new nn.Linear(hidden, values, options);
  }

  /** @param x `[n, D]` @returns `[n, values]` */
  forward(x: Tensor): Tensor {
    return scope(() => {
      const normed = layerNorm(x, null, null, 1e-5);
      const h = this.fc1.forward(normed, { gelu: true });
      return this.out.forward(this.fc2.forward(h, { gelu: true }));
    });
  }
}

/** Draws patches of picture and sound from features. */
export class PixelDecoder extends nn.Module {
  readonly visibleVideo: PatchHead | null;
  readonly maskedVideo: PatchHead | null;
  readonly visibleAudio: PatchHead | null;
  readonly maskedAudio: PatchHead | null;

  constructor(options: PixelDecoderOptions) {
    super();
    const { dim, hidden = 512, videoPatch, audioPatch, seed = 0 } = options;
    const { device } = options;
    const generator = new Generator(seed);
    const where = { generator, ...(device === undefined ? {} : { device }) };
    const head = (values: number) =>
      values === 0 ? null : new PatchHead(dim, hidden, values, where);
    this.visibleVideo = head(videoPatch);
    this.maskedVideo = head(videoPatch);
    this.visibleAudio = head(audioPatch);
    this.maskedAudio = head(audioPatch);
  }

  /** @param x `[n, D]` features of one modality and source @returns `[n, values]` */
  forward(
    x: Tensor,
    modality: "video" | "audio",
    source: FeatureSource,
  ): Tensor {
    const head =
      modality === "video"
        ? { visible: this.visibleVideo, masked: this.maskedVideo }[source]
        : { visible: this.visibleAudio, masked: this.maskedAudio }[source];
    if (head === null) throw new TypeError(`the decoder has no ${modality}`);
    return head.forward(x);
  }
}
