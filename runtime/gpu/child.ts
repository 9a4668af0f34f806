// The process in which the WebGPU tests really run: a driver that crashes or hangs takes this one,
// not the test's. Prints one JSON line per finding and `{"done":true}` last.
import { conformance } from '../backend/conformance.ts';
import type { Backend } from '../backend/port.ts';
import { backendSource } from '../backend/training-source.ts';
import { weightsOf } from '../engine/config.ts';
import { createEngine } from '../engine/engine.ts';
import { sampleConfig, sampleParameters, sampleRecord } from '../reference/sample.ts';
import {
  engineSource,
  type GradientSource,
  initialState,
  runSteps,
  type StepReport,
  trainingPlan,
} from '../train/lora.ts';
import { openWebgpu } from './backend.ts';
import { Device, gridOf } from './device.ts';
import { GpuError } from './errors.ts';
import { kernel } from './kernel.ts';

/** What the process says: a reason to skip, a device, a finding, a provoked code, the end. */
export type ChildLine =
  | { readonly skip: string }
  | { readonly device: string }
  | { readonly name: string; readonly error: number; readonly isWithin: boolean }
  | { readonly provoked: string; readonly code: string }
  | { readonly done: true };

const say = (line: ChildLine) => process.stdout.write(`${JSON.stringify(line)}\n`);

async function codeOf(action: () => Promise<unknown>): Promise<string> {
  try {
    await action();
    return 'none';
  } catch (error) {
    return error instanceof GpuError ? error.code : String(error);
  }
}

/** A short training run here and on the canonical engine: the largest difference of their losses. */
async function trainingError(backend: Backend): Promise<number> {
  const config = sampleConfig();
  const weights = weightsOf(config, sampleParameters(config));
  const records = [5, 9, 7, 12].map((length, i) => sampleRecord(config, length, i + 1));
  const plan = trainingPlan({ steps: 3, rank: 4, batchSize: 2 });
  const lossesOf = async (source: GradientSource) => {
    const losses: number[] = [];
    const onStep = ({ loss }: StepReport) => void losses.push(loss);
    await runSteps(source, plan, records, initialState(config, plan), plan.steps, { onStep });
    return losses;
  };
  const engine = createEngine(weights, { backend: 'wasm' });
  const model = await backend.loadModel!(weights);
  const expected = await lossesOf(engineSource(engine));
  const found = await lossesOf(backendSource(model));
  model.close();
  engine.dispose();
  return Math.max(...found.map((loss, i) => Math.abs(loss - expected[i]!)));
}

const provocations: Readonly<Record<string, () => Promise<string>>> = {
  async GPU_DEVICE_LOST() {
    const backend = await openWebgpu();
    await backend.close();
    const shape = { rows: 1, columns: 1, depth: 4 };
    const numbers = new Float32Array(4);
    return codeOf(() => backend.product(numbers, numbers, shape));
  },
  async GPU_OUT_OF_MEMORY() {
    const device = await Device.open({ memoryBytesMax: 1024 });
    return codeOf(() => device.allocate(2048));
  },
  async GPU_BUFFER_SIZE() {
    const device = await Device.open();
    return codeOf(() => device.allocate(2 ** 50));
  },
  async GPU_KERNEL() {
    const device = await Device.open();
    const broken = kernel({
      ...{ name: 'broken', parameters: { count: 'u32' }, buffers: ['write x: f32'], lanes: 64 },
      body: 'x[p.count] = nothing;',
    });
    return codeOf(async () => {
      const block = await device.allocate(16);
      device.run(broken, { count: 1 }, [block], gridOf(1));
      await device.read(block, 4);
    });
  },
  /** A model that does not fit leaves nothing behind. */
  async 'memory after a refused model'() {
    const config = sampleConfig();
    const flat = sampleParameters(config);
    const backend = await openWebgpu({ memoryBytesMax: flat.byteLength + 20_000 });
    const large = sampleConfig({ layers: 3 });
    const code = await codeOf(() => backend.loadModel!(weightsOf(large, sampleParameters(large))));
    const model = await backend.loadModel!(weightsOf(config, flat));
    model.close();
    return code;
  },
};

async function main(): Promise<void> {
  try {
    const backend = await openWebgpu();
    say({ device: backend.device });
    for await (const { name, error, isWithin } of conformance(backend)) {
      say({ name, error, isWithin });
    }
    const error = await trainingError(backend);
    say({ name: 'losses of three training steps', error, isWithin: error <= 1e-5 });
    await backend.close();
  } catch (error) {
    const isAbsent =
      error instanceof GpuError &&
      (error.code === 'GPU_PACKAGE_ABSENT' || error.code === 'GPU_ADAPTER_ABSENT');
    if (!isAbsent) throw error;
    say({ skip: error.message });
    return;
  }
  for (const [provoked, provoke] of Object.entries(provocations)) {
    say({ provoked, code: await provoke() });
  }
  say({ done: true });
}

await main();
