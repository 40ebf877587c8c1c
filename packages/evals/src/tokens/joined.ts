/** Tokens laid end to end. */
export function joined(
  parts: readonly (Uint16Array | Float32Array)[],
): Uint16Array | Float32Array {
  if (parts.length === 1) return parts[0]!;
  const total = parts.reduce((sum, { length }) => sum + length, 0);
  const whole =
    parts[0] instanceof Uint16Array
      ? new Uint16Array(total)
      : new Float32Array(total);
  let at = 0;
  for (const part of parts) {
    whole.set(part, at);
    at += part.length;
  }
  return whole;
}
