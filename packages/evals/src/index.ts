/** What frozen features are worth: attentive probes. */

export {
  type ExtractedFeatures,
  extractFeatures,
  type Features,
  featuresOf,
  type FrozenEncoder,
} from "./features.ts";
export { type ProbeOptions, type ProbeTask, trainProbes } from "./probe.ts";
export * from "./metrics/index.ts";
