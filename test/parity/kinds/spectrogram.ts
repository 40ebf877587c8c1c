/** The published code's spectrogram, and the standard filter bank. */

import { callNative, native } from "@avjepa/core";
import type { ParityCase } from "../case.ts";
import { orCode, referenceClips } from "./clip-sampling.ts";

export function runMelReference(given: ParityCase): void {
  const { hyper } = given;
  if (hyper.filterbank) return runFilterbank(given);
  const audio = given.host("audio") as Float32Array;
  if (!hyper.window) return compareSpectrogram(given, audio);
  const indices = referenceClips({ ...hyper, duration: null });
  const { fps, sample_rate } = hyper;
  const window = orCode(() =>
    callNative(() =>
      native.mediaReferenceWindow(
        indices[0]!,
        indices.at(-1)!,
        fps,
        sample_rate,
        audio.length,
      ),
    ),
  );
  if (hyper.rejected || typeof window === "string") {
    given.require(
      hyper.rejected === true && window === "AVJ_AUDIO",
      `the window is ${window}`,
    );
    return;
  }
  const [start, end] = window;
  given.require(
    start === hyper.start_sample && end === hyper.end_sample,
    `the window is ${start} to ${end}, not ${hyper.start_sample} to ${hyper.end_sample}`,
  );
  given.compare("indices", indices);
  compareSpectrogram(given, audio.subarray(start, end));
}

function compareSpectrogram(given: ParityCase, audio: Float32Array): void {
  const rate = given.hyper.sample_rate as number;
  if (given.has("db"))
    given.compare("db", native.mediaReferenceDecibels(audio, rate));
  given.compare("sgram", native.mediaReferenceSpectrogram(audio, rate));
}

function runFilterbank(given: ParityCase): void {
  const filters = native.mediaReferenceFilterbank(given.hyper.sample_rate);
  const [rows = 0, bins = 0] = given.shape("filters");
  given.compare("filters", filters);
  given.compare(
    "row_sums",
    Array.from({ length: rows }, (_, row) =>
      filters
        .subarray(row * bins, (row + 1) * bins)
        .reduce((sum, weight) => sum + weight, 0),
    ),
  );
}

export function runFbankStandard(given: ParityCase): void {
  const audio = given.host("audio") as Float32Array;
  const mels = given.hyper.num_mel_bins as number;
  const bank = orCode(() => callNative(() => native.mediaLogMel(audio, mels)));
  if (given.has("fbank"))
    given.compare("fbank", typeof bank === "string" ? [] : bank);
  else
    given.require(
      bank === "AVJ_AUDIO",
      `${audio.length} samples are too few, and must be refused`,
    );
}
