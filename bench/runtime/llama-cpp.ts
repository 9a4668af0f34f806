/**
 * llama.cpp as npm has it: node-llama-cpp with its prebuilt binary, installed by whoever compares with
 * it into an ignored folder, never a dependency. On the CPU, with f32 keys and values, by greedy choice.
 */
import { spawnSync } from 'node:child_process';
import { existsSync, mkdirSync, writeFileSync } from 'node:fs';
import { join, resolve } from 'node:path';
import { pathToFileURL } from 'node:url';

const VERSION = '3.22.1';
const FOLDER = resolve('.cache/llama-cpp', VERSION);
const BINARIES: Readonly<Record<string, string>> = {
  'linux-x64': 'linux-x64',
  'linux-arm64': 'linux-arm64',
  'darwin-x64': 'mac-x64',
  'darwin-arm64': 'mac-arm64-metal',
  'win32-x64': 'win-x64',
  'win32-arm64': 'win-arm64',
};

type Sequence = {
  evaluate(tokens: number[], options: object): AsyncGenerator<number, unknown>;
  clearHistory(): Promise<void>;
};
type Context = { getSequence(): Sequence; dispose(): Promise<void> };
type Model = { createContext(options: object): Promise<Context>; dispose(): Promise<void> };
type Library = {
  getLlama(options: object): Promise<{
    loadModel(options: object): Promise<Model>;
    dispose(): Promise<void>;
    readonly systemInfo: string;
  }>;
};

/** A model that llama.cpp has read from a GGUF file. */
export type LlamaCpp = {
  /** What the binary was built with and found on this machine. */
  readonly systemInfo: string;
  /** A text of its own, with an adapter's GGUF file or the base alone. */
  open(contextLength: number, adapter?: string): Promise<LlamaText>;
  close(): Promise<void>;
};

/** One context with one sequence. */
export type LlamaText = {
  /** Starts anew with a prompt; the likeliest token follows, as often as it is asked for. */
  start(prompt: readonly number[]): () => Promise<number>;
  reset(): Promise<void>;
};

/**
 * Loads a GGUF file; installs the library when it is not there.
 *
 * @throws Error that says what to do where it cannot be had
 */
export async function openLlamaCpp(file: string, threads: number): Promise<LlamaCpp> {
  const library = await install();
  const llama = await library.getLlama({
    ...{ gpu: false, build: 'never', logLevel: 'error', maxThreads: threads },
    ...{ progressLogs: false, skipDownload: true },
  });
  const model = await llama.loadModel({ modelPath: file, gpuLayers: 0, useMmap: false });
  return {
    systemInfo: llama.systemInfo,
    async open(contextLength, adapter) {
      const context = await model.createContext({
        ...{ contextSize: contextLength, sequences: 1, threads, flashAttention: false },
        ...{ batchSize: Math.min(512, contextLength), ignoreMemorySafetyChecks: true },
        ...{ experimentalKvCacheKeyType: 'F32', experimentalKvCacheValueType: 'F32' },
        ...(adapter === undefined ? {} : { lora: { adapters: [{ filePath: adapter }] } }),
      });
      const sequence = context.getSequence();
      let running: AsyncGenerator<number, unknown> | undefined;
      return {
        start(prompt) {
          const tokens = sequence.evaluate([...prompt], { temperature: 0, yieldEogToken: true });
          running = tokens;
          return async () => {
            const { value, done } = await tokens.next();
            if (done === true || typeof value !== 'number')
              throw new Error('expected another token, got the end of the text');
            return value;
          };
        },
        async reset() {
          await running?.return(undefined);
          await sequence.clearHistory();
        },
      };
    },
    async close() {
      await model.dispose();
      await llama.dispose();
    },
  };
}

async function install(): Promise<Library> {
  const entry = join(FOLDER, 'node_modules/node-llama-cpp/dist/index.js');
  if (!existsSync(entry)) {
    const binary = BINARIES[`${process.platform}-${process.arch}`];
    if (binary === undefined) {
      const found = `${process.platform} on ${process.arch}`;
      throw new Error(`expected a platform that node-llama-cpp is built for, found ${found}`);
    }
    mkdirSync(FOLDER, { recursive: true });
    writeFileSync(join(FOLDER, 'package.json'), '{"private":true}');
    const packages = [`node-llama-cpp@${VERSION}`, `@node-llama-cpp/${binary}@${VERSION}`];
    // Without its optional packages: they are the binaries for every graphics card, 700 MB.
    const flags = ['--ignore-scripts', '--omit=optional', '--no-audit', '--no-fund', '--silent'];
    const options = { cwd: FOLDER, encoding: 'utf8', shell: process.platform === 'win32' } as const;
    const { status, stderr } = spawnSync('npm', ['install', ...flags, ...packages], options);
    if (status !== 0 || !existsSync(entry)) {
      throw new Error(`expected npm to install ${packages.join(' and ')}, got: ${stderr}`);
    }
  }
  return (await import(pathToFileURL(entry).href)) as Library;
}
