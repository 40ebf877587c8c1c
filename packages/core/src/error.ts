/**
 * The one error a user sees. Everything that can go wrong by the user's data,
 * configuration or machine is an {@link AvjepaError}: it says what is wrong in
 * the user's words and what to do about it. Any other exception is a bug.
 */

/** Extra facts of an {@link AvjepaError}. */
export interface AvjepaErrorOptions {
  /** What to do about it; may hold several lines. */
  hint?: string;
  /** The lower-level error, kept for `AVJEPA_TRACE=1`. */
  cause?: unknown;
}

/**
 * An error with a stable code, a message that names the thing, and a remedy.
 *
 * @example
 * throw new AvjepaError("AVJ_INDEX", "clips.csv:3:1: no label after the path", {
 *   hint: "each line is: path label",
 * });
 */
export class AvjepaError extends Error {
  /** Stable, SCREAMING_SNAKE: `AVJ_CONFIG`, `AVJ_CHECKPOINT`, `AVJ_MEDIA`, … */
  readonly code: string;
  /** What to do about it, or undefined. */
  readonly hint: string | undefined;

  constructor(code: string, message: string, options: AvjepaErrorOptions = {}) {
    super(message, options.cause === undefined ? {} : { cause: options.cause });
    this.name = "AvjepaError";
    this.code = code;
    this.hint = options.hint;
  }

  /**
   * Whether `error` is ours. Goes by shape, not by class, so that an error made
   * by another copy of this module, or by the native addon, counts too.
   */
  static is(error: unknown): error is AvjepaError {
    if (error instanceof AvjepaError) return true;
    if (!(error instanceof Error)) return false;
    const { code } = error as { code?: unknown };
    return typeof code === "string" && code.startsWith("AVJ_");
  }
}

/**
 * The text printed for a failed command:
 *
 *     error: unknown key "optimisation"
 *       configs/pretrain/mine.yaml:41:1
 *       did you mean "optimization"?
 *
 * The message's further lines and the hint are indented below the first. An
 * exception that is not ours is a bug and is printed with its stack.
 */
export function formatError(error: unknown): string {
  if (!AvjepaError.is(error)) {
    const text =
      error instanceof Error ? (error.stack ?? error.message) : String(error);
    return `error: ${text}\n  this is a bug in AV-JEPA, please report it`;
  }
  const [first = "", ...rest] = error.message.split("\n");
  const hint = error.hint?.split("\n") ?? [];
  const lines = [...rest, ...hint].map((line) =>
    line === "" ? "" : `  ${line}`,
  );
  const trace = process.env.AVJEPA_TRACE && error.stack ? [error.stack] : [];
  return [`error: ${first}`, ...lines, ...trace].join("\n");
}
