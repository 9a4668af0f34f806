// The WebGPU backend on whatever device there is, or on the CPU by SwiftShader once `npm run
// setup:vulkan` has put it into .cache/vulkan. Without either the suite says why it is skipped.
import assert from 'node:assert/strict';
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { existsSync } from 'node:fs';
import { resolve } from 'node:path';
import { createInterface } from 'node:readline';
import { test } from 'node:test';
import { fileURLToPath } from 'node:url';
import type { ChildLine } from './child.ts';
import { Device } from './device.ts';
import { GpuError } from './errors.ts';

// No measure of speed: a driver that hangs must end some time. Quiet, the suite takes seconds.
const hangsAfterMs = 1_200_000;

/** With the software driver where it was set up: a loader finds it by these alone. */
function environment(): NodeJS.ProcessEnv {
  const folder = resolve('.cache/vulkan');
  const driver = `${folder}/vk_swiftshader_icd.json`;
  if (!existsSync(driver)) return process.env;
  return { ...process.env, LD_LIBRARY_PATH: folder, VK_ICD_FILENAMES: driver };
}

test('WebGPU: the conformance suite and its errors, in a process of its own', async (t) => {
  const program = fileURLToPath(new URL('./child.ts', import.meta.url));
  const flags = ['-C', 'source', '--import', 'tsx'];
  const child = spawn(process.execPath, [...flags, program], {
    env: environment(),
    stdio: ['ignore', 'pipe', 'pipe'],
    timeout: hangsAfterMs,
    killSignal: 'SIGKILL',
  });
  const closed = once(child, 'close');
  let complaints = '';
  child.stderr.on('data', (chunk) => {
    complaints += chunk;
  });
  const lines: ChildLine[] = [];
  for await (const line of createInterface(child.stdout)) {
    if (!line.startsWith('{')) {
      // Dawn writes its own complaints between ours.
      complaints += `${line}\n`;
      continue;
    }
    const said = JSON.parse(line) as ChildLine;
    lines.push(said);
    if ('device' in said) t.diagnostic(said.device);
    if ('name' in said) {
      await t.test(`${said.name}: error ${said.error.toExponential(1)}`, () =>
        assert.ok(said.isWithin),
      );
    }
    if ('provoked' in said) {
      const { provoked, code } = said;
      const expected = provoked.startsWith('GPU_') ? provoked : 'GPU_OUT_OF_MEMORY';
      await t.test(`error: ${provoked}`, () => assert.equal(code, expected));
    }
  }
  const [exitCode, signal] = await closed;
  assert.deepEqual({ exitCode, signal }, { exitCode: 0, signal: null }, complaints);
  const [first] = lines;
  if (first !== undefined && 'skip' in first) t.skip(first.skip);
  else assert.deepEqual(lines.at(-1), { done: true });
});

const isCode = (code: string) => (error: unknown) =>
  error instanceof GpuError && error.code === code;

test('GPU_PACKAGE_ABSENT: the package does not load', async () => {
  const load = () => Promise.reject(new Error('not installed'));
  await assert.rejects(Device.open({ load }), isCode('GPU_PACKAGE_ABSENT'));
});

test('GPU_ADAPTER_ABSENT: no driver offers a device', async () => {
  const gpu = { requestAdapter: async () => null } as unknown as GPU;
  const load = async () => ({ create: () => gpu });
  await assert.rejects(Device.open({ load }), isCode('GPU_ADAPTER_ABSENT'));
});
