/** `data.audio`: the spectrogram and its grid of patches. */

import { choice, int, num, optional, orNull, section } from "./key.ts";

export const audioSchema = section({
  preset: optional(
    choice(["standard", "reference"]),
    "standard",
    "`standard`: 16 kHz, 25/10 ms windows, log-mel filter bank, (x − mean) / (2·std). `reference`: the published audio-visual code's spectrogram at the file's own rate, stretched to 192 columns.",
  ),
  duration: optional(
    orNull(num({ above: 0 })),
    null,
    "Seconds of sound a clip has, rounded to whole patches; from the clip's first frame.",
    "data.clip_duration, else num_frames · sampling_rate / 30",
  ),
  mean: optional(
    num(),
    -4.2677393,
    "Mean of the spectrogram, subtracted. AudioSet's by default.",
    "−4.2677393; 0 with preset: reference",
  ),
  std: optional(
    num({ above: 0 }),
    4.5689974,
    "Deviation of the spectrogram; it is divided by twice this. AudioSet's by default.",
    "4.5689974; 0.5 with preset: reference",
  ),
  pad: optional(
    choice(["none", "zero"]),
    "none",
    "Past the end of the track: `none` leaves the tokens out, `zero` fills with silence.",
  ),
  num_mel: optional(
    int({ min: 1 }),
    128,
    "Mel bands: rows of the spectrogram.",
  ),
  patch: optional(
    orNull(int({ min: 1 })),
    null,
    "Side of a square patch, in mel bands and in columns of 10 ms.",
    "data.patch_size",
  ),
});
