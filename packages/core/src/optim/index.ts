export {
  AdamW,
  type AdamWOptions,
  type AdamWStep,
  type GradientGroup,
} from "./adamw.ts";
