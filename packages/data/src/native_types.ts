/** Types of the addon's media functions that this package passes on. */

import type { native } from "@avjepa/core";

/** A batch as the addon gives it. */
export type BatchArrays = NonNullable<
  Awaited<ReturnType<NativeLoader["next"]>>
>;

/** The addon's loader. */
export type NativeLoader = ReturnType<typeof native.mediaOpenLoader>;

/** Lists of all rows under one generator. */
export type MaskArrays = BatchArrays["masks"][number];
