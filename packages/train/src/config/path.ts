/** A key's path: `mask[0].num_blocks` and `mask.0.num_blocks` are the same. */

/** The steps from the root to a key. */
export type Path = readonly (string | number)[];

/** `["mask", 0, "num_blocks"]` as `mask[0].num_blocks`. */
export function pathText(path: Path): string {
  return path
    .map((step, i) =>
      typeof step === "number" ? `[${step}]` : i === 0 ? step : `.${step}`,
    )
    .join("");
}

/** The path of a dotted text, or undefined where it is not one. */
export function parsePath(text: string): Path | undefined {
  const steps = text.replace(/\[(\d+)\]/g, ".$1").split(".");
  if (steps.some((step) => step === "" || /[[\]\s]/.test(step)))
    return undefined;
  return steps.map((step) => (/^\d+$/.test(step) ? Number(step) : step));
}

/** Whether `path` is `prefix` or below it. */
export function startsWith(path: Path, prefix: Path): boolean {
  return (
    path.length >= prefix.length && prefix.every((step, i) => step === path[i])
  );
}

/** The value at `path`, or undefined. */
export function getAt(root: unknown, path: Path): unknown {
  let value = root;
  for (const step of path) {
    if (typeof value !== "object" || value === null) return undefined;
    value = Object.hasOwn(value, step)
      ? (value as Record<string | number, unknown>)[step]
      : undefined;
  }
  return value;
}

/**
 * Put `value` at `path`, making the sections on the way. Returns the path of
 * what is in the way (a value that is no section, a place past a list's end),
 * or undefined when done.
 */
export function setAt(
  root: Record<string, unknown>,
  path: Path,
  value: unknown,
): Path | undefined {
  let parent: unknown = root;
  for (const [i, step] of path.entries()) {
    const here = path.slice(0, i);
    if (Array.isArray(parent)) {
      if (typeof step !== "number" || step > parent.length) return here;
    } else if (typeof parent !== "object" || parent === null) return here;
    const object = parent as Record<string | number, unknown>;
    if (i === path.length - 1) define(object, step, value);
    else {
      if (!Object.hasOwn(object, step) || object[step] === null)
        define(object, step, typeof path[i + 1] === "number" ? [] : {});
      parent = object[step];
    }
  }
  return undefined;
}

/** Assign as an own property, whatever the key is called (`__proto__`). */
function define(object: object, key: string | number, value: unknown): void {
  Object.defineProperty(object, key, {
    value,
    writable: true,
    enumerable: true,
    configurable: true,
  });
}
