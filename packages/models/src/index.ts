/** Encoders, predictors, probes and the objective. */

export {
  AttentiveClassifier,
  type AttentiveClassifierOptions,
  AttentivePooler,
  type AttentivePoolerOptions,
  type Projection,
} from "./attentive-pooler.ts";
export {
  AudioVideoEncoder,
  type AudioVideoEncoderOptions,
} from "./audio-video-encoder.ts";
export { AudioVideoPredictor } from "./audio-video-predictor.ts";
export { freeze } from "./clone.ts";
export * from "./foreign/index.ts";
export { Blank } from "./init.ts";
export { type EncoderInput, imagenetMean, imagenetStd } from "./input.ts";
export {
  countModality,
  countTargets,
  jepaLoss,
  type JepaLossOptions,
  type JepaLossTerms,
  jepaLossTerms,
  type ModalityWeight,
} from "./loss.ts";
export { MultiMask, unwrapKeys } from "./multi-mask.ts";
export type { Noise } from "./noised-targets.ts";
export {
  type Grid,
  gridSize,
  positionTable,
  sincos1d,
  widthMultiple,
} from "./positions.ts";
export type {
  EncoderShape,
  PredictOptions,
  PredictorOptions,
} from "./predict.ts";
export { VideoPredictor } from "./predictor.ts";
export { resizePositions } from "./resize-positions.ts";
export { type Rotation, rotaryAngles, rotationOf } from "./rotary-positions.ts";
export { type VitDims, vitDims, type VitSize, vitSizes } from "./sizes.ts";
export {
  allTokens,
  AUDIO,
  countByModality,
  eachToken,
  joinMasks,
  locate,
  type MaskLists,
  type Modality,
  modalityNames,
  oneMask,
  type PackedIndices,
  packMasks,
  type Present,
  Tokens,
  uploadIndices,
  VIDEO,
} from "./tokens.ts";
export {
  type ModelOptions,
  VideoEncoder,
  type VideoEncoderOptions,
} from "./video-encoder.ts";
