/**
 * Floating-point operations of a step, counted by the algorithm and not by how
 * it is carried out: a product of `[m, k]` and `[k, n]` is `2·m·k·n`; attention
 * over L tokens of width D is `4·L²·D` (scores, and their product with the
 * values). Linear layers and attention cost three times their forward pass, as
 * backward makes two products of each; the target encoder only runs forward;
 * only kept tokens are embedded. Norms, softmax, GELU, loss and optimizer are
 * left out.
 */

import type { Length, MaskLength } from "./lengths.ts";
import type { ModelShape, Stack } from "./shape.ts";

/** Operations by kind: they run at different speeds. */
export interface Flops {
  linear: number;
  attention: number;
}

/** All of them. */
export const totalFlops = ({ linear, attention }: Flops): number =>
  linear + attention;

/**
 * One optimizer step over `clips` clips that all have these lengths.
 *
 * @param masks context and target tokens of a clip under each mask.
 * @param present tokens of a whole clip; default: the grids of what is seen.
 */
export function stepFlops(
  shape: ModelShape,
  masks: readonly MaskLength[],
  clips: number,
  present: Length = wholeClip(shape),
): Flops {
  const target = encode(shape, present);
  const learned = masks.map(({ context, target: hidden }) =>
    add(encode(shape, context), predict(shape, context, hidden)),
  );
  return times(
    learned.reduce((sum, part) => add(sum, times(part, 3)), target),
    clips,
  );
}

/** Tokens of a clip with nothing missing. */
export function wholeClip({ video, audio }: ModelShape): Length {
  return {
    video: video.seen ? video.tokens : 0,
    audio: audio?.seen ? audio.tokens : 0,
  };
}

/** The encoder, forward, over one sequence. */
function encode(shape: ModelShape, { video, audio }: Length): Flops {
  const { encoder } = shape;
  const embedded =
    video * shape.video.columns + audio * (shape.audio?.columns ?? 0);
  return add(stack(encoder, video + audio), {
    linear: 2 * embedded * encoder.dim,
    attention: 0,
  });
}

/** The predictor, forward, over one sequence. */
function predict(
  { encoder, predictor }: ModelShape,
  context: Length,
  target: Length,
): Flops {
  const seen = context.video + context.audio;
  const hidden = target.video + target.audio;
  return add(stack(predictor, seen + hidden), {
    linear: 2 * (seen + hidden) * encoder.dim * predictor.dim,
    attention: 0,
  });
}

/** Blocks over one sequence. */
function stack({ dim, depth, hidden }: Stack, tokens: number): Flops {
  return {
    linear: depth * tokens * (8 * dim * dim + 4 * dim * hidden),
    attention: depth * 4 * tokens * tokens * dim,
  };
}

const add = (a: Flops, b: Flops): Flops => ({
  linear: a.linear + b.linear,
  attention: a.attention + b.attention,
});

const times = (a: Flops, factor: number): Flops => ({
  linear: factor * a.linear,
  attention: factor * a.attention,
});
