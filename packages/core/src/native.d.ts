// Written by scripts/build.ts from the addon's own descriptions. Do not edit.
/** A graphics adapter that `wgpu:N` would open. */
export interface Adapter {
device: string
name: string
interface: string
driver: string
kind: string
lacks?: string
bindingBytes: number
bufferBytes: number
sharedMemory: number
invocations: number
subgroup: Array<number>
features: Array<string>
}
/** What an adapter does at the most: operations, and bytes read and written, a second. */
export interface AdapterPeaks {
flops: number
bytes: number
}
/** A batch; its arrays are the engine's memory, not copies. */
export interface BatchArrays {
samples: number
clips: number
labels: Int32Array
indices: Int32Array
passes: Int32Array
paths: Array<string>
bytes?: Uint8Array
floats?: Float32Array
hasVideo: Uint8Array
audio?: Float32Array
audioCols: Int32Array
frames: Int32Array
starts: Float64Array
masks: Array<MaskArrays>
events: Array<FileEvent>
counts: FileCounts
number: number
nextPass: number
nextPosition: number
waitMs: number
}
/** This process's place among the others. */
export interface CommPlace {
rank: number
world: number
/** Name and version of what carries the messages. */
engine: string
}
/** What a process waits for. */
export interface CommWaiting {
call: string
/** Calls before it. */
number: number
seconds: number
}
/** What a device has done since it was opened; zeros where nothing counts it. */
export interface DeviceCounters {
dispatches: number
submissions: number
uploaded: number
downloaded: number
}
export interface Fault {
code: string
message: string
hint?: string
}
/** Distinct files so far. */
export interface FileCounts {
tried: number
bad: number
missingAudio: number
silent: number
missingVideo: number
short: number
}
/** News of a file. */
export interface FileEvent {
kind: string
index: number
path: string
reason: string
replaced: boolean
}
/** How a film is written. */
export interface FilmSettings {
/** Pixels; even. */
width: number
height: number
/** Frames a second. */
fps: number
/** Constant quantiser of mpeg4, 1 (best) to 31. */
quality: number
/** Samples a second of the sound, one channel. */
sampleRate: number
}
/** 8-bit pixels after a resize (and a crop): their sizes and bytes, image after image. */
export interface Images {
/** [height, width] of each. */
sizes: Array<Array<number>>
data: Array<Uint8Array>
}
/** The lines of index files. */
export interface IndexLines {
paths: Array<string>
labels: Int32Array
/** Where each file's lines end. */
ends: Int32Array
fingerprint: string
}
/**
 * The masks of all rows under one generator: video context, video target, audio context, audio target, each with the
 * offsets of the rows in it.
 */
export interface MaskArrays {
lists: Array<Int32Array>
offsets: Array<Int32Array>
}
/** A running loader. */
export declare class MediaLoader {
private constructor();
/** The next batch; null after the last one. */
 next(): Promise<BatchArrays | null>
/** What was opened, as JSON. */
 info(): string
/** Ends the threads. Requests that wait are rejected. */
 close(): void
}
/** What of NVIDIA's is on this machine. */
export interface NcclFound {
/** `NCCL 2.27.3` */
version: string
/** GPUs that this process sees. */
devices: number
}
/** Where a process meets the others of its run, to speak with them through NCCL. */
export interface NcclMeeting {
rank: number
world: number
/** From 0, on this machine: decides the GPU, modulo those that are visible. */
localRank: number
/** Rank 0's machine. */
address: string
/** The first of 16 ports that are tried there. */
port: number
/** Tells the run from others on the same machines. */
run: string
/** How long ranks wait for each other at the beginning. */
seconds: number
}
/** A random stream: `torch`, `numpy`, `python` (the reference's, draw for draw) or `sample` (ours). */
export declare class RandomStream {
private constructor();
/** `seed` is decimal, so that large ones are exact; for `sample` it is "seed pass index purpose". */
static open(kind: string, seed: string): RandomStream
/** `count` draws of `operation` (or one permutation, shuffle or choice, whose length is the first argument). */
 draw(operation: string, arguments: Array<number>, count: number): Float64Array
}
/** An operation's time on the device, in microseconds since the start of the trace. */
export interface TraceSpan {
name: string
start: number
end: number
}
/** Measures it, on a thread and a device of its own. */
export declare function adapterPeaks(name: string): Promise<AdapterPeaks>;
/** The machine's graphics adapters, hardware before software. Empty where there is no driver. */
export declare function adapters(): Array<Adapter>;
/** Runs one operation: its number in `operations()`, its arguments, room for its answer. The length of the answer, or −1. */
export declare function call(op: number, args: Float64Array, argsLen: number, out: Float64Array): number;
/** Every rank's bytes (as many on each), one after another. */
export declare function commAllGather(bytes: Uint8Array): Promise<Uint8Array>;
/** The sum, or the largest, of every rank's values, element by element. */
export declare function commAllReduce(values: Float64Array, largest: boolean): Promise<Float64Array>;
/** Resolves when every rank has called it. */
export declare function commBarrier(): Promise<void>;
/** Leaves the others, who must do so too. */
export declare function commClose(): Promise<void>;
/** Looks for NCCL and for GPUs. */
export declare function commFindNccl(): NcclFound;
/** Has a call that waits for the others give up, where that is possible: the process is about to end. */
export declare function commInterrupt(): void;
/** Joins the processes that MPI's launcher started; `library` is the path of `libavjepa_mpi`. */
export declare function commOpenMpi(library: string): Promise<CommPlace>;
/** Joins the others through NCCL. */
export declare function commOpenNccl(meeting: NcclMeeting): Promise<CommPlace>;
/** The call that this process is in with the others; null where it is in none. */
export declare function commWaiting(): CommWaiting | null;
export declare function deviceCounters(number: number): DeviceCounters;
/** What the device is: instruction set and threads, or adapter and driver. */
export declare function deviceDescribe(number: number): string;
/** Opens a device (`cpu`, `wgpu`, `wgpu:1`) and returns its number. */
export declare function deviceOpen(name: string): number;
/** Records what the device runs from now on. */
export declare function deviceTraceStart(number: number): void;
/** Ends the record and gives it away. */
export declare function deviceTraceTake(number: number): Array<TraceSpan>;
/** Names of the element types, in the order of their numbers. */
export declare function dtypes(): Array<string>;
/** Why the last call on this thread answered −1. */
export declare function lastError(): Fault | null;
/**
 * Boxes [top, left, height, width] of the reference's random resized crop (`scale`, `ratio`) or erasing (`probability`,
 * `min_area`, `max_area`, `min_aspect`; −1 where nothing is erased), one for each of `entries` { height, width, seeds }.
 */
export declare function mediaBoxes(settings: string): Int32Array;
/**
 * Boxes of pixels: cropped, resized to `out` [h, w] by bilinear interpolation, normalised: `[3, T, h, w]`. Settings: `box`
 * [top, left, height, width], `out`, `mean`, `std`.
 */
export declare function mediaCropResize(data: Uint8Array, shape: Array<number>, settings: string): Float32Array;
/** The order that torch's `DistributedSampler` gives a rank. */
export declare function mediaDistributedSampler(n: number, world: number, rank: number, seed: number, epoch: number): Float64Array;
/**
 * One image operation of RandAugment (`level`) or AutoAugment (`magnitude`) on an image `[H, W, 3]`. Settings: `name`,
 * `level` or `magnitude`, `sign`, `fill`.
 */
export declare function mediaImageOp(data: Uint8Array, shape: Array<number>, settings: string): Uint8Array;
/** A line of an index, quoted where needed. */
export declare function mediaIndexLine(path: string, label: number): string;
/** What one loader would say of files that several have met: an error where `paths` are too many bad files among `tried` of `total`. */
export declare function mediaJudgeFiles(total: number, maxBadFraction: number, tried: number, paths: Array<string>, reasons: Array<string>): void;
/** The standard log-mel energies `[frames, mels]` of mono sound at 16 kHz, not normalised. */
export declare function mediaLogMel(audio: Float32Array, mels: number): Float32Array;
/**
 * Masks for rows that are at hand. `rows` has five numbers a row: pass, index, clip, whether it has video, and its valid
 * audio columns; rows are clip-major over `samples` samples of batch `number`.
 */
export declare function mediaMasks(config: string, number: number, samples: number, rows: Float64Array): Array<MaskArrays>;
/** 8-bit frames normalised, channels first: `[3, T, H, W]`. */
export declare function mediaNormalise(data: Uint8Array, shape: Array<number>, settings: string): Float32Array;
/** Starts a loader of pictures; `config` is its configuration as JSON. */
export declare function mediaOpenImages(config: string): MediaLoader;
/** Starts a loader; `config` is the loader's configuration as JSON. */
export declare function mediaOpenLoader(config: string): MediaLoader;
/**
 * A whole transform with the reference's streams. Settings: `pipeline` (`pretrain`, `eval_train`, `eval_val`,
 * `image_train`), `crop_size`, its settings under the reference's names, and the seeds. A result for each view.
 */
export declare function mediaPipeline(data: Uint8Array, shape: Array<number>, settings: string): Array<Float32Array>;
/** What a media file holds, as JSON. */
export declare function mediaProbe(path: string): Promise<string>;
/** Reads index files. */
export declare function mediaReadIndex(files: Array<string>): IndexLines;
/**
 * Frame numbers `[num_clips, frames_per_clip]` as the reference chooses them. Settings: `frames_per_clip`, `frame_step`,
 * `duration`, `num_clips`, `allow_overlap`, `random`, `num_frames`, `fps`, `numpy_seed`.
 */
export declare function mediaReferenceClips(settings: string): Int32Array;
/** The reference's decibels `[128, columns]`, not stretched. */
export declare function mediaReferenceDecibels(audio: Float32Array, rate: number): Float32Array;
/** The reference's mel filters `[128, 1025]`. */
export declare function mediaReferenceFilterbank(rate: number): Float32Array;
/**
 * `steps` batches of the reference's masks, `[step][generator]` in one list. Settings: `kind` (`multiblock3d`,
 * `random_tube`), `video` [T, H, W], `audio` [rows, cols, block rows, block cols] or null, `generators`, `seed`, `counter`,
 * `batch`, `steps`.
 */
export declare function mediaReferenceMasks(settings: string): Array<MaskArrays>;
/** The reference's spectrogram `[128, 192]`. */
export declare function mediaReferenceSpectrogram(audio: Float32Array, rate: number): Float32Array;
/** Samples [start, end) that belong to frames `first` to `last` in the reference. */
export declare function mediaReferenceWindow(first: number, last: number, fps: number, rate: number, samples: number): Array<number>;
/**
 * Resizes an image `[H, W, 3]`. Settings: `op` `pil_resize` with `filter` and `out` [h, w]; or
 * `cv2_short_side_center_crop`, `pil_short_side_center_crop` with `short_side` and `crop`: the resized, then the cropped.
 */
export declare function mediaResize(data: Uint8Array, shape: Array<number>, settings: string): Images;
/** Says where the FFmpeg library lies: the addon's folder. */
export declare function mediaSetDirectory(path: string): void;
/** The standard spectrogram `[mels, frames]`, (log-mel − mean) / (2·std). */
export declare function mediaSpectrogram(audio: Float32Array, mels: number, frames: number, mean: number, std: number): Float32Array;
/** Versions of the FFmpeg libraries in use. */
export declare function mediaVersions(): string;
/** Writes a film of MPEG-4 part 2 with AAC: RGB frames `[T, H, W, 3]`, and sound of full scale ±1 or none. */
export declare function mediaWriteFilm(path: string, settings: FilmSettings, frames: Uint8Array, sound?: Float32Array | undefined | null): Promise<void>;
/** Names of the operations, in the order of their numbers. */
export declare function operations(): Array<string>;
/** The bytes of a tensor, once everything enqueued before has run. */
export declare function read(handle: number): Promise<Uint8Array>;
/** The bytes of tensors (one at least) of one device, all as they are once everything enqueued before has run. */
export declare function readAll(tensors: Array<number>): Promise<Uint8Array[]>;
/** Resolves once everything enqueued on the device has run. */
export declare function sync(number: number): Promise<void>;
/**
 * Reads the object of a file of torch.save, without its tensors' values, as JSON: `{ tensors, root }`. Nothing in the file is
 * ever run.
 */
export declare function torchOpen(path: string): Promise<string>;
/** Copies bytes (little endian, C order) to a new tensor: its handle. */
export declare function upload(number: number, dtype: number, shape: Array<number>, bytes: Uint8Array): number;
