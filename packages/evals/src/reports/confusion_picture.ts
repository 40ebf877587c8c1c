/** A confusion matrix as a picture. */

/** Greyscale, `[height, width]`. */
export interface GreyPicture {
  width: number;
  height: number;
  data: Uint8Array;
}

/** Least side of the picture in pixels, where the classes are few. */
const leastSide = 480;

/**
 * A row for each class, a column for each prediction; the darker, the more of
 * the class's samples. Classes without samples stay white.
 *
 * @param matrix `[classes, classes]` counts.
 */
export function confusionPicture(
  matrix: ArrayLike<number>,
  classes: number,
): GreyPicture {
  const cell = Math.max(1, Math.floor(leastSide / classes));
  const side = cell * classes;
  const data = new Uint8Array(side * side).fill(255);
  for (let c = 0; c < classes; c++) {
    let samples = 0;
    for (let p = 0; p < classes; p++) samples += matrix[c * classes + p]!;
    if (samples === 0) continue;
    for (let p = 0; p < classes; p++) {
      const share = matrix[c * classes + p]! / samples;
      // The root lets rare confusions be seen.
      const shade = Math.round(255 * (1 - Math.sqrt(share)));
      for (let y = c * cell; y < (c + 1) * cell; y++)
        data.fill(shade, y * side + p * cell, y * side + (p + 1) * cell);
    }
  }
  return { width: side, height: side, data };
}
