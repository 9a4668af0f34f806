// The WebGPU backend: our own WGSL kernels through the optional package `webgpu` (Dawn). Loaded only
// by whoever asks for it; without the package or a driver it is a typed error, and nothing else.
import type { Backend } from '../backend/port.ts';
import * as calls from './calls.ts';
import { Device, type GpuOptions } from './device.ts';
import { loadGpuModel } from './model.ts';
import { integerProductOf, operationsOf, productOf } from './operations.ts';

/**
 * Opens the machine's first GPU. Throws GpuError GPU_PACKAGE_ABSENT or GPU_ADAPTER_ABSENT where there
 * is none; once open, calls reject with GPU_DEVICE_LOST, GPU_OUT_OF_MEMORY or GPU_BUFFER_SIZE.
 */
export async function openWebgpu(options: GpuOptions = {}): Promise<Backend> {
  const device = await Device.open(options);
  return {
    name: 'webgpu',
    device: device.name,
    product: (a, b, shape) => productOf(device, a, b, shape, false),
    ...(device.hasF16
      ? { halfProduct: (a, b, shape) => productOf(device, a, b, shape, true) }
      : {}),
    integerProduct: (a, b, shape) => integerProductOf(device, a, b, shape),
    operations: operationsOf(device),
    storages: ['f16', 'bf16', 'int8'],
    loadModel: (weights, storage = 'f32') => loadGpuModel(device, weights, storage),
    bandwidth: (blockBytes) => bandwidth(device, blockBytes),
    close: () => device.close(),
  };
}

/** Additions of long vectors: long enough that what starts and ends them does not count. */
const additions = 20;

async function bandwidth(device: Device, blockBytes: number): Promise<number> {
  const count = Math.floor(blockBytes / 4);
  const [a, b, c] = [
    await device.allocate(blockBytes),
    await device.allocate(blockBytes),
    await device.allocate(blockBytes),
  ];
  calls.sum(device, a, b, c, count);
  await device.finish();
  const startedAtMs = performance.now();
  for (let i = 0; i < additions; i++) calls.sum(device, a, b, c, count);
  await device.finish();
  const seconds = (performance.now() - startedAtMs) / 1000;
  for (const block of [a, b, c]) device.release(block);
  return (3 * 4 * count * additions) / seconds;
}
