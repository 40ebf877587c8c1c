/** Tensors with gradients, modules and the optimizer. */

export { awaitNative, callNative, native } from "./addon.ts";
export {
  Communicator,
  findNccl,
  mpiLibrary,
  type NcclFound,
  type NcclMeeting,
  type Waiting,
} from "./comm.ts";
export {
  type Adapter,
  adapters,
  defaultDevice,
  describeDevice,
  type AdapterPeaks,
  adapterPeaks,
  type DeviceCounters,
  deviceCounters,
  type MemoryUse,
  memory,
  resetPeakMemory,
  setDefaultDevice,
  startTrace,
  synchronize,
  takeTrace,
  type TraceSpan,
} from "./device.ts";
export { type DType, dtypeBytes, type HostArray, hostArray } from "./dtype.ts";
export { AvjepaError, type AvjepaErrorOptions, formatError } from "./error.ts";
export * from "./functional.ts";
export { autocast, autocastType, checkpoint, noGrad } from "./grad.ts";
export * as nn from "./nn/index.ts";
export * as optim from "./optim/index.ts";
export { Generator } from "./random.ts";
export {
  type HostTensor,
  hostTensor,
  loadSafetensors,
  type MappedSafetensors,
  mapSafetensors,
  openSafetensors,
  readTensors,
  saveSafetensors,
  type StoredTensor,
} from "./safetensors.ts";
export { keep, scope, type Synchronous } from "./scope.ts";
export {
  concat,
  full,
  ones,
  requireGrad,
  Tensor,
  tensor,
  type TensorOptions,
  zeros,
} from "./tensor.ts";
export { transport } from "./transport.ts";
