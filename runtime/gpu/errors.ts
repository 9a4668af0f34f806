// What can go wrong with a GPU, as errors that say whether another backend should take over.

/**
 * GPU_PACKAGE_ABSENT: `webgpu` is not installed or does not load here. GPU_ADAPTER_ABSENT: no driver
 * offers a device. GPU_DEVICE_LOST: the device is gone, with all that was on it. GPU_OUT_OF_MEMORY:
 * the memory, or what was allowed of it, is full. GPU_BUFFER_SIZE: one tensor is larger than the
 * device binds. GPU_KERNEL: the device refuses a kernel or a call, which is a mistake of ours.
 */
export type GpuErrorCode =
  | 'GPU_PACKAGE_ABSENT'
  | 'GPU_ADAPTER_ABSENT'
  | 'GPU_DEVICE_LOST'
  | 'GPU_OUT_OF_MEMORY'
  | 'GPU_BUFFER_SIZE'
  | 'GPU_KERNEL';

/** Says what was expected and what was found; `cause` is the driver's own word where it has one. */
export class GpuError extends Error {
  readonly code: GpuErrorCode;
  readonly details: { readonly expected: string; readonly found: string };
  constructor(code: GpuErrorCode, expected: string, found: string, cause?: unknown) {
    super(`${code}: expected ${expected}, found ${found}`, { cause });
    this.name = 'GpuError';
    this.code = code;
    this.details = { expected, found };
  }
}
