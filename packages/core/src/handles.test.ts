/** What goes wrong is an error that names it, and never the end of the process or of the device. */

import { afterEach, describe, expect, test } from "bun:test";

import { memory, setDefaultDevice, synchronize } from "./device.ts";
import { AvjepaError } from "./error.ts";
import {
  attention,
  crossEntropy,
  layerNorm,
  linear,
  mlp,
} from "./functional.ts";
import { autocast, checkpoint, noGrad } from "./grad.ts";
import { Generator } from "./random.ts";
import { scope } from "./scope.ts";
import {
  concat,
  full,
  requireGrad,
  type Tensor,
  tensor,
  zeros,
} from "./tensor.ts";
import { settledMemory } from "./testing.ts";
import { invoke } from "./transport.ts";

const caught = (work: () => unknown): AvjepaError => {
  try {
    work();
  } catch (error) {
    if (error instanceof AvjepaError) return error;
    throw error;
  }
  throw new Error("nothing was thrown");
};

const rejected = async (work: () => Promise<unknown>): Promise<AvjepaError> => {
  const error: unknown = await work().then(
    () => new Error("it resolved"),
    (reason: unknown) => reason,
  );
  if (error instanceof AvjepaError) return error;
  throw error;
};

/** Whatever a test did, the device goes on. */
afterEach(async () => {
  expect([
    ...(await tensor([1, 2])
      .add(tensor([3, 4]))
      .toNumbers()),
  ]).toEqual([4, 6]);
});

describe("freed tensors", () => {
  test("use after free names the tensor", () => {
    const x = tensor([1, 2, 3]);
    x.dispose();
    const error = caught(() => x.add(1));
    expect(error.code).toBe("AVJ_HANDLE");
    expect(error.message).toBe("the tensor tensor [3] has been freed");
    expect(error.hint).toContain("scope");
    expect(caught(() => tensor([1]).add(x)).code).toBe("AVJ_HANDLE");
  });

  test("so does freeing twice; using ends quietly", () => {
    const x = tensor([1]).neg();
    x.dispose();
    expect(caught(() => x.dispose()).message).toBe(
      "the neg tensor [1] has been freed",
    );
    x[Symbol.dispose]();
  });

  test("reading a freed tensor rejects", async () => {
    const x = zeros([2]);
    x.dispose();
    for (const read of [
      () => x.toArray(),
      () => x.toNumbers(),
      () => full([1], 0).to("nowhere"),
    ])
      expect((await rejected(read)).code).toMatch(/^AVJ_(HANDLE|DEVICE)$/);
  });

  test("a read that is under way outlives the tensor", async () => {
    const x = tensor([5, 6]);
    const reading = x.toNumbers();
    x.dispose();
    expect([...(await reading)]).toEqual([5, 6]);
  });

  test("freed by its scope", () => {
    let inner: Tensor | undefined;
    scope(() => void (inner = tensor([1])));
    expect(caught(() => inner?.neg()).code).toBe("AVJ_HANDLE");
  });

  test.each([0, -1, 0.5, 1e300, Number.NaN, 2 ** 52 + 1])(
    "no tensor is behind the handle %p",
    (handle) => {
      const error = caught(() => invoke("neg", [handle]));
      expect(error.code).toBe("AVJ_HANDLE");
      expect(error.message).toStartWith("neg: ");
    },
  );
});

describe("shapes and types are refused at once", () => {
  const x = () => tensor([1, 2, 3, 4, 5, 6], [2, 3]);

  test.each<[string, () => unknown, string, RegExp]>([
    [
      "tensor",
      () => tensor([1, 2], [3]),
      "AVJ_SHAPE",
      /^tensor: 2 values for the shape \[3\]/,
    ],
    ["a negative size", () => zeros([2, -3]), "AVJ_SHAPE", /\[2, -3\]/],
    ["half a size", () => zeros([1.5]), "AVJ_SHAPE", /\[1\.5\]/],
    [
      "two negative sizes",
      () => tensor([1, 2, 3, 4], [-2, -2]),
      "AVJ_SHAPE",
      /\[-2, -2\]/,
    ],
    [
      "more than can be counted",
      () => zeros([2 ** 40, 2 ** 40]),
      "AVJ_SHAPE",
      /too large/,
    ],
    [
      "what overflows to nothing",
      () => zeros([0]).reshape(2 ** 32, 2 ** 32),
      "AVJ_SHAPE",
      /^reshape: \[0\]/,
    ],
    [
      "large axes beside an empty one",
      () => zeros([2 ** 40, 2 ** 40, 0]),
      "AVJ_SHAPE",
      /too large/,
    ],
    [
      "a view past the end by overflow",
      () => invoke("view", [x().handle, 0, [2 ** 32, 2 ** 32]]),
      "AVJ_SHAPE",
      /^view: /,
    ],
    [
      "more axes than an answer holds",
      () => zeros([1]).reshape(...Array<number>(5000).fill(1)),
      "AVJ_ARGUMENT",
      /^reshape: the answer has 5004 numbers/,
    ],
    [
      "no shape",
      () => zeros(undefined as never),
      "AVJ_SHAPE",
      /^full: undefined is no shape/,
    ],
    [
      "no operand",
      () => x().add(null as never),
      "AVJ_ARGUMENT",
      /^add: the other operand is null, not a tensor/,
    ],
    [
      "a text for a number",
      () => x().slice(0, 1, "2" as never),
      "AVJ_ARGUMENT",
      /^slice: an argument is '2'/,
    ],
    [
      "a hole among numbers",
      () => tensor([1, , 3] as number[]),
      "AVJ_DTYPE",
      /^tensor: undefined is no float32/,
    ],
    [
      "half of an integer everywhere",
      () => full([2], 0.5, { dtype: "int32" }),
      "AVJ_DTYPE",
      /^full: 0\.5 is no int32/,
    ],
    [
      "an array that was transferred",
      () => {
        const moved = new Float32Array(4);
        structuredClone(moved.buffer, { transfer: [moved.buffer] });
        tensor(moved);
      },
      "AVJ_ARGUMENT",
      /^tensor: the array's memory/,
    ],
    [
      "half a seed",
      () => new Generator(1.5),
      "AVJ_ARGUMENT",
      /^Generator: the seed is 1\.5/,
    ],
    ["add", () => x().add(zeros([2])), "AVJ_SHAPE", /^add: .*\[2, 3\].*\[2\]/],
    [
      "matmul",
      () => x().matmul(x()),
      "AVJ_SHAPE",
      /^matmul: .*\[2, 3\].*\[2, 3\]/,
    ],
    ["reshape", () => x().reshape(4, 2), "AVJ_SHAPE", /^reshape: .*\[2, 3\]/],
    ["permute", () => x().permute(0, 0), "AVJ_ARGUMENT", /^permute: /],
    ["slice", () => x().slice(0, 1, 5), "AVJ_ARGUMENT", /^slice: /],
    ["sum", () => x().sum(2), "AVJ_ARGUMENT", /^sum: /],
    ["concat", () => concat([x(), zeros([2, 2])]), "AVJ_SHAPE", /^concat: /],
    ["concat of nothing", () => concat([]), "AVJ_ARGUMENT", /^concat: /],
    [
      "linear",
      () => linear(x(), zeros([4, 5]), null),
      "AVJ_SHAPE",
      /^linear: the input is \[2, 3\] but the weight \[4, 5\]/,
    ],
    [
      "mlp",
      () =>
        mlp(x(), {
          weight1: zeros([4, 3]),
          bias1: null,
          weight2: zeros([3, 5]),
          bias2: null,
        }),
      "AVJ_SHAPE",
      /^mlp: /,
    ],
    [
      "layerNorm",
      () => layerNorm(x(), zeros([2]), null, 1e-6),
      "AVJ_SHAPE",
      /^layerNorm: /,
    ],
    [
      "attention",
      () => attention(x(), tensor(Int32Array.of(0, 2)), 3),
      "AVJ_SHAPE",
      /^attention: /,
    ],
    [
      "wide heads",
      () => attention(zeros([1, 3 * 129]), tensor(Int32Array.of(0, 1)), 1),
      "AVJ_SHAPE",
      /129 a head/,
    ],
    [
      "float labels",
      () => crossEntropy(x(), zeros([2])),
      "AVJ_DTYPE",
      /^crossEntropy: /,
    ],
    [
      "gradients of integers",
      () => tensor(Int32Array.of(1), [1], { requiresGrad: true }),
      "AVJ_DTYPE",
      /int32/,
    ],
    [
      "mixed types",
      () => x().add(tensor(Int32Array.of(1))),
      "AVJ_DTYPE",
      /^add: /,
    ],
    [
      "an unknown type",
      () => zeros([1], { dtype: "float8" as "float32" }),
      "AVJ_DTYPE",
      /float8/,
    ],
    [
      "a fraction as int64",
      () => tensor([1.5], [1], { dtype: "int64" }),
      "AVJ_DTYPE",
      /1\.5/,
    ],
    [
      "no typed array",
      () => tensor(new Int8Array(1) as unknown as Int32Array),
      "AVJ_DTYPE",
      /Int8Array/,
    ],
    [
      "an unknown device",
      () => setDefaultDevice("cuda:7"),
      "AVJ_DEVICE",
      /cuda:7/,
    ],
    [
      "an unknown operation",
      () => invoke("frobnicate", []),
      "AVJ_ADDON",
      /frobnicate/,
    ],
  ])("%s", (_, work, code, message) => {
    const error = caught(() => scope(() => void work()));
    expect(error.message).toMatch(message);
    expect(error.code).toBe(code);
  });

  test("shared memory is copied like any other", async () => {
    const shared = new Float32Array(new SharedArrayBuffer(16), 4, 2);
    shared.set([5, 6]);
    expect([...(await tensor(shared).toNumbers())]).toEqual([5, 6]);
  });

  test("item of several values", async () => {
    const error = await rejected(() => x().item());
    expect(error.message).toBe("item: the tensor is [2, 3], not one number");
  });
});

describe("faults of kernels are told at the next await", () => {
  test("a row that is not there, by the operation's name", async () => {
    const picked = tensor([1, 2]).indexSelect(tensor(Int32Array.of(0, 7)));
    const error = await rejected(() => picked.toArray());
    expect(error.code).toMatch(/^AVJ_/);
    expect(error.message).toMatch(/^indexSelect: .*7/);
  });

  test("a label that is not there", async () => {
    const loss = crossEntropy(zeros([2, 3]), tensor(Int32Array.of(0, 3)));
    expect((await rejected(() => loss.toArray())).message).toMatch(
      /^crossEntropy: .*3/,
    );
  });

  test("offsets that fall", async () => {
    attention(zeros([2, 6]), tensor(Int32Array.of(0, 2, 1)), 1);
    expect((await rejected(() => synchronize())).message).toMatch(
      /^attention: /,
    );
  });

  test("more elements than can be counted", async () => {
    invoke("full", [0, [2 ** 32, 2 ** 32], 0, 1]);
    expect((await rejected(() => synchronize())).code).toBe("AVJ_MEMORY");
  });

  test("more memory than there is", async () => {
    zeros([2 ** 45]);
    const error = await rejected(() => synchronize());
    expect(error.code).toBe("AVJ_MEMORY");
    expect(error.hint).toContain("smaller batch");
  });

  test("what was skipped has no values, rather than wrong ones", async () => {
    tensor([1]).indexSelect(tensor(Int32Array.of(5)));
    const after = tensor([1, 2]).add(1);
    await rejected(() => synchronize());
    expect((await rejected(() => after.toArray())).message).toContain(
      "before anything has been written",
    );
  });

  test("only once: what comes after is right", async () => {
    const rows = tensor(Int32Array.of(5));
    for (let i = 0; i < 3; i++) tensor([1]).indexSelect(rows);
    await rejected(() => synchronize());
    await synchronize();
    expect(await tensor([1, 2]).sum().item()).toBe(3);
  });
});

describe("callbacks are synchronous", () => {
  const later = (async () => tensor([1])) as never;

  test.each<[string, () => unknown]>([
    ["scope", () => scope(later)],
    ["noGrad", () => noGrad(later)],
    ["checkpoint", () => checkpoint(later)],
    ["autocast", () => autocast("bfloat16", later)],
  ])("%s refuses a promise", (name, work) => {
    const error = caught(work);
    expect(error.code).toBe("AVJ_ARGUMENT");
    expect(error.message).toBe(`${name}: the function returned a promise`);
    // It ended: gradients are on again, nothing is recorded, no type is set.
    const x = tensor([2], [1], { requiresGrad: true });
    const y = x.square();
    y.backward();
    expect(y.dtype).toBe("float32");
    expect(x.grad).not.toBeNull();
  });

  test("promises that reject are refused just the same", () => {
    const fails = (async () => {
      throw new Error("unseen");
    }) as never;
    expect(caught(() => scope(fails)).code).toBe("AVJ_ARGUMENT");
  });
});

describe("gradients that cannot be had", () => {
  const learned = () => tensor([1, 2], [2], { requiresGrad: true });

  test.each<[string, () => unknown, RegExp]>([
    [
      "of several values",
      () => learned().square().backward(),
      /\[2\], not one number/,
    ],
    [
      "of a constant",
      () => tensor([1]).backward(),
      /does not depend on anything/,
    ],
    [
      "inside noGrad",
      () => noGrad(() => learned().sum()).backward(),
      /does not depend/,
    ],
    [
      "of another shape",
      () =>
        learned()
          .square()
          .backward(zeros([3])),
      /\[3\]/,
    ],
    [
      "twice",
      () => {
        const loss = learned().square().sum();
        loss.backward();
        loss.backward();
      },
      /used already/,
    ],
    [
      "inside a checkpoint",
      () =>
        checkpoint(() => {
          const y = learned().sum();
          y.backward();
          return y;
        }),
      /made inside a checkpoint/,
    ],
    [
      "of what left a checkpoint by the back door",
      () => {
        let inside: Tensor | undefined;
        const x = learned();
        checkpoint(() => (inside = x.square()).sum());
        const y = requireGrad(tensor([1, 2])).mul(inside as Tensor);
        y.sum().backward();
      },
      /made inside a checkpoint|has been freed/,
    ],
    [
      "a checkpoint without tensors",
      () => checkpoint(() => []),
      /returned no tensors/,
    ],
  ])("%s", (_, work, message) => {
    expect(caught(() => scope(() => void work())).message).toMatch(message);
  });
});

test("errors leave no tensors behind", async () => {
  const before = (await settledMemory()).tensors;
  for (let i = 0; i < 50; i++) {
    caught(() => scope(() => tensor([1, 2]).add(zeros([3]))));
    caught(() =>
      scope(() =>
        checkpoint(() =>
          tensor([1], [1], { requiresGrad: true }).add(
            zeros([2, 2, 7]).reshape(5),
          ),
        ),
      ),
    );
  }
  await synchronize();
  expect(memory().tensors).toBe(before);
});
