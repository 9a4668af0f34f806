/**
 * The workshop where a mutant is tried: a copy of the tree, compiled once, in which the creation code of the contracts
 * that a mutation touches is replaced. Forge then sees unchanged sources and compiles nothing, and its tests deploy
 * the mutant, because they read every contract's code from its artifact.
 */
import { type SpawnSyncReturns, spawnSync } from 'node:child_process';
import {
  cpSync,
  existsSync,
  mkdirSync,
  readdirSync,
  readFileSync,
  rmSync,
  symlinkSync,
  writeFileSync,
} from 'node:fs';
import { createRequire } from 'node:module';
import { basename, dirname, join } from 'node:path';
import { forge } from './forge.ts';
import { ROOT } from './foundry.ts';
import type { Mutation } from './mutations.ts';

const COPY = join(ROOT, '.cache', 'mutants');
const CONTRACTS = join(COPY, 'contracts');
/** Names the sources that the copy was compiled from, while no mutant's code is in it. */
const CLEAN = join(COPY, '.cache', 'clean');
const ARTIFACTS = join(COPY, '.cache', 'forge', 'out');
const COPIED = [
  'contracts',
  'crypto',
  'protocol',
  'docs',
  'runtime',
  'bin',
  'package.json',
  'foundry.toml',
];
const TS = ['-C', 'source', '--import', './bin/polyfill.mjs', '--import', 'tsx'];
/** Suites that mention the mutated contract most are run before the others; of the TypeScript ones only these are. */
const FIRST_SUITES = 2;
const TYPESCRIPT_FILES = 6;
/** An endless loop ends here, and in the same place on every machine; the longest test needs less than a third. */
const GAS_LIMIT = 3_000_000_000;
const FORGE_ENV = {
  // Tests read the code of what they deploy from artifacts instead of having it compiled into them.
  FOUNDRY_DYNAMIC_TEST_LINKING: 'true',
  FOUNDRY_GAS_LIMIT: String(GAS_LIMIT),
  FOUNDRY_INVARIANT_RUNS: '8',
};
const FORGE_TEST = ['test', '--fail-fast', '--fuzz-seed', '1', '--fuzz-runs'];
/** Most mutants need few; the suites that are run first try again with as many as `npm run test:contracts`. */
const FUZZ_RUNS = { quick: '64', full: '1000' };

/**
 * What became of a mutant. `unnoticed`: by forge's tests; the TypeScript ones were not asked yet. `same code`: the
 * compiler gives the contract's own code, so there is nothing to notice. `unfinished`: a test ran out of time without
 * an answer, which counts as nobody noticing.
 */
export type Outcome =
  | 'forge'
  | 'typescript'
  | 'survived'
  | 'unnoticed'
  | 'unfinished'
  | 'same code'
  | 'not Solidity';
export type Verdict = { readonly outcome: Outcome; readonly by: string };

type Output = {
  errors?: { severity: string }[];
  contracts?: Record<string, Record<string, { evm: { bytecode: { object: string } } }>>;
};

const require = createRequire(import.meta.url);

function solidityFiles(folder: string): string[] {
  return readdirSync(join(CONTRACTS, folder), { recursive: true, encoding: 'utf8' })
    .filter((name) => name.endsWith('.sol'))
    .map((name) => `${folder}/${name}`)
    .sort();
}

function importsOf(file: string): string[] {
  const text = readFileSync(join(CONTRACTS, file), 'utf8');
  return [...text.matchAll(/^import [^;]*?"(\.[^"]+)";/gm)].map(([, target]) =>
    join(dirname(file), target!),
  );
}

/**
 * The sources whose code a mutation of `file` may change: those that import it, however far, and the suites that call
 * it as a library. What suites only compute their expectations with stays as it was.
 */
function touchedBy(file: string): string[] {
  const touched = new Set([file]);
  const sources = solidityFiles('src');
  for (let size = 0; size < touched.size; ) {
    size = touched.size;
    for (const source of sources) {
      if (importsOf(source).some((target) => touched.has(target))) touched.add(source);
    }
  }
  if (file.startsWith('src/libraries/')) {
    for (const suite of solidityFiles('test-forge')) {
      if (suite.endsWith('.t.sol') && importsOf(suite).includes(file)) touched.add(suite);
    }
  }
  return [...touched].sort();
}

/** Creation code by artifact path; undefined when solc refuses the sources. */
function compile(entries: readonly string[], mutated?: { file: string; text: string }) {
  const solc = require('solc') as {
    compile(input: string, callbacks: { import: (path: string) => { contents: string } }): string;
  };
  const read = (path: string) => {
    if (path === mutated?.file) return { contents: mutated.text };
    if (path.startsWith('@')) return { contents: readFileSync(require.resolve(path), 'utf8') };
    const folder = path.startsWith('plan/') ? join(COPY, '.cache', 'forge') : CONTRACTS;
    return { contents: readFileSync(join(folder, path), 'utf8') };
  };
  const input = {
    language: 'Solidity',
    sources: Object.fromEntries(entries.map((file) => [file, { content: read(file).contents }])),
    settings: {
      optimizer: { enabled: true, runs: 200 },
      evmVersion: 'prague',
      // Without a hash of the sources equal code compares equal.
      metadata: { bytecodeHash: 'none', appendCBOR: false },
      outputSelection: Object.fromEntries(
        entries.map((file) => [file, { '*': ['evm.bytecode.object'] }]),
      ),
    },
  };
  const output = JSON.parse(solc.compile(JSON.stringify(input), { import: read })) as Output;
  if (output.errors?.some(({ severity }) => severity === 'error')) return undefined;
  const codes = new Map<string, string>();
  for (const [file, contracts] of Object.entries(output.contracts ?? {})) {
    for (const [name, { evm }] of Object.entries(contracts)) {
      if (evm.bytecode.object !== '') {
        codes.set(join(basename(file), `${name}.json`), `0x${evm.bytecode.object}`);
      }
    }
  }
  return codes;
}

/** The names of `count` files in `folder` that speak of the mutated contracts most; none that does not. */
function mostAbout(
  folder: string,
  suffix: string,
  touched: readonly string[],
  count: number,
): string[] {
  const names = touched.filter((file) => file.startsWith('src/')).map((f) => basename(f, '.sol'));
  const words = new RegExp(names.join('|'), 'gi');
  return readdirSync(join(CONTRACTS, folder))
    .filter((name) => name.endsWith(suffix))
    .map((name) => {
      const text = readFileSync(join(CONTRACTS, folder, name), 'utf8');
      return { name, mentions: text.match(words)?.length ?? 0 };
    })
    .filter(({ mentions }) => mentions > 0)
    .sort((a, b) => b.mentions - a.mentions)
    .slice(0, count)
    .map(({ name }) => name);
}

/** The mutated source. */
function mutated({ file, start, length, text }: Mutation): string {
  const source = readFileSync(join(CONTRACTS, file));
  const end = start + length;
  // A dropped statement takes its semicolon with it.
  const rest = source[end] === 0x3b && text === '{}' ? end + 1 : end;
  const parts = [source.subarray(0, start), Buffer.from(text), source.subarray(rest)];
  return Buffer.concat(parts).toString('utf8');
}

export class Workshop {
  private readonly original = new Map<string, ReadonlyMap<string, string>>();
  /** How long one run of tests may take; without limit until it is set. */
  limitMs: number | undefined;

  private readonly sources: string;

  /**
   * Copies the tree and compiles the copy, unless that was done and no interrupted run left a mutant's code in it.
   * @param sources a name that changes with whatever is copied
   */
  constructor(sources: string) {
    this.sources = sources;
    if (existsSync(CLEAN) && readFileSync(CLEAN, 'utf8') === sources) return;
    mkdirSync(join(COPY, '.cache'), { recursive: true });
    rmSync(CLEAN, { force: true });
    for (const name of COPIED) {
      rmSync(join(COPY, name), { recursive: true, force: true });
      cpSync(join(ROOT, name), join(COPY, name), { recursive: true });
    }
    // A warning, of an unused variable for instance, is no test that noticed.
    const compiler = join(CONTRACTS, 'compile.ts');
    const text = readFileSync(compiler, 'utf8');
    const lenient = text.replace("severity === 'warning' &&", 'false &&');
    if (lenient === text) throw new Error('contracts/compile.ts no longer refuses warnings here');
    writeFileSync(compiler, lenient);
    const modules = join(COPY, 'node_modules');
    if (!existsSync(modules)) symlinkSync(join(ROOT, 'node_modules'), modules);
    rmSync(join(COPY, '.cache', 'forge'), { recursive: true, force: true });
    const { status, stderr } = forge(['build'], FORGE_ENV, COPY);
    if (status !== 0) throw new Error(`The contracts do not compile:\n${stderr}`);
    writeFileSync(CLEAN, sources);
  }

  /**
   * Runs every test on the contracts as they are.
   * @returns how long a mutant's tests may take, in milliseconds
   * @throws Error when a test fails or forge gives no answer
   */
  baseline(): number {
    const before = Date.now();
    const found =
      this.forgeNotices([]) ?? this.typescriptNotices(readdirSync(join(CONTRACTS, 'test')));
    if (found !== undefined) throw new Error(`The tests fail without a mutation: ${found.by}`);
    return 20 * (Date.now() - before);
  }

  /** Applies a mutation to the compiled contracts, runs forge's tests until one notices, and puts everything back. */
  tryForge(mutation: Mutation): Verdict {
    const { file } = mutation;
    const touched = touchedBy(file);
    const pristine = this.original.get(file) ?? compile(touched)!;
    this.original.set(file, pristine);
    const mutant = compile(touched, { file, text: mutated(mutation) });
    if (mutant === undefined) return { outcome: 'not Solidity', by: '' };
    const changed = [...mutant].filter(([artifact, code]) => pristine.get(artifact) !== code);
    if (changed.length === 0) return { outcome: 'same code', by: '' };
    const artifacts = changed.map(([artifact]) => join(ARTIFACTS, artifact));
    const texts = artifacts.map((artifact) => readFileSync(artifact, 'utf8'));
    rmSync(CLEAN);
    try {
      for (const [i, [, code]] of changed.entries()) {
        const artifact = JSON.parse(texts[i]!) as { bytecode: { object: string } };
        artifact.bytecode.object = code;
        writeFileSync(artifacts[i]!, JSON.stringify(artifact));
      }
      const suites = mostAbout('test-forge', '.t.sol', touched, FIRST_SUITES);
      return this.forgeNotices(suites) ?? { outcome: 'unnoticed', by: '' };
    } finally {
      for (const [i, artifact] of artifacts.entries()) writeFileSync(artifact, texts[i]!);
      writeFileSync(CLEAN, this.sources);
    }
  }

  /** Applies a mutation to the sources, runs the TypeScript tests that are about it, and puts everything back. */
  tryTypescript(mutation: Mutation): Verdict {
    const path = join(CONTRACTS, mutation.file);
    const source = readFileSync(path);
    const files = mostAbout('test', '.test.ts', touchedBy(mutation.file), TYPESCRIPT_FILES);
    rmSync(CLEAN);
    try {
      writeFileSync(path, mutated(mutation));
      return this.typescriptNotices(files) ?? { outcome: 'survived', by: '' };
    } finally {
      writeFileSync(path, source);
      writeFileSync(CLEAN, this.sources);
    }
  }

  /** Runs these suites, then all others, then these with all fuzz runs; without a name, all suites once. */
  private forgeNotices(first: readonly string[]): Verdict | undefined {
    const glob = `contracts/test-forge/{${first.join(',')},none}`;
    const turns =
      first.length === 0
        ? [[FUZZ_RUNS.quick]]
        : [
            [FUZZ_RUNS.quick, '--match-path', glob],
            [FUZZ_RUNS.quick, '--no-match-path', glob],
            [FUZZ_RUNS.full, '--match-path', glob],
          ];
    for (const turn of turns) {
      // forge tries what failed once again and again: what another mutant's run found says nothing of this one.
      for (const kept of ['fuzz', 'invariant', 'test-failures']) {
        rmSync(join(COPY, '.cache', 'forge', kept), { recursive: true, force: true });
      }
      const done = forge([...FORGE_TEST, ...turn], FORGE_ENV, COPY, this.limitMs);
      if (done.status === 0) continue;
      if (done.signal !== null) return { outcome: 'unfinished', by: turn.join(' ') };
      const at = done.stdout.indexOf('[FAIL');
      // Whatever else makes forge fail is no test that noticed.
      if (at < 0) throw new Error(`forge gave no answer:\n${done.stdout}\n${done.stderr}`);
      const [, suite] = [...done.stdout.slice(0, at).matchAll(/^Ran .*:(\w+)$/gm)].at(-1) ?? [];
      const [, test] = /\b((?:test|invariant_|setUp)\w*)\(/.exec(done.stdout.slice(at)) ?? [];
      return { outcome: 'forge', by: `${suite}.${test}` };
    }
    return undefined;
  }

  private typescriptNotices(names: readonly string[]): Verdict | undefined {
    const built = this.node(['contracts/compile.ts']);
    if (built.status !== 0) return { outcome: 'typescript', by: 'contracts/compile.ts' };
    for (const name of names.filter((each) => each.endsWith('.test.ts'))) {
      const { status, signal } = this.node(['--test', join('contracts', 'test', name)]);
      if (signal !== null) return { outcome: 'unfinished', by: name };
      if (status !== 0) return { outcome: 'typescript', by: name };
    }
    return undefined;
  }

  private node(args: readonly string[]): SpawnSyncReturns<string> {
    return spawnSync('node', [...TS, ...args], {
      cwd: COPY,
      encoding: 'utf8',
      maxBuffer: 1 << 28,
      ...(this.limitMs === undefined ? {} : { timeout: this.limitMs }),
    });
  }
}
