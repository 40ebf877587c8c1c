/** A tensor that a module owns: part of its state, and learned unless frozen. */

import { keep } from "../scope.ts";
import { Tensor, operation } from "../tensor.ts";
import { invoke } from "../transport.ts";

export class Parameter extends Tensor {
  /**
   * @param source is taken over.
   * @param options.requiresGrad false for a frozen table; default true.
   */
  constructor(source: Tensor, options: { requiresGrad?: boolean } = {}) {
    const learned = options.requiresGrad ?? true;
    const own = learned
      ? operation("requiresGrad", source.device, [source.handle, null])
      : operation("detach", source.device, [source.handle]);
    const { shape, dtype, device } = own;
    super(own.release(), shape, dtype, device, learned, "parameter");
    source[Symbol.dispose]();
    keep(this);
  }

  /** Overwrites the values, in place. @throws AvjepaError AVJ_SHAPE for another shape. */
  copyFrom(values: Tensor): void {
    invoke("copy_", [this.handle, values.handle]);
  }
}
