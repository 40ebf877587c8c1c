/**
 * Which tokens a batch has: packed sequences of any lengths.
 *
 * A *row* is one clip; a *sequence* is one row under one mask. Sequences lie
 * mask by mask: sequence s is row `s % rows` under mask `⌊s / rows⌋`. Within a
 * sequence the picture's tokens come first, then the sound's, each in the order
 * of its grid: video `(t·H + y)·W + x`, audio `row·columns + column`. This is
 * the layout that the models take.
 */

/** Values of {@link PackedIndices.modality}. */
export const VIDEO = 0;
export const AUDIO = 1;

/** Tokens of all sequences, one after another. Plain arrays, on the host. */
export interface PackedIndices {
  /** Rows R of the batch. */
  readonly samples: number;
  /** Masks K; there are S = K·R sequences. */
  readonly masks: number;
  /** `[S+1]`: tokens `offsets[s] … offsets[s+1] − 1` are sequence s. */
  readonly offsets: Int32Array;
  /** `[M]`: place of the token in its modality's grid. */
  readonly position: Int32Array;
  /** `[M]`: {@link VIDEO} or {@link AUDIO}. */
  readonly modality: Uint8Array;
}

/** Lists of all rows, end to end: row r's is `values[offsets[r] … offsets[r+1] − 1]`. */
export interface RowLists {
  readonly values: Int32Array;
  /** `[R+1]` */
  readonly offsets: Int32Array;
}

/** One mask: for each row, its tokens of either modality. */
export interface MaskRows {
  readonly video: RowLists;
  readonly audio: RowLists;
}

/**
 * Packs masks of the same rows.
 *
 * @example packRows([{ video: { values, offsets }, audio: { values, offsets } }])
 */
export function packRows(masks: readonly MaskRows[]): PackedIndices {
  const samples = (masks[0]?.video.offsets.length ?? 1) - 1;
  const total = masks.reduce(
    (sum, { video, audio }) => sum + video.values.length + audio.values.length,
    0,
  );
  const offsets = new Int32Array(samples * masks.length + 1);
  const position = new Int32Array(total);
  const modality = new Uint8Array(total);
  let at = 0;
  masks.forEach(({ video, audio }, k) => {
    for (let row = 0; row < samples; row++) {
      for (const [kind, { values, offsets }] of [video, audio].entries()) {
        const list = values.subarray(offsets[row], offsets[row + 1]);
        position.set(list, at);
        modality.fill(kind, at, at + list.length);
        at += list.length;
      }
      offsets[k * samples + row + 1] = at;
    }
  });
  return { samples, masks: masks.length, offsets, position, modality };
}

/** What rows there are, and how much of their grids they fill. */
export interface RowExtent {
  /** Tokens of the picture's grid. */
  readonly videoTokens: number;
  /** `[rows, columns]` of the sound's grid. */
  readonly audioGrid: readonly [rows: number, columns: number];
  /** `[R]`: 1 for a row with a picture. */
  readonly hasVideo: ArrayLike<number>;
  /** `[R]`: leading columns of the sound's grid that hold sound. */
  readonly audioCols: ArrayLike<number>;
}

/** All tokens that the rows have: what a target encoder sees. One mask. */
export function presentTokens(rows: RowExtent): PackedIndices {
  const {
    videoTokens,
    audioGrid: [height, width],
    hasVideo,
    audioCols,
  } = rows;
  const samples = hasVideo.length;
  const offsets = new Int32Array(samples + 1);
  for (let row = 0; row < samples; row++)
    offsets[row + 1] =
      (offsets[row] as number) +
      (hasVideo[row] ? videoTokens : 0) +
      height * (audioCols[row] ?? 0);
  const position = new Int32Array(offsets[samples] as number);
  const modality = new Uint8Array(position.length);
  let at = 0;
  for (let row = 0; row < samples; row++) {
    if (hasVideo[row])
      for (let token = 0; token < videoTokens; token++) position[at++] = token;
    modality.fill(AUDIO, at, offsets[row + 1]);
    const columns = audioCols[row] ?? 0;
    for (let y = 0; y < height; y++)
      for (let x = 0; x < columns; x++) position[at++] = y * width + x;
  }
  return { samples, masks: 1, offsets, position, modality };
}
