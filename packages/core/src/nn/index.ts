export { LayerNorm } from "./layer-norm.ts";
export { Linear, type LinearOptions } from "./linear.ts";
export {
  describeDifference,
  Module,
  type StateDict,
  type StateDictDifference,
} from "./module.ts";
export { Parameter } from "./parameter.ts";
