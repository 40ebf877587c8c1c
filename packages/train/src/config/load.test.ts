import { afterAll, describe, expect, test } from "bun:test";
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";

import { formatError } from "@avjepa/core/error";

import { loadEvalConfig, loadPretrainConfig } from "./load.ts";
import type { LoadOptions } from "./load.ts";

const folder = mkdtempSync(join(tmpdir(), "avjepa-config-"));
afterAll(() => rmSync(folder, { recursive: true }));
const path = join(folder, "mine.yaml");

const base = `app: avjepa
data:
  datasets: [clips.csv]
  batch_size: 4
  num_clips: 1
  num_frames: 16
  tubelet_size: 2
  sampling_rate: 4
  crop_size: 64
  patch_size: 16
mask:
  - num_blocks: 4
    spatial_scale: [0.15, 0.15]
    temporal_scale: [1.0, 1.0]
    aspect_ratio: [0.75, 1.5]
model:
  model_name: vit_tiny
  pred_depth: 2
  pred_embed_dim: 96
loss:
  loss_exp: 1.0
  reg_coeff: 0.
optimization:
  epochs: 10
  ipe: 5
  warmup: 1
  start_lr: 1e-5
  lr: 1e-3
  final_lr: 1e-6
  weight_decay: 0.04
  final_weight_decay: 0.4
  ema: [0.99, 1.0]
meta:
  use_sdpa: True
logging:
  folder: ${join(folder, "run")}
  write_tag: mine
`;

/** `base` with some texts replaced. */
function edit(...edits: [string, string][]): string {
  return edits.reduce((text, [from, to]) => {
    if (!text.includes(from)) throw new Error(`base has no ${from}`);
    return text.replace(from, () => to);
  }, base);
}

function load(text: string, options: LoadOptions = {}) {
  writeFileSync(path, text);
  return loadPretrainConfig(path, { env: {}, ...options });
}

/** The printed error, the file's name cut to its last part. */
function failure(text: string, options: LoadOptions = {}): string {
  try {
    load(text, options);
  } catch (error) {
    return formatError(error).replaceAll(path, "mine.yaml");
  }
  throw new Error("loaded");
}

test("the numbers and booleans of YAML 1.1 files are read as such", () => {
  const { config, warnings } = load(base);
  expect(config.loss.reg_coeff).toBe(0);
  expect(config.optimization.final_lr).toBe(1e-6);
  expect(warnings).toHaveLength(1);
  expect(warnings[0]).toContain("meta.use_sdpa");
  expect(config.meta).not.toHaveProperty("use_sdpa");
});

describe("unknown keys", () => {
  test("a misspelt key: its place and the nearest known one", () => {
    expect(failure(edit(["  lr: 1e-3", "  lr: 1e-3\n  clip_gard: 1"]))).toBe(
      [
        'error: unknown key "optimization.clip_gard"',
        "  mine.yaml:29:3",
        '  did you mean "optimization.clip_grad"?',
      ].join("\n"),
    );
  });
  test("a misspelt section", () => {
    expect(failure(base + "optimisation:\n  lr: 1\n")).toBe(
      [
        'error: unknown key "optimisation"',
        "  mine.yaml:38:1",
        '  did you mean "optimization"?',
      ].join("\n"),
    );
  });
  test("a required key that is misspelt is one error", () => {
    expect(failure(edit(["num_clips:", "num_clip:"]))).toBe(
      [
        'error: unknown key "data.num_clip"',
        "  mine.yaml:5:3",
        '  did you mean "data.num_clips"?',
      ].join("\n"),
    );
  });
  test("a key of another section", () => {
    expect(
      failure(edit(["  batch_size: 4", "  batch_size: 4\n  seed: 1"])),
    ).toContain('did you mean "meta.seed"?');
  });
  test("in a list", () => {
    const text = failure(edit(["num_blocks: 4", "num_block: 4"]));
    expect(text).toContain('unknown key "mask[0].num_block"\n  mine.yaml:12:5');
    expect(text).toContain('did you mean "mask[0].num_blocks"?');
  });
  test("like nothing: the nearest is named all the same", () => {
    expect(failure(base + "zzzzqqq: 1\n")).toContain("nearest known key");
  });
  test("a misspelt section is one error, not one for each key it has", () => {
    expect(failure(edit(["optimization:", "optimisation:"]))).toBe(
      'error: unknown key "optimisation"\n  mine.yaml:23:1\n  did you mean "optimization"?',
    );
  });
  test("like nothing, where a required key is missing: that one", () => {
    expect(failure(edit(["  lr: 1e-3", "  learning_rate: 1e-3"]))).toContain(
      'the nearest known key is "optimization.lr"',
    );
  });
  test("of --set, and of an unknown section there", () => {
    expect(failure(base, { set: ["optimization.lrr=1"] })).toBe(
      'error: unknown key "optimization.lrr"\n  --set optimization.lrr=1\n  did you mean "optimization.lr"?',
    );
    expect(failure(base, { set: ["optimisation.lr=1"] })).toBe(
      'error: unknown key "optimisation.lr"\n  --set optimisation.lr=1\n  did you mean "optimization.lr"?',
    );
  });
  test("__proto__ is a key like any other", () => {
    expect(failure(base, { set: ["__proto__.x=1"] })).toContain("unknown key");
    expect(failure(base + "constructor: 1\n")).toContain("unknown key");
  });
});

describe("wrong types say what was expected and what was found", () => {
  test.each<[string, string, ...string[]]>([
    [
      "batch_size: 4",
      'batch_size: "4"',
      'found the text "4"',
      "without the quotes: 4",
    ],
    [
      "batch_size: 4",
      "batch_size: 4.5",
      "an integer of at least 1",
      "found 4.5",
    ],
    ["batch_size: 4", "batch_size: 0", "an integer of at least 1", "found 0"],
    [
      "batch_size: 4",
      "batch_size: 1_0",
      "mine.yaml:4:3",
      "without the underscores: 10",
    ],
    [
      "lr: 1e-3",
      'lr: "1e-3"',
      "a number of at least 0",
      "without the quotes: 1e-3",
    ],
    ["lr: 1e-3", "lr: .inf", "a number of at least 0", "found Infinity"],
    ["lr: 1e-3", "lr:", "found nothing (null)", "give a value"],
    [
      "  use_sdpa: True",
      "  load_checkpoint: yes",
      "true or false",
      "write true",
    ],
    [
      "ema: [0.99, 1.0]",
      "ema: 0.99",
      "a pair, each a number from 0 to 1",
      "[a, b]",
    ],
    [
      "ema: [0.99, 1.0]",
      "ema: [0.99, 2]",
      "optimization.ema[1]: expected",
      "found 2",
    ],
    ["ema: [0.99, 1.0]", "ema: [0.99]", "a pair", "found a list of 1"],
    ["[clips.csv]", "clips.csv", "a list, each a text", "[clips.csv]"],
    [
      "model_name: vit_tiny",
      "model_name: vit_Base",
      "one of vit_tiny",
      "did you mean vit_base?",
    ],
    ["write_tag: mine", "write_tag: 7", "found 7", 'in quotes: "7"'],
    [
      "write_tag: mine",
      "write_tag: a/b",
      "logging.write_tag",
      'found the text "a/b"',
    ],
    ["app: avjepa", "app: jepa", "one of vjepa", "did you mean"],
    [
      "loss:\n  loss_exp: 1.0\n  reg_coeff: 0.",
      "loss: 3",
      "a section of keys",
      "found 3",
    ],
  ])("%s -> %s", (from, to, ...wanted) => {
    const text = failure(edit([from, to]));
    for (const part of wanted) expect(text).toContain(part);
    expect(text).toContain("mine.yaml:");
  });

  test("a missing key: what it is, where its section stands", () => {
    expect(failure(edit(["  epochs: 10\n", ""]))).toBe(
      [
        'error: missing key "optimization.epochs": expected an integer of at least 1',
        "  mine.yaml:23:1",
        "  Epochs of the run.",
      ].join("\n"),
    );
  });

  test("several errors are told at once", () => {
    const text = failure(
      edit(["batch_size: 4", "batch_size: x"], ["epochs: 10", "epoch: 10"]),
    );
    expect(text).toStartWith("error: 2 errors in mine.yaml\n");
    expect(text).toContain("mine.yaml:4:3: data.batch_size: expected");
    expect(text).toContain('mine.yaml:24:3: unknown key "optimization.epoch"');
  });
});

describe("what is no configuration", () => {
  test("a key twice", () => {
    expect(failure(edit(["  lr: 1e-3", "  lr: 1e-3\n  lr: 1e-4"]))).toContain(
      'duplicate key "lr"\n  mine.yaml:29:3',
    );
  });
  test.each([
    ["", "not a configuration"],
    ["- a\n", "found a list of 1"],
    ["a: [1, 2\n", "not YAML"],
    ["a: !!python/tuple [1]\n", "not YAML"],
    [`${base}---\na: 1\n`, "a second document"],
    ["a\0b", "not a text file"],
    ["a: *x\nb: &x 1\n", "x\n  mine.yaml:1:4"],
  ])("%j", (text, wanted) => {
    expect(failure(text)).toContain(wanted);
  });
  test("bytes that are not UTF-8", () => {
    writeFileSync(path, Buffer.from(`${base}# caf\u00e9\n`, "latin1"));
    const line = base.split("\n").length;
    expect(() => loadPretrainConfig(path)).toThrow(
      `not UTF-8\n${path}:${line}`,
    );
  });
  test("a file that is not there, or a folder", () => {
    expect(() => loadPretrainConfig(join(folder, "no.yaml"))).toThrow(
      "no such file",
    );
    expect(() => loadPretrainConfig(folder)).toThrow("it is a folder");
    writeFileSync(path, base);
    let text = "";
    try {
      loadPretrainConfig(join(folder, "mien.yml"));
    } catch (error) {
      text = formatError(error);
    }
    expect(text).toContain(`did you mean ${path}?`);
  });
});

describe("combinations that cannot work", () => {
  const blocks = (spatial: string, count = 4): [string, string][] => [
    ["spatial_scale: [0.15, 0.15]", `spatial_scale: ${spatial}`],
    ["num_blocks: 4", `num_blocks: ${count}`],
  ];
  test.each<[string, [string, string][], string[]]>([
    [
      "crop by patch",
      [["crop_size: 64", "crop_size: 65"]],
      [
        "data.crop_size 65 is not divisible by data.patch_size 16",
        "mine.yaml:9:3",
        "64 and 80 are",
      ],
    ],
    [
      "frames by tubelet",
      [["num_frames: 16", "num_frames: 15"]],
      [
        "data.num_frames 15 is not divisible by data.tubelet_size 2",
        "mine.yaml:6:3",
      ],
    ],
    [
      "heads by width",
      [["pred_depth: 2", "pred_depth: 2\n  pred_num_heads: 5"]],
      ["5 heads do not divide the width 96", "mine.yaml:19:3"],
    ],
    [
      "encoder heads",
      [["pred_depth: 2", "pred_depth: 2\n  num_heads: 7"]],
      ["encoder: 7 heads do not divide the width 192"],
    ],
    [
      "a wide head",
      [["pred_embed_dim: 96", "pred_embed_dim: 768"]],
      ["256 columns a head", "model.pred_num_heads to at least 6"],
    ],
    [
      "no context",
      blocks("[0.5, 1.0]"),
      ["mask[0] can leave no context", "mine.yaml:13:5"],
    ],
    [
      "no context ever",
      blocks("[0.5, 0.5]", 200),
      ["mask[0] leaves no context", "mine.yaml:12:5"],
    ],
    [
      "no target",
      blocks("[0.01, 0.15]"),
      ["mask[0] can leave no target", "mine.yaml:13:5"],
    ],
    [
      "no sound left",
      [["    aspect_ratio", "    audio_scale: [1, 1]\n    aspect_ratio"]],
      ["mask[0] can leave no context", "of sound"],
    ],
    [
      "float16",
      [["use_sdpa: True", "dtype: float16"]],
      ["float16 needs a loss scaler", "mine.yaml:34:3"],
    ],
    [
      "weights",
      [["  batch_size: 4", "  batch_size: 4\n  datasets_weights: [1, 2]"]],
      ["2 weights for 1 data.datasets", "mine.yaml:5:3"],
    ],
    [
      "no data",
      [["[clips.csv]", "[]"]],
      ["data.datasets is empty", "mine.yaml:3:3"],
    ],
    [
      "video app with sound",
      [
        ["app: avjepa", "app: vjepa"],
        ["  batch_size", "  modalities: [audio]\n  batch_size"],
      ],
      ["app: vjepa sees no sound"],
    ],
    [
      "tubes with sound",
      [
        [
          "  batch_size",
          "  mask_type: random_tube\n  mask_mode: reference\n  batch_size",
        ],
      ],
      ["random_tube has no mask for sound"],
    ],
    [
      "a range upside down",
      [["aspect_ratio: [0.75, 1.5]", "aspect_ratio: [1.5, 0.75]"]],
      ["the least value 1.5 is above the greatest 0.75", "mine.yaml:15:5"],
    ],
    [
      "batch",
      [
        [
          "  epochs: 10",
          "  epochs: 10\n  grad_accum: 2\n  batch_size_total: 9",
        ],
      ],
      [
        "4 × 1 process × optimization.grad_accum 2 = 8, but optimization.batch_size_total is 9",
      ],
    ],
    [
      "duration of the reference",
      [
        [
          "  batch_size",
          "  audio: { preset: reference, duration: 2 }\n  batch_size",
        ],
      ],
      ["data.audio.duration has no meaning"],
    ],
    [
      "a slip of zeros",
      [["crop_size: 64", "crop_size: 6400000000"]],
      ["tokens; at most"],
    ],
  ])("%s", (_, edits, wanted) => {
    const text = failure(edit(...edits));
    for (const part of wanted) expect(text).toContain(part);
  });
});

test("any two of the batch's numbers give the third", () => {
  const numbers = (text: string, world: number) => {
    const { data, optimization } = load(text, { world }).config;
    return [
      data.batch_size,
      optimization.grad_accum,
      optimization.batch_size_total,
    ];
  };
  expect(numbers(base, 2)).toEqual([4, 1, 8]);
  expect(numbers(base + "", 1)).toEqual([4, 1, 4]);
  const total = "  epochs: 10\n  batch_size_total: 24";
  expect(numbers(edit(["  epochs: 10", total]), 2)).toEqual([4, 3, 24]);
  expect(
    numbers(
      edit(
        ["  epochs: 10", `${total}\n  grad_accum: 2`],
        ["  batch_size: 4\n", ""],
      ),
      3,
    ),
  ).toEqual([4, 2, 24]);
  expect(failure(edit(["  batch_size: 4\n", ""]))).toContain(
    'missing key "data.batch_size"',
  );
});

describe("--set and other options", () => {
  test("are YAML, typed by the schema, over the file", () => {
    const { config, where } = load(base, {
      set: [
        "data.datasets=[a.csv, 'b c.csv']",
        "optimization.lr=2e-4",
        "mask[0].num_blocks=3",
        "mask.0.max_keep=9",
        "logging.write_tag=007",
        "data.audio.num_mel=64",
        "meta.read_checkpoint=null",
        "optimization.lr=3e-4",
      ],
      folder: "runs/é",
      seed: 7,
    });
    expect(config.data.datasets).toEqual(["a.csv", "b c.csv"]);
    expect(config.optimization.lr).toBe(3e-4);
    expect(config.mask[0]).toMatchObject({ num_blocks: 3, max_keep: 9 });
    expect(config.logging).toMatchObject({
      write_tag: "007",
      folder: "runs/é",
    });
    expect(config.data.audio.num_mel).toBe(64);
    expect(config.meta.seed).toBe(7);
    expect(where("optimization.lr")).toBe("--set optimization.lr=3e-4");
    expect(where("logging.folder")).toBe("--folder runs/é");
    expect(where("data.crop_size")).toBe(`${path}:9:3`);
  });
  test.each<[string, ...string[]]>([
    ["data.crop_size=65", "not divisible", "--set data.crop_size=65"],
    ["data.crop_size=x", 'found the text "x"', "--set data.crop_size=x"],
    ["data.crop_size", "expected path.to.key=value", "--set data.crop_size:"],
    ["=3", "expected path.to.key=value", "--set =3"],
    ["data.datasets=[a", "--set data.datasets=[a", "YAML"],
    ["mask[5].num_blocks=3", "--set mask[5].num_blocks=3", "mask has no [5]"],
    ["meta.seed=1e30", "at most 2^53"],
    ["app.x=3", "app has no x", "mine.yaml:1:1"],
  ])("%s", (set, ...wanted) => {
    const text = failure(base, { set: [set] });
    for (const part of wanted) expect(text).toContain(part);
  });
});

describe("variables", () => {
  const withFolder = (text: string) =>
    edit([`folder: ${join(folder, "run")}`, `folder: ${text}`]);
  test("expand, with defaults, in any text, and as any type", () => {
    const text = withFolder("${ROOT:-runs}/${NAME}/$${X}").replace(
      "batch_size: 4",
      "batch_size: ${BATCH:-6}",
    );
    const { config } = load(text, { env: { NAME: "a b", ROOT: "" } });
    expect(config.logging.folder).toBe("runs/a b/${X}");
    expect(config.data.batch_size).toBe(6);
  });
  test("unset without a default", () => {
    const text = failure(withFolder("${NOWHERE}/x"));
    expect(text).toContain("NOWHERE is not set; logging.folder needs it");
    expect(text).toContain("mine.yaml:36:3");
    expect(text).toContain("--set logging.folder=");
  });
  test("unset where a number is wanted", () => {
    expect(failure(edit(["batch_size: 4", "batch_size: ${N}"]))).toContain(
      "N is not set; data.batch_size needs it",
    );
  });
  test("what is wrong otherwise is told first", () => {
    expect(failure(withFolder("${NOWHERE}/x") + "bad: 1\n")).toContain(
      "unknown key",
    );
  });
  test("malformed", () => {
    expect(failure(withFolder('"${A-b}"'))).toContain(
      "without a variable's name",
    );
  });
});

test("an empty section has its defaults", () => {
  const { config } = load(base + "data_aug:\n");
  expect(config.data_aug.random_resize_scale).toEqual([0.3, 1]);
});

test("merge keys and anchors", () => {
  const text = edit([
    "mask:\n  - num_blocks: 4",
    "mask:\n  - &a\n    num_blocks: 4",
  ]).replace("model:\n", "  - <<: *a\n    num_blocks: 2\nmodel:\n");
  expect(load(text).config.mask.map((m) => m.num_blocks)).toEqual([4, 2]);
});

test("warm-up longer than the run is a warning", () => {
  const { warnings } = load(base, { set: ["optimization.warmup=40"] });
  expect(warnings.join()).toContain("only rises");
});

test("a limit that the published masks do not know is a warning, with sound", () => {
  const warned = (...set: string[]) =>
    load(base, { set: ["mask[0].max_keep=9", ...set] }).warnings.join();
  const reference = "data.mask_mode=reference";
  expect(warned()).not.toContain("max_keep");
  expect(warned(reference, "app=vjepa")).not.toContain("max_keep");
  expect(warned(reference)).toContain("max_keep has no effect");
});

test("an evaluation's errors", () => {
  writeFileSync(
    path,
    "eval_name: video_classification_frozen\ndata: { num_classes: 4 }\noptimization:\n  { num_epochs: 1, batch_size: 1, weight_decay: 0, lr: 1, start_lr: 1, final_lr: 0, warmup: 0 }\npretrain: { model_name: vit_tiny, folder: a, checkpoint: b, patch_siz: 8 }\n",
  );
  expect(() => loadEvalConfig(path, { env: {} })).toThrow(
    /unknown key "pretrain.patch_siz"\n.*mine.yaml:5:61/,
  );
  expect(() =>
    loadEvalConfig(path, {
      env: {},
      set: ["pretrain={ model_name: vit_tiny, folder: a, checkpoint: b }"],
    }),
  ).toThrow(/dataset_train/);
});
