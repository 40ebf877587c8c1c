/** Drawing what a predictor predicts. */

export { type DrawingError, DrawingErrors } from "./drawing_errors.ts";
export {
  audioPatchSize,
  type Canvas,
  paintAudio,
  paintVideo,
  type PatchSizes,
  videoPatchSize,
} from "./patch_targets.ts";
export {
  type FeatureSource,
  PixelDecoder,
  type PixelDecoderOptions,
} from "./pixel_decoder.ts";
export {
  type DrawnPatches,
  drawPatches,
  type PredictingModels,
} from "./predict_patches.ts";
