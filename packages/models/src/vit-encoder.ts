/** What the encoders share: blocks and a last norm over the tokens that each embeds in its own way. */

import { nn, scope } from "@avjepa/core";
import { type Embedded, encode, encodeLayers, type Trunk } from "./encode.ts";
import type { EncoderInput } from "./input.ts";
import type { PackedIndices, Tokens } from "./tokens.ts";

/** A vision transformer that gives the features of the tokens it is shown. */
export abstract class VitEncoder extends nn.Module {
  /** The input's tokens at the positions to keep; without `indices` all that are there. */
  protected abstract embed(
    input: EncoderInput,
    indices?: PackedIndices,
  ): Embedded;

  protected abstract get trunk(): Trunk;

  /**
   * @param input what EncoderInput says, of the modalities that the encoder
   *   has; another size than the constructor's has its positions interpolated.
   * @param indices tokens to keep, under any number of masks at once; default all.
   * @returns the kept tokens' features, in the order of `indices`.
   * @throws AvjepaError AVJ_SHAPE when input or indices do not fit.
   */
  forward(input: EncoderInput, indices?: PackedIndices): Tokens {
    return scope(() => encode(this.trunk, this.embed(input, indices)));
  }

  /** The features after some blocks (counted from 0), each through the last norm. */
  forwardLayers(
    input: EncoderInput,
    layers: readonly number[],
    indices?: PackedIndices,
  ): Tokens[] {
    return scope(() =>
      encodeLayers(this.trunk, this.embed(input, indices), layers),
    );
  }
}
