export {
  AdamW,
  type AdamWOptions,
  type AdamWStep,
  type GradientGroup,
} from "./adamw.ts";
export type { Shards } from "./shard.ts";
