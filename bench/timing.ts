/** Repeated measurements. */

/** Seconds that `work` takes, `times` times over, after `warmUp` runs that do not count. */
export async function measure(
  work: () => Promise<unknown>,
  options: { times: number; warmUp: number },
): Promise<number[]> {
  for (let i = 0; i < options.warmUp; i++) await work();
  const seconds: number[] = [];
  for (let i = 0; i < options.times; i++) {
    const start = performance.now();
    await work();
    seconds.push((performance.now() - start) / 1000);
  }
  return seconds;
}

/** The middle value, or the mean of the two in the middle. */
export function median(values: readonly number[]): number {
  const sorted = values.toSorted((a, b) => a - b);
  const middle = (sorted.length - 1) / 2;
  const [low = Number.NaN, high = Number.NaN] = [
    sorted[Math.floor(middle)],
    sorted[Math.ceil(middle)],
  ];
  return (low + high) / 2;
}
