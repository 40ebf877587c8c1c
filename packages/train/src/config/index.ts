/** The configuration: schema, loading, comparing. */

export type { Batch } from "./batch.ts";
export { referenceValues } from "./compat.ts";
export { audioGrid, modelDims, videoGrid } from "./derived.ts";
export type { AudioGrid, ModelDims } from "./derived.ts";
export type { ResolvedEvalConfig } from "./evaluation.ts";
export { loadEvalConfig, loadPretrainConfig } from "./load.ts";
export type { Loaded, LoadOptions } from "./load.ts";
export type { MaskEntry } from "./mask.ts";
export { audioBlock } from "./mask_check.ts";
export { modelNames, modelSizes } from "./model.ts";
export type { ModelSize } from "./model.ts";
export {
  configHash,
  diffConfigs,
  harmlessKeys,
  portableConfig,
} from "./portable.ts";
export type { ConfigChange, PortableConfig } from "./portable.ts";
export type { ResolvedPretrainConfig } from "./pretrain.ts";
export { checkUnchanged, refuseUnbuilt } from "./resume_check.ts";
export { toYaml } from "./to_yaml.ts";
