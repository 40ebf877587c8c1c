/** The known word that a misspelt one was meant to be. */

/** Edits from `a` to `b`, a swap of neighbours counting as one. */
function editDistance(a: string, b: string): number {
  let before: number[] = [];
  let last = Array.from({ length: b.length + 1 }, (_, j) => j);
  for (let i = 1; i <= a.length; i++) {
    const row = [i];
    for (let j = 1; j <= b.length; j++) {
      const same = a[i - 1] === b[j - 1] ? 0 : 1;
      let cost = Math.min(row[j - 1]! + 1, last[j]! + 1, last[j - 1]! + same);
      if (i > 1 && j > 1 && a[i - 1] === b[j - 2] && a[i - 2] === b[j - 1])
        cost = Math.min(cost, before[j - 2]! + 1);
      row.push(cost);
    }
    before = last;
    last = row;
  }
  return last[b.length]!;
}

/** A suggestion; `close` when it is near enough to ask "did you mean". */
export interface Nearest {
  word: string;
  close: boolean;
}

/** The nearest of `words`, regardless of case, `-` and `_`. */
export function nearestWord(
  word: string,
  words: readonly string[],
): Nearest | undefined {
  const plain = (text: string) => text.toLowerCase().replace(/[-_ ]/g, "");
  const a = plain(word);
  let best: { word: string; distance: number } | undefined;
  for (const candidate of words) {
    const b = plain(candidate);
    let distance = editDistance(a, b);
    if (a.length >= 3 && (b.includes(a) || a.includes(b)))
      distance = Math.min(distance, 1.5);
    if (!best || distance < best.distance) best = { word: candidate, distance };
  }
  if (!best) return undefined;
  return {
    word: best.word,
    close: best.distance <= Math.max(2, a.length / 3),
  };
}

/**
 * The nearest known key to a dotted one: a sibling, or the same last name in
 * another section (`data.seed` was meant to be `meta.seed`).
 *
 * @param missing required keys that are not given: of keys that are all far,
 *   one of these is the nearest.
 */
export function nearestKey(
  key: string,
  known: readonly string[],
  missing: readonly string[] = [],
): Nearest | undefined {
  const split = (text: string): [string, string] => {
    const dot = text.lastIndexOf(".");
    return [text.slice(0, Math.max(0, dot)), text.slice(dot + 1)];
  };
  const [section, name] = split(key);
  const siblings = known.filter((k) => split(k)[0] === section);
  const sibling = nearestWord(
    name,
    siblings.map((k) => split(k)[1]),
  );
  const full = (word: string) => (section ? `${section}.${word}` : word);
  if (sibling?.close) return { word: full(sibling.word), close: true };
  const elsewhere = known.find((k) => split(k)[1] === name);
  if (elsewhere) return { word: elsewhere, close: true };
  const any = nearestWord(
    name,
    known.map((k) => split(k)[1]),
  );
  if (any?.close) {
    const word = known.find((k) => split(k)[1] === any.word)!;
    return { word, close: true };
  }
  const absent = missing.filter((k) => split(k)[0] === section);
  if (absent.length > 0) return { ...nearestWord(key, absent)!, close: false };
  if (sibling) return { word: full(sibling.word), close: false };
  return nearestWord(key, known);
}
