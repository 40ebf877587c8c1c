/** AdamW, and the moving average that it carries. */

import {
  type DType,
  nn,
  optim,
  scope,
  type Tensor,
  tensor,
  zeros,
} from "@avjepa/core";
import type { ParityCase } from "../case.ts";
import { fillValues } from "../fill.ts";

/** A module of parameters under given keys. */
export class Bag extends nn.Module {
  static of(parameters: Record<string, Tensor>): Bag {
    const bag = new Bag();
    for (const [key, value] of Object.entries(parameters)) {
      const parts = key.split(".");
      const last = parts.pop() as string;
      let place = bag as unknown as Record<string, unknown>;
      for (const part of parts)
        place = (place[part] ??= new Bag()) as Record<string, unknown>;
      place[last] = new nn.Parameter(value);
    }
    return bag;
  }
}

const groups = ["encoder", "predictor"] as const;

export async function runAdamw(given: ParityCase, dtype: DType): Promise<void> {
  const {
    steps,
    lr,
    wd,
    clip,
    betas,
    eps,
    grad_fill: fill,
    grad_ramp: ramp,
  } = given.hyper;
  const keys = (group: string) =>
    given
      .names("param")
      .filter((name) => name.startsWith(`${group}.`))
      .map((name) => name.slice(group.length + 1));
  const bags = groups.map((group) =>
    Bag.of(
      Object.fromEntries(
        keys(group).map((key) => [
          key,
          given.tensor(`${group}.${key}`, { dtype }),
        ]),
      ),
    ),
  );
  const adamw = new optim.AdamW(bags, { betas, eps });
  const norms: number[] = [];
  for (let i = 0; i < steps; i++) {
    const found = scope(() => {
      for (const [b, bag] of bags.entries()) {
        for (const [key, parameter] of bag.namedParameters()) {
          const name = `${groups[b]}.${key}`;
          const values = fillValues(`g.${name}.${i}`, fill, parameter.size);
          const gradient = tensor(values, parameter.shape, { dtype }).mul(
            ramp[i] as number,
          );
          parameter.mul(1).backward(gradient);
        }
      }
      return adamw.step({ lr: lr[i], wd: wd[i], clip });
    });
    for (const norm of found) norms.push(await norm.item());
    if (i === 0) await compareAll(given, bags, "step1");
  }
  given.compare("grad_norm", norms);
  await compareAll(given, bags, "final");
  const state = adamw.stateDict();
  for (const [b, group] of groups.entries()) {
    for (const key of keys(group)) {
      for (const [ours, theirs] of [
        ["exp_avg", "m"],
        ["exp_avg_sq", "v"],
      ] as const) {
        const name = `${theirs}.${group}.${key}`;
        if (given.has(name))
          await given.compareTensor(
            name,
            state[`${b}.${key}.${ours}`] as Tensor,
          );
      }
    }
  }
}

async function compareAll(
  given: ParityCase,
  bags: readonly Bag[],
  prefix: string,
): Promise<void> {
  for (const [b, bag] of bags.entries()) {
    for (const [key, parameter] of bag.namedParameters()) {
      const name = `${prefix}.${groups[b]}.${key}`;
      if (given.has(name)) await given.compareTensor(name, parameter);
    }
  }
}

export async function runEma(given: ParityCase, dtype: DType): Promise<void> {
  const { steps, momentum, online_fill: fill } = given.hyper;
  const keys = given
    .names("input")
    .map((name) => name.replace(/^target\./, ""));
  const online = Bag.of(
    Object.fromEntries(
      keys.map((key) => [key, zeros(given.shape(`target.${key}`), { dtype })]),
    ),
  );
  const target = Bag.of(
    Object.fromEntries(
      keys.map((key) => [key, given.tensor(`target.${key}`, { dtype })]),
    ),
  );
  const adamw = new optim.AdamW([online]);
  for (let i = 0; i < steps; i++) {
    scope(() => {
      for (const [key, parameter] of online.namedParameters()) {
        const values = fillValues(`online.${key}.${i}`, fill, parameter.size);
        parameter.copyFrom(tensor(values, parameter.shape, { dtype }));
      }
      // Without gradients and at rate 0 the online values stay what they are.
      adamw.step({ lr: 0, ema: { target, momentum: momentum[i] } });
    });
  }
  for (const [key, parameter] of target.namedParameters())
    await given.compareTensor(`final.${key}`, parameter);
}
