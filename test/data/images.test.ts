/** Pictures from folders and indexes, and indexes that NumPy wrote. */

import { afterAll, beforeAll, expect, test } from "bun:test";
import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { ImageLoader, imageSplit, readIndex } from "@avjepa/data";

let root = "";

/** A BMP of one colour. */
function bitmap(
  width: number,
  height: number,
  [red, green, blue]: readonly [number, number, number],
): Buffer {
  const row = Math.ceil((width * 3) / 4) * 4;
  const file = Buffer.alloc(54 + row * height);
  file.write("BM");
  file.writeUInt32LE(file.length, 2);
  file.writeUInt32LE(54, 10);
  file.writeUInt32LE(40, 14);
  file.writeInt32LE(width, 18);
  file.writeInt32LE(height, 22);
  file.writeUInt16LE(1, 26);
  file.writeUInt16LE(24, 28);
  for (let y = 0; y < height; y++)
    for (let x = 0; x < width; x++)
      file.set([blue, green, red], 54 + y * row + x * 3);
  return file;
}

beforeAll(() => {
  root = mkdtempSync(join(tmpdir(), "avjepa-images-"));
  for (const [split, count] of [
    ["train", 3],
    ["val", 2],
  ] as const)
    for (const [c, name] of ["ant", "bee"].entries()) {
      const folder = join(root, "set", split, name);
      mkdirSync(folder, { recursive: true });
      for (let i = 0; i < count; i++)
        writeFileSync(
          join(folder, `${i}.bmp`),
          bitmap(40, 30, [100 * c, i, 7]),
        );
    }
  writeFileSync(join(root, "set", "val", "bee", "0.bmp"), "no picture");
});
afterAll(() => rmSync(root, { recursive: true, force: true }));

test("an evaluation has each readable picture once, in order, as a clip", async () => {
  await using train = new ImageLoader(imageSplit(root, "set", "train"), {
    batch: 4,
    crop: 32,
    train: true,
  });
  const { classes } = train.info;
  expect(classes).toEqual(["ant", "bee"]);
  await using loader = new ImageLoader(imageSplit(root, "set", "val"), {
    batch: 3,
    crop: 32,
    frames: 2,
    classes,
    maxBadFraction: 0.5,
  });
  const labels: number[] = [];
  const places: number[] = [];
  const shapes: string[] = [];
  for await (const batch of loader) {
    labels.push(...batch.labels);
    places.push(...batch.indices);
    shapes.push(String(batch.video?.shape));
    const pixels = await batch.video!.toArray();
    const half = pixels.length / batch.samples / 2;
    expect(pixels.slice(0, half)).toEqual(pixels.slice(half, 2 * half));
  }
  expect(labels).toEqual([0, 0, 1]);
  expect(places).toEqual([0, 1, 3]);
  expect(shapes).toEqual(["2,2,32,32,3", "1,2,32,32,3"]);
  expect(loader.events).toHaveLength(1);
  expect(loader.events[0]).toMatchObject({ kind: "bad", replaced: false });
  expect(loader.events[0]!.path).toEndWith("val/bee/0.bmp");
  expect(loader.events[0]!.reason).toContain("no picture that can be read");
});

test("training gives whole batches of floats, the same each time", async () => {
  const run = async (workers: number) => {
    await using loader = new ImageLoader(imageSplit(root, "set", "train"), {
      batch: 4,
      crop: 16,
      train: true,
      workers,
      seed: 3,
    });
    const first = await loader.next();
    const second = await loader.next();
    expect(first!.videoShape).toEqual([4, 3, 16, 16]);
    expect(second!.passes).toContain(1);
    return [first!.indices, first!.pixels, second!.indices, second!.pixels];
  };
  expect(await run(1)).toEqual(await run(2));
});

test("a class that training lacks, and options that cannot be, are refused", () => {
  const open = (options: object) => () =>
    new ImageLoader(join(root, "set", "val"), { batch: 1, ...options });
  expect(open({ classes: ["ant"] })).toThrow("the training set lacks: bee");
  expect(open({ batch: 0 })).toThrow("batch is 0");
  expect(open({ crop: 2.5 })).toThrow("crop is 2.5");
  expect(open({ frames: 1.5 })).toThrow("frames is 1.5");
  expect(() => new ImageLoader(join(root, "absent"), { batch: 1 })).toThrow(
    "there is no folder",
  );
});

/** A .npy file of format 1. */
function array(descr: string, data: Buffer): Buffer {
  const header = `{'descr': '${descr}', 'fortran_order': False, 'shape': (2,), }\n`;
  const length = Buffer.alloc(2);
  length.writeUInt16LE(header.length);
  return Buffer.concat([
    Buffer.from("\x93NUMPY\x01\x00", "latin1"),
    length,
    Buffer.from(header),
    data,
  ]);
}

/** What numpy.save writes of `np.array(paths, dtype=object)`: a pickle. */
function pickled(paths: readonly string[], module: string): Buffer {
  const text = (value: string) =>
    `X${String.fromCharCode(value.length)}\0\0\0${value}`;
  const reconstruct = `c${module}.multiarray\n_reconstruct\n(cnumpy\nndarray\nK\0\x85C\x01btR`;
  const dtype = `(cnumpy\ndtype\nX\x02\0\0\0O8\x89\x88\x87R(K\x03X\x01\0\0\0|NNNJ\xff\xff\xff\xffJ\xff\xff\xff\xffK\x3ftb`;
  const list = `](${paths.map(text).join("")}e`;
  const body = `(K\x01K${String.fromCharCode(paths.length)}\x85${dtype.slice(1)}\x89${list}tb.`;
  return Buffer.from(`\x80\x03${reconstruct}${body}`, "latin1");
}

/** A JPEG of four CMYK colours, a quarter each, that Pillow wrote. */
const fourInks = [
  "/9j/7gAOQWRvYmUAZAAAAAAA/9sAQwADAgIDAgIDAwMDBAMDBAUIBQUEBAUKBwcGCAwKDAwL",
  "CgsLDQ4SEA0OEQ4LCxAWEBETFBUVFQwPFxgWFBgSFBUU/8AAFAgAQABABEMRAE0RAFkRAEsR",
  "AP/EABkAAQEBAQEBAAAAAAAAAAAAAAAJCAoHBf/EABQQAQAAAAAAAAAAAAAAAAAAAAD/2gAO",
  "BEMATQBZAEsAAD8Ax4oG1mo6AAAAv2jeioyKAAAAgIsgtW10AAAAv2jeioyKAAAAgIsgtW10",
  "AAAAv2jeioyKAAAAgIsgtW10AAAAv2jeioyKAAAA+2vA6S28AAAAGD0v3ijnpAAAAbwVAe1u",
  "hYAAABg9L94o56QAAAG8FQHtboWAAAAYPS/eKOekAAABvBUB7W6FgAAAGD0v3ijnpAAAAf/Z",
].join("");

test("JPEGs of four inks have the colours that Pillow decodes", async () => {
  const cmyk = Buffer.from(fourInks, "base64");
  const adobe = cmyk.indexOf("Adobe");
  // The marker's last byte says what the four numbers are.
  const ycck = Buffer.from(cmyk);
  ycck[adobe + 11] = 2;
  const unmarked = Buffer.concat([
    cmyk.subarray(0, adobe - 4),
    cmyk.subarray(adobe + 12),
  ]);
  const inks = "51,207,180 159,49,23 255,255,255 36,29,46";
  const wanted = {
    cmyk: [cmyk, inks],
    ycck: [ycck, "98,235,26 91,0,67 0,134,0 0,33,17"],
    unmarked: [unmarked, inks],
  } as const;
  for (const [name, [bytes, colours]] of Object.entries(wanted)) {
    writeFileSync(join(root, `${name}.jpg`), bytes);
    const index = join(root, `${name}.csv`);
    writeFileSync(index, `${name}.jpg 0\n`);
    await using loader = new ImageLoader(index, { batch: 1, crop: 64 });
    const { pixels } = (await loader.next())!;
    const at = (x: number, y: number) =>
      pixels.subarray(3 * (64 * y + x), 3 * (64 * y + x) + 3).join();
    const found = [at(16, 16), at(48, 16), at(16, 48), at(48, 48)];
    expect([name, found.join(" ")]).toEqual([name, colours]);
  }
});

test("indexes of NumPy: texts and pickled objects, and nothing else", () => {
  const write = (name: string, bytes: Buffer) => {
    writeFileSync(join(root, name), bytes);
    return join(root, name);
  };
  const wide = Buffer.from("a\0\0\0b\0\0\0c\0\0\0\0\0\0\0", "latin1");
  expect(readIndex(write("u.npy", array("<U2", wide)))).toMatchObject({
    paths: [join(root, "ab"), join(root, "c")],
    labels: Int32Array.of(0, 0),
  });
  for (const module of ["numpy.core", "numpy._core"]) {
    const bytes = array("|O", pickled(["x y.mp4", "/z.mp4"], module));
    expect(readIndex(write("o.npy", bytes)).paths).toEqual([
      join(root, "x y.mp4"),
      "/z.mp4",
    ]);
  }
  const hostile = array(
    "|O",
    Buffer.from("\x80\x02cos\nsystem\nX\x02\0\0\0ls\x85R.", "latin1"),
  );
  expect(() => readIndex(write("bad.npy", hostile))).toThrow(
    "os.system, which is not allowed",
  );
  expect(() =>
    readIndex(write("n.npy", array("<i8", Buffer.alloc(16)))),
  ).toThrow("not of texts");
});
