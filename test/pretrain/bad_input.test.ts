/** What is wrong is said once, with a remedy; nothing is lost, nothing hangs. */

import { afterAll, beforeAll, describe, expect, test } from "bun:test";
import {
  existsSync,
  readFileSync,
  readdirSync,
  truncateSync,
  writeFileSync,
} from "node:fs";
import { join } from "node:path";

import {
  Clips,
  bytesOf,
  ffmpeg,
  metricsOf,
  pretrain,
  root,
  small,
  startPretrain,
  stepsOf,
  until,
} from "./support.ts";

let clips: Clips;
beforeAll(() => {
  clips = new Clips(4);
  const good = readFileSync(clips.path("clip0.mp4"));
  writeFileSync(clips.path("text.mp4"), "this is no film\n".repeat(200));
  writeFileSync(
    clips.path("random.mp4"),
    crypto.getRandomValues(new Uint8Array(40_000)),
  );
  writeFileSync(clips.path("truncated.mp4"), good.subarray(0, good.length / 2));
  writeFileSync(clips.path("zero.mp4"), "");
  ffmpeg(
    clips.path("frameless.mp4"),
    "-f lavfi -i testsrc2=size=64x48:rate=25:duration=1 -frames:v 0 -c:v mpeg4",
  );
});
afterAll(() => clips[Symbol.dispose]());

const config = "configs/pretrain/av-vitt16.yaml";
const tag = "avjepaTiny-L1";
const index = (name: string, text: string): string => {
  writeFileSync(clips.path(name), text);
  return clips.path(name);
};
const run = (folder: string, ...more: string[]) =>
  pretrain(
    config,
    "--folder",
    clips.path(folder),
    ...small(clips.path("clips.csv")),
    ...stepsOf(1, 1),
    ...more,
  );
const sets = (...pairs: string[]): string[] =>
  pairs.flatMap((pair) => ["--set", pair]);

/** The command fails with one message that matches, and makes no checkpoint. */
function refused(
  { err, exitCode }: { err: string; exitCode: number },
  ...texts: (string | RegExp)[]
): void {
  for (const text of texts) expect(err).toMatch(text);
  expect(err.match(/^error: /gm)).toHaveLength(1);
  expect(err).not.toContain("this is a bug");
  expect(exitCode).toBe(1);
}

describe("configuration", () => {
  test("an unknown key is named with its place and the nearest one", () => {
    const text = readFileSync(join(root, config), "utf8").replace(
      "  lr: 6.25e-4",
      "  lrate: 6.25e-4",
    );
    const path = clips.path("misspelt.yaml");
    writeFileSync(path, text);
    const line = text.split("\n").findIndex((l) => l.includes("lrate")) + 1;
    const result = pretrain(path, ...small(clips.path("clips.csv")));
    refused(
      result,
      `misspelt.yaml:${line}:3`,
      '"optimization.lrate"',
      '"optimization.lr"',
    );
  });

  test.each([
    [["data.batch_size=many"], "data.batch_size"],
    [["data.crop_size=33"], /crop_size.*patch_size|patch_size.*crop_size/],
    [
      ["data.num_frames=5"],
      /num_frames.*tubelet_size|tubelet_size.*num_frames/,
    ],
    [["model.num_heads=5"], /num_heads/],
    [["meta.dtype=float16"], /float16.*bfloat16|bfloat16/s],
    [
      [
        "mask=[{num_blocks: 1, spatial_scale: [1, 1], temporal_scale: [1, 1], aspect_ratio: [1, 1]}]",
      ],
      /context/,
    ],
    [["data.audio.num_mel=12"], /num_mel/],
  ] as [string[], RegExp | string][])("%j is refused", (pairs, text) => {
    refused(run("never", ...sets(...pairs)), text);
    expect(existsSync(join(clips.path("never"), "metrics.jsonl"))).toBe(false);
  });

  test("usage", () => {
    expect(pretrain().exitCode).toBe(2);
    expect(pretrain("configs/pretrain/none.yaml").exitCode).toBe(1);
    const set = pretrain(config, "--set", "data.batch_size");
    expect([set.exitCode, set.err]).toEqual([
      2,
      expect.stringContaining("--set"),
    ]);
  });

  test.each(["cuda", "wgpu:3", "cuda:0,cuda:1"])(
    "devices that are not there: %s",
    (devices) => {
      refused(run("never", "--devices", devices), /cuda|wgpu|processes/);
    },
  );
});

describe("index", () => {
  test.each([
    ["missing", "none.csv", undefined, /none\.csv/],
    ["empty", "empty.csv", "\n\n", /empty\.csv/],
    [
      "a line without label",
      "lines.csv",
      "clip0.mp4 1\nclip1.mp4\n",
      /lines\.csv.*2/,
    ],
  ] as const)("%s", (_, name, text, message) => {
    if (text !== undefined) index(name, text);
    refused(
      run("never", ...sets(`data.datasets=[${clips.path(name)}]`)),
      message,
    );
  });
});

describe("files", () => {
  const bad = [
    "text.mp4",
    "random.mp4",
    "truncated.mp4",
    "zero.mp4",
    "frameless.mp4",
    "gone.mp4",
  ];

  test.each(bad)("%s is named, counted and replaced", (name) => {
    const path = index(
      `with-${name}.csv`,
      `clip0.mp4 0\n${name} 1\nclip1.mp4 0\nclip2.mp4 0\n`,
    );
    const result = run(
      `run-${name}`,
      ...sets(
        `data.datasets=[${path}]`,
        "data.max_bad_fraction=0.5",
        "optimization.ipe=4",
      ),
      "--json",
    );
    expect(result.err).toContain(name);
    expect(result.exitCode).toBe(0);
    expect(JSON.parse(result.out)).toMatchObject({ step: 4, bad_files: 1 });
    expect(
      readFileSync(join(clips.path(`run-${name}`), "log.txt"), "utf8"),
    ).toContain(name);
  });

  test("too many end the run", () => {
    const path = index(
      "bad.csv",
      bad.map((name) => `${name} 0\n`).join("") + "clip0.mp4 0\n",
    );
    refused(
      run("bad", ...sets(`data.datasets=[${path}]`)),
      "max_bad_fraction",
      "doctor",
    );
  });

  test("nothing but bad ones end it as well, whatever is allowed", () => {
    const path = index("worse.csv", bad.map((name) => `${name} 0\n`).join(""));
    refused(
      run(
        "worse",
        ...sets(`data.datasets=[${path}]`, "data.max_bad_fraction=1"),
      ),
      /\.mp4|bad/,
    );
  });

  test("held-out ones are told apart", () => {
    const few = index("few.csv", "clip0.mp4 0\ntext.mp4 0\nclip1.mp4 0\n");
    const allowed = sets(
      `data.held_out=[${few}]`,
      "data.max_bad_fraction=0.5",
      "logging.held_out_every_steps=1",
    );
    const result = run("held-out", ...allowed);
    expect(result.exitCode).toBe(0);
    expect(result.err).toMatch(/cannot read held-out \S+text\.mp4/);
    refused(
      run("held-out-bad", ...allowed, ...sets("data.max_bad_fraction=0")),
      "data.held_out",
      "text.mp4",
    );
  });
});

describe("run folder", () => {
  test("below a file", () => {
    refused(run(join("clips.csv", "run")), "clips.csv");
  });

  test("in use", async () => {
    const args = [
      "--folder",
      clips.path("used"),
      ...small(clips.path("clips.csv")),
      ...stepsOf(1, 500),
    ];
    const first = startPretrain(config, ...args);
    await until(() => existsSync(join(clips.path("used"), "metrics.jsonl")));
    refused(pretrain(config, ...args), `in use by process ${first.pid}`);
    first.kill("SIGINT");
    expect(await first.exited).toBe(75);
  }, 60_000);

  test("a full disk keeps the checkpoint before", () => {
    expect(run("full", ...sets("optimization.epochs=2")).exitCode).toBe(0);
    const before = bytesOf(clips.path(`full/${tag}-s2`));
    const more = [
      "--folder",
      clips.path("full"),
      ...small(clips.path("clips.csv")),
      ...stepsOf(3, 1),
    ];
    const command = [
      process.execPath,
      "scripts/pretrain.ts",
      config,
      ...more,
      "--allow-change",
    ];
    const limited = Bun.spawnSync(
      ["bash", "-c", 'ulimit -f 200; exec "$@"', "bash", ...command],
      { cwd: root },
    );
    refused(
      { err: String(limited.stderr), exitCode: limited.exitCode },
      "step 3",
      "step 2 is intact",
    );
    expect(bytesOf(clips.path(`full/${tag}-s2`))).toEqual(before);
    expect(readdirSync(clips.path("full"))).not.toContain(`${tag}-s3`);
  }, 60_000);
});

describe("checkpoint", () => {
  beforeAll(() => {
    expect(run("sound").exitCode).toBe(0);
  });
  const copy = (name: string): string => {
    Bun.spawnSync(["cp", "-a", clips.path("sound"), clips.path(name)]);
    return clips.path(`${name}/${tag}-s1`);
  };

  test("of another size", () => {
    const wider = sets(
      "model.embed_dim=96",
      `meta.init_from=${clips.path("sound")}`,
    );
    refused(run("wider", ...wider), "weights.safetensors", /192.*96|96.*192/s);
    refused(run("sound", ...sets("model.embed_dim=96")), "model.embed_dim");
    refused(
      run("sound", ...sets("model.embed_dim=96"), "--allow-change"),
      "weights.safetensors",
    );
  });

  test("damaged", () => {
    const path = join(copy("damaged"), "weights.safetensors");
    truncateSync(path, 1000);
    refused(
      run("damaged", ...sets("optimization.epochs=2"), "--allow-change"),
      path,
    );
  });

  test("of a newer format", () => {
    const path = join(copy("newer"), "state.json");
    const state = JSON.parse(readFileSync(path, "utf8"));
    writeFileSync(
      path,
      JSON.stringify({ ...state, format_version: state.format_version + 1 }),
    );
    refused(run("newer"), /newer|version/);
  });

  test("that is not there", () => {
    refused(run("sound", "--resume", clips.path("nowhere")), "nowhere");
    refused(
      run("fresh", ...sets("meta.load_checkpoint=true")),
      "meta.load_checkpoint",
    );
    refused(
      run("fresh", ...sets(`meta.init_from=${clips.path("nowhere")}`)),
      "nowhere",
    );
  });
});

test("a loss that is no number names term and step, and keeps the last good checkpoint", () => {
  const settings = sets(
    "optimization.epochs=4",
    "optimization.warmup=0",
    "optimization.lr=1e30",
    "optimization.clip_grad=null",
  );
  const result = run(
    "infinite",
    ...settings,
    ...sets("meta.checkpoint_every_steps=1"),
  );
  refused(
    result,
    /step \d: the (loss|gradient)/,
    "last good checkpoint",
    "optimization.lr",
  );
  const steps = metricsOf(clips.path("infinite")).length;
  expect(steps).toBeGreaterThan(0);
  expect(existsSync(clips.path(`infinite/${tag}-s${steps}/state.json`))).toBe(
    true,
  );
}, 60_000);
