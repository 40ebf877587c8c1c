/**
 * Finds and loads the native addon. Nothing else in the project knows that it
 * exists.
 *
 * One file serves both ways across (napi and bun:ffi): a copy at another path
 * would be a second instance with tensors of its own.
 */

import { existsSync } from "node:fs";
import { createRequire } from "node:module";
import { fileURLToPath } from "node:url";
import { AvjepaError } from "./error.ts";

/** Where `scripts/build.ts` puts the addon. */
export const addonPath: string = fileURLToPath(
  new URL("../../../native/avjepa.node", import.meta.url),
);

/** The addon's functions, as the build wrote them down. */
export type Native = typeof import("./native.d.ts");

function load(): Native {
  if (!existsSync(addonPath)) {
    throw new AvjepaError(
      "AVJ_ADDON",
      `there is no native addon at ${addonPath}`,
      {
        hint: "build it with: bash scripts/setup.sh",
      },
    );
  }
  try {
    return createRequire(import.meta.url)(addonPath) as Native;
  } catch (cause) {
    throw new AvjepaError(
      "AVJ_ADDON",
      `the native addon does not load: ${(cause as Error).message}`,
      {
        hint: "build it again on this machine with: bash scripts/setup.sh",
        cause,
      },
    );
  }
}

export const native: Native = load();

/**
 * Turns an error thrown by the addon into an {@link AvjepaError}: the addon
 * sends `{ message, hint }` as JSON beside the code.
 */
function nativeError(error: unknown): unknown {
  if (!(error instanceof Error)) return error;
  const { code } = error as { code?: unknown };
  if (typeof code !== "string" || !code.startsWith("AVJ_")) return error;
  try {
    const body = JSON.parse(error.message) as {
      message: string;
      hint?: string | null;
    };
    return new AvjepaError(
      code,
      body.message,
      body.hint ? { hint: body.hint } : {},
    );
  } catch {
    return new AvjepaError(code, error.message);
  }
}

/** Calls a function of the addon, its errors made ours. */
export function callNative<T>(call: () => T): T {
  try {
    return call();
  } catch (error) {
    throw nativeError(error);
  }
}

/** Waits for a promise of the addon, its errors made ours. */
export async function awaitNative<T>(call: () => Promise<T>): Promise<T> {
  try {
    return await call();
  } catch (error) {
    throw nativeError(error);
  }
}
