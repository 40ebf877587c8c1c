export { AdamW, type AdamWOptions, type AdamWStep } from "./adamw.ts";
