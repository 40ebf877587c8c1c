/** What is seen: indexes, clips, masks. */

export {
  ClipBatch,
  type Cursor,
  type FileCounts,
  type FileEvent,
} from "./clip_batch.ts";
export {
  ClipLoader,
  type ClipLoaderOptions,
  type LoaderInfo,
} from "./clip_loader.ts";
export { FileLedger, type FileLedgerOptions } from "./file_ledger.ts";
export { type Film, writeFilm } from "./film.ts";
export { ImageBatch } from "./image_batch.ts";
export {
  ImageLoader,
  type ImageLoaderInfo,
  type ImageLoaderOptions,
  imageSplit,
} from "./image_loader.ts";
export {
  imageExtensions,
  type IndexLines,
  type MadeIndex,
  makeIndex,
  type MakeIndexOptions,
  mediaExtensions,
  readIndex,
} from "./index_file.ts";
export {
  type Masks,
  type MultiblockOptions,
  multiblockMasks,
} from "./masks.ts";
export { loadMedia, type MediaProbe, mediaVersions, probe } from "./probe.ts";
export { RandomStream, type RandomStreamKind } from "./random.ts";
export {
  AUDIO,
  type MaskRows,
  type PackedIndices,
  packRows,
  presentTokens,
  type RowExtent,
  type RowLists,
  VIDEO,
} from "./tokens.ts";
