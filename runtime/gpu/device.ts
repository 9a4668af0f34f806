// The one place that talks to WebGPU: opens a device and keeps it alive, counts its memory, compiles
// kernels once, records dispatches and reads results back. Everything above deals in kernels.
import { GpuError } from './errors.ts';
import type { Kernel, ParameterKinds } from './kernel.ts';

/** What the npm package `webgpu` exports. */
export type WebgpuPackage = { create(flags: string[]): GPU };

export type GpuOptions = {
  /** Bytes of device memory that may be taken; absent: whatever the driver gives. */
  readonly memoryBytesMax?: number;
  /** How the package is had; a parameter so that its absence can be tested. */
  readonly load?: () => Promise<WebgpuPackage>;
};

/** Device memory that a kernel can read and write. */
export type Block = { readonly buffer: GPUBuffer; readonly bytes: number };

type Values<P extends ParameterKinds> = { readonly [field in keyof P]: number };

// Bits of GPUBufferUsage and GPUMapMode: Node has no such globals.
const usage = { mapRead: 1, copySource: 4, copyTarget: 8, uniform: 64, storage: 128 };
const mapRead = 1;
const groupsMax = 65535;
const slotBytes = 256;
const slots = 2048;

// Dawn crashes or hangs at exit once these are collected (dawn-gpu/node-webgpu#18): they stay.
const kept: unknown[] = [];
Object.assign(globalThis, { [Symbol.for('openledger.gpu')]: kept });

async function loadPackage(): Promise<WebgpuPackage> {
  // Through a variable: the package is optional, and neither compiler nor bundler may ask for it.
  const name: string = 'webgpu';
  return await import(name);
}

async function openAdapter(load: () => Promise<WebgpuPackage>): Promise<GPUAdapter> {
  let gpu: GPU;
  try {
    gpu = (await load()).create([]);
  } catch (cause) {
    const found = cause instanceof Error ? cause.message : String(cause);
    throw new GpuError('GPU_PACKAGE_ABSENT', 'the package webgpu to load', found, cause);
  }
  kept.push(gpu);
  const adapter = await gpu.requestAdapter({ powerPreference: 'high-performance' });
  if (adapter === null) {
    const expected = 'a Vulkan driver with a device (npm run setup:vulkan brings a software one)';
    throw new GpuError('GPU_ADAPTER_ABSENT', expected, 'none');
  }
  kept.push(adapter);
  return adapter;
}

/** Workgroups for so many: two dimensions where one is too short. */
export function gridOf(count: number): readonly [number, number] {
  return [Math.min(count, groupsMax), Math.ceil(count / groupsMax)];
}

/** Calls do not overlap: await each before the next. */
export class Device {
  /** Vendor, architecture and name as the driver gives them. */
  readonly name: string;
  readonly hasF16: boolean;
  readonly #device: GPUDevice;
  readonly #bytesMax: number;
  readonly #pipelines = new Map<string, GPUComputePipeline>();
  readonly #uniforms: GPUBuffer;
  readonly #words = new DataView(new ArrayBuffer(slotBytes * slots));
  #encoder: GPUCommandEncoder | undefined;
  #pass: GPUComputePassEncoder | undefined;
  #slot = 0;
  #bytes = 0;
  #lost: string | undefined;
  #fault: string | undefined;

  /** Throws GPU_PACKAGE_ABSENT or GPU_ADAPTER_ABSENT where there is no GPU to use. */
  static async open(options: GpuOptions = {}): Promise<Device> {
    const adapter = await openAdapter(options.load ?? loadPackage);
    const { maxBufferSize, maxStorageBufferBindingSize } = adapter.limits;
    const hasF16 = adapter.features.has('shader-f16');
    const device = await adapter.requestDevice({
      requiredLimits: { maxBufferSize, maxStorageBufferBindingSize },
      requiredFeatures: hasF16 ? ['shader-f16'] : [],
    });
    kept.push(device);
    return new Device(adapter, device, options.memoryBytesMax ?? Number.POSITIVE_INFINITY);
  }

  constructor(adapter: GPUAdapter, device: GPUDevice, bytesMax: number) {
    const { vendor, architecture, description } = adapter.info;
    this.name = [vendor, architecture, description].filter((part) => part !== '').join(' ');
    this.hasF16 = device.features.has('shader-f16');
    this.#device = device;
    this.#bytesMax = bytesMax;
    this.#uniforms = device.createBuffer({
      size: slotBytes * slots,
      usage: usage.uniform | usage.copyTarget,
    });
    void device.lost.then(({ reason, message }) => {
      this.#lost = `${reason}: ${message}`;
    });
    device.onuncapturederror = (event) => {
      event.preventDefault();
      this.#fault ??= event.error.message;
    };
  }

  /** Bytes taken now. */
  get bytes(): number {
    return this.#bytes;
  }

  /** A block of at least this size, filled with zeros. */
  async allocate(bytes: number): Promise<Block> {
    this.#checkAlive();
    const size = Math.max(16, Math.ceil(bytes / 16) * 16);
    const { maxStorageBufferBindingSize, maxBufferSize } = this.#device.limits;
    const bound = Math.min(maxStorageBufferBindingSize, maxBufferSize);
    if (size > bound) {
      throw new GpuError('GPU_BUFFER_SIZE', `at most ${bound} bytes in a tensor`, `${size}`);
    }
    if (this.#bytes + size > this.#bytesMax) {
      const expected = `at most ${this.#bytesMax} bytes`;
      throw new GpuError('GPU_OUT_OF_MEMORY', expected, `${this.#bytes} taken and ${size} asked`);
    }
    this.#device.pushErrorScope('out-of-memory');
    const all = usage.storage | usage.copySource | usage.copyTarget;
    const buffer = this.#device.createBuffer({ size, usage: all });
    const failure = await this.#device.popErrorScope();
    if (failure !== null) {
      const found = `${this.#bytes} taken and ${size} asked: ${failure.message}`;
      throw new GpuError('GPU_OUT_OF_MEMORY', 'memory on the device', found);
    }
    this.#bytes += size;
    return { buffer, bytes: size };
  }

  release(block: Block): void {
    this.#bytes -= block.bytes;
    block.buffer.destroy();
  }

  /** Writes before whatever is dispatched later. */
  write(block: Block, data: ArrayBufferView<ArrayBuffer>, offsetBytes = 0): void {
    this.flush();
    this.#device.queue.writeBuffer(block.buffer, offsetBytes, data);
  }

  /** A block with this content. */
  async place(data: ArrayBufferView<ArrayBuffer>): Promise<Block> {
    const block = await this.allocate(data.byteLength);
    this.#device.queue.writeBuffer(block.buffer, 0, data);
    return block;
  }

  /** Records one dispatch; buffers in the kernel's order. */
  run<P extends ParameterKinds>(
    kernel: Kernel<P>,
    values: Values<P>,
    blocks: readonly Block[],
    grid: readonly [number, number],
  ): void {
    this.#checkAlive();
    if (this.#slot === slots) this.flush();
    const pipeline = this.#pipeline(kernel);
    const offset = this.#slot++ * slotBytes;
    for (const [i, [field, kind]] of Object.entries(kernel.parameters).entries()) {
      const value = values[field]!;
      if (kind === 'f32') this.#words.setFloat32(offset + i * 4, value, true);
      else this.#words.setUint32(offset + i * 4, value, true);
    }
    this.#encoder ??= this.#device.createCommandEncoder();
    this.#pass ??= this.#encoder.beginComputePass();
    const entries: GPUBindGroupEntry[] = [
      { binding: 0, resource: { buffer: this.#uniforms, offset, size: slotBytes } },
    ];
    for (const [i, { buffer }] of blocks.entries()) {
      entries.push({ binding: i + 1, resource: { buffer } });
    }
    const layout = pipeline.getBindGroupLayout(0);
    this.#pass.setPipeline(pipeline);
    this.#pass.setBindGroup(0, this.#device.createBindGroup({ layout, entries }));
    this.#pass.dispatchWorkgroups(...grid);
  }

  /** Copies the first floats of a block into another, in the order of the dispatches. */
  copy(from: Block, into: Block, floats: number, fromAt = 0, intoAt = 0): void {
    this.#checkAlive();
    this.#pass?.end();
    this.#pass = undefined;
    this.#encoder ??= this.#device.createCommandEncoder();
    const [source, target] = [from.buffer, into.buffer];
    this.#encoder.copyBufferToBuffer(source, fromAt * 4, target, intoAt * 4, floats * 4);
  }

  /** Hands what was recorded to the device, without waiting for it. */
  flush(): void {
    if (this.#encoder === undefined) return;
    this.#pass?.end();
    const used = new Uint8Array(this.#words.buffer, 0, this.#slot * slotBytes);
    this.#device.queue.writeBuffer(this.#uniforms, 0, used);
    this.#device.queue.submit([this.#encoder.finish()]);
    this.#encoder = undefined;
    this.#pass = undefined;
    this.#slot = 0;
  }

  /** The first bytes of a block, after all that was dispatched. */
  async read(block: Block, bytes: number): Promise<ArrayBuffer> {
    this.#checkAlive();
    this.#device.pushErrorScope('validation');
    this.flush();
    const size = Math.ceil(bytes / 4) * 4;
    const target = this.#device.createBuffer({ size, usage: usage.mapRead | usage.copyTarget });
    const encoder = this.#device.createCommandEncoder();
    encoder.copyBufferToBuffer(block.buffer, 0, target, 0, size);
    this.#device.queue.submit([encoder.finish()]);
    const mapped = target.mapAsync(mapRead).then(
      () => undefined,
      (cause: unknown) => cause,
    );
    const failure = await this.#device.popErrorScope();
    if (failure !== null) {
      throw new GpuError('GPU_KERNEL', 'a call that the device takes', failure.message);
    }
    const cause = await mapped;
    this.#checkAlive();
    if (cause !== undefined) {
      throw new GpuError('GPU_DEVICE_LOST', 'a device that answers', String(cause), cause);
    }
    const copy = target.getMappedRange().slice(0, bytes);
    target.unmap();
    target.destroy();
    return copy;
  }

  async readFloats(block: Block, length: number): Promise<Float32Array<ArrayBuffer>> {
    return new Float32Array(await this.read(block, length * 4));
  }

  /** Waits until the device has done all that was dispatched. */
  async finish(): Promise<void> {
    this.flush();
    await this.#device.queue.onSubmittedWorkDone();
    this.#checkAlive();
  }

  /** Gives the memory back; every later call throws GPU_DEVICE_LOST. */
  async close(): Promise<void> {
    this.flush();
    this.#device.destroy();
    await this.#device.lost;
  }

  #pipeline(kernel: Kernel): GPUComputePipeline {
    const found = this.#pipelines.get(kernel.source);
    if (found !== undefined) return found;
    const module = this.#device.createShaderModule({ label: kernel.name, code: kernel.source });
    const made = this.#device.createComputePipeline({
      label: kernel.name,
      layout: 'auto',
      compute: { module, entryPoint: 'main' },
    });
    this.#pipelines.set(kernel.source, made);
    return made;
  }

  #checkAlive(): void {
    if (this.#lost !== undefined) {
      throw new GpuError('GPU_DEVICE_LOST', 'a device that answers', this.#lost);
    }
    if (this.#fault !== undefined) {
      throw new GpuError('GPU_KERNEL', 'a call that the device takes', this.#fault);
    }
  }
}
