/**
 * Compiles contracts/src and writes contracts/bindings: ABI, bytecode and types for ethers. With --check it compiles and
 * compares byte for byte instead; without it, nothing is compiled when the sources' hash is the one in the bindings.
 */
import { createHash } from 'node:crypto';
import { existsSync, mkdirSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { createRequire } from 'node:module';
import { join, relative } from 'node:path';
import { fileURLToPath } from 'node:url';

const ROOT = fileURLToPath(new URL('.', import.meta.url));
const SOURCES = join(ROOT, 'src');
const BINDINGS = join(ROOT, 'bindings');
const MAX_RUNTIME_BYTES = 24_576;
/** Deployed contracts in the order of the bindings' index; LibraryProbe is for tests only. */
const CONTRACTS = [
  'Parameters',
  'InsecureLocalBeacon',
  'Staking',
  'DatanetRegistry',
  'ModelRegistry',
  'TaskEscrow',
  'InferenceEscrow',
  'Epochs',
  'Referee',
  'GOpen',
  'Timelock',
  'OpenLedgerGovernor',
  'DrandBeacon',
  'EpochDisputes',
  'PaymentDisputes',
  'StepJudge',
];
const TEST_CONTRACTS = ['LibraryProbe'];

type Parameter = {
  name: string;
  type: string;
  internalType?: string;
  components?: Parameter[];
};
type AbiItem = {
  type: string;
  name?: string;
  inputs?: Parameter[];
  outputs?: Parameter[];
  stateMutability?: string;
};
type CompiledContract = {
  abi: AbiItem[];
  evm: {
    bytecode: { object: string };
    deployedBytecode: {
      object: string;
      immutableReferences: Record<string, { start: number; length: number }[]>;
    };
  };
};
type AstNode = { nodeType: string; name?: string; nodes?: AstNode[]; members?: AstNode[] };
type Output = {
  errors?: { severity: string; formattedMessage: string; sourceLocation?: { file: string } }[];
  sources: Record<string, { ast: AstNode }>;
  contracts: Record<string, Record<string, CompiledContract>>;
};

const require = createRequire(import.meta.url);

function kebab(name: string): string {
  return name.replaceAll(/(?<=[a-z0-9])(?=[A-Z])/g, '-').toLowerCase();
}

/** Own sources by path from src, and the library sources that they import by package path. */
function readSources(): Record<string, { content: string }> {
  const sources: Record<string, { content: string }> = {};
  for (const name of readdirSync(SOURCES, { recursive: true, encoding: 'utf8' }).sort()) {
    if (!name.endsWith('.sol')) continue;
    const path = relative(ROOT, join(SOURCES, name)).replaceAll('\\', '/');
    sources[path] = { content: readFileSync(join(SOURCES, name), 'utf8') };
  }
  const pending = Object.entries(sources).map(([path, { content }]) => ({ path, content }));
  for (let next = pending.pop(); next !== undefined; next = pending.pop()) {
    for (const [, target] of next.content.matchAll(/^import [^;]*?["']([^"']+)["'];/gm)) {
      const base = target!.startsWith('.')
        ? new URL(target!, `file:///${next.path}`).pathname.slice(1)
        : target!;
      if (sources[base] !== undefined) continue;
      const content = readFileSync(require.resolve(base), 'utf8');
      sources[base] = { content };
      pending.push({ path: base, content });
    }
  }
  return Object.fromEntries(Object.entries(sources).sort(([a], [b]) => (a < b ? -1 : 1)));
}

function standardInput(): string {
  return JSON.stringify({
    language: 'Solidity',
    sources: readSources(),
    settings: {
      optimizer: { enabled: true, runs: 200 },
      evmVersion: 'prague',
      metadata: { bytecodeHash: 'none', appendCBOR: false },
      outputSelection: {
        '*': {
          '*': [
            'abi',
            'evm.bytecode.object',
            'evm.deployedBytecode.object',
            'evm.deployedBytecode.immutableReferences',
          ],
          '': ['ast'],
        },
      },
    },
  });
}

function compile(input: string): Output {
  // solcjs takes half a second to load, so it is loaded only when something has to be compiled.
  const solc = require('solc') as { compile(input: string): string };
  const output = JSON.parse(solc.compile(input)) as Output;
  // A warning in our own sources is an error; a library's warnings are its own affair.
  const messages = (output.errors ?? []).filter(
    ({ severity, sourceLocation }) =>
      severity === 'error' || (severity === 'warning' && !sourceLocation?.file.startsWith('@')),
  );
  if (messages.length > 0) {
    throw new Error(messages.map(({ formattedMessage }) => formattedMessage).join('\n'));
  }
  return output;
}

function find(output: Output, name: string): CompiledContract {
  const path = Object.keys(output.contracts).find(
    (file) => file.startsWith('src/') && output.contracts[file]?.[name] !== undefined,
  );
  const contract = output.contracts[path ?? '']?.[name];
  if (contract === undefined) throw new Error(`contracts/src has no contract ${name}`);
  return contract;
}

/** `struct ITaskEscrow.Task[]` and `struct IParameters.Values` become `TaskEscrowTask`, `ParametersValues`. */
function structName(internalType: string): string {
  const [, owner = '', name = ''] = /^struct (?:(\w+)\.)?(\w+)/.exec(internalType) ?? [];
  return owner.replace(/^I(?=[A-Z])/, '') + name;
}

type Direction = 'Input' | '';

function tsType(
  parameter: Parameter,
  direction: Direction,
  structs: Map<string, Parameter[]>,
): string {
  const array = /^(.*)\[\d*\]$/.exec(parameter.type);
  if (array !== null) {
    const item = tsType({ ...parameter, type: array[1]! }, direction, structs);
    return `readonly ${item.startsWith('readonly ') ? `(${item})` : item}[]`;
  }
  if (parameter.type === 'tuple') {
    const name = structName(parameter.internalType ?? '');
    structs.set(name, parameter.components ?? []);
    for (const component of parameter.components ?? []) tsType(component, direction, structs);
    return name + direction;
  }
  if (/^u?int/.test(parameter.type)) return direction === 'Input' ? 'BigNumberish' : 'bigint';
  if (parameter.type === 'bool') return 'boolean';
  if (parameter.type.startsWith('bytes')) return direction === 'Input' ? 'BytesLike' : 'string';
  return 'string';
}

function outputType(outputs: Parameter[], structs: Map<string, Parameter[]>): string {
  if (outputs.length === 0) return 'undefined';
  if (outputs.length === 1) return tsType(outputs[0]!, '', structs);
  const elements = outputs.map((item) => tsType(item, '', structs)).join(', ');
  const named = outputs.filter(({ name }) => name !== '');
  const fields = named
    .map((item) => `readonly ${item.name}: ${tsType(item, '', structs)}`)
    .join('; ');
  return `readonly [${elements}] & { ${fields} }`;
}

function functionsType(name: string, abi: AbiItem[], structs: Map<string, Parameter[]>): string {
  const lines = abi
    .filter(({ type }) => type === 'function')
    .map(({ name: key, inputs = [], outputs = [], stateMutability }) => {
      const args = inputs
        .map(
          (item, i) =>
            `${item.name === '' ? `value${i}` : item.name}: ${tsType(item, 'Input', structs)}`,
        )
        .join(', ');
      const kind = stateMutability === 'pure' ? 'view' : stateMutability;
      return `  ${key}: { args: [${args}]; result: ${outputType(outputs, structs)}; kind: '${kind}' };`;
    });
  return `export type ${name}Functions = {\n${lines.join('\n')}\n};\n`;
}

function runtimeLayout(
  name: string,
  runtime: string,
  offset: number,
  immutables: readonly [number, number][],
): string {
  const layout = JSON.stringify({ offset, length: runtime.length / 2, immutables });
  return `/** Where the runtime code stands in the creation code, and its immutables as [start, length] in it, in bytes. */\nexport const ${name}Runtime = ${layout} as const;\n`;
}

function binding(
  name: string,
  contract: CompiledContract,
  structs: Map<string, Parameter[]>,
): string {
  const creation = contract.evm.bytecode.object;
  const runtime = contract.evm.deployedBytecode;
  const offset = creation.indexOf(runtime.object) / 2;
  if (offset < 0) throw new Error(`${name}: the runtime code does not stand in its creation code`);
  if (runtime.object.length / 2 > MAX_RUNTIME_BYTES) {
    throw new Error(
      `${name}: runtime code has ${runtime.object.length / 2} bytes, above ${MAX_RUNTIME_BYTES}`,
    );
  }
  const immutables = Object.values(runtime.immutableReferences)
    .flat()
    .map(({ start, length }): [number, number] => [start, length])
    .sort(([a], [b]) => a - b);
  const types = functionsType(name, contract.abi, structs);
  const used = [...structs.keys()]
    .flatMap((key) => [key, `${key}Input`])
    .filter((key) => new RegExp(`\\b${key}\\b`).test(types));
  const ethersTypes = ['BigNumberish', 'BytesLike'].filter((key) =>
    new RegExp(`\\b${key}\\b`).test(types),
  );
  return [
    `// Generated by contracts/compile.ts from contracts/src/${name}.sol; do not edit.`,
    ethersTypes.length === 0 ? '' : `import type { ${ethersTypes.join(', ')} } from 'ethers';`,
    used.length === 0 ? '' : `import type { ${used.sort().join(', ')} } from './structs.ts';`,
    '',
    types,
    `export const ${name}Abi = [\n${contract.abi.map((item) => `  ${JSON.stringify(item)},`).join('\n')}\n] as const;\n`,
    `export const ${name}Bytecode =\n  '0x${creation}';\n`,
    ...(TEST_CONTRACTS.includes(name)
      ? []
      : [runtimeLayout(name, runtime.object, offset, immutables)]),
  ]
    .filter((line, i) => line !== '' || i === 3)
    .join('\n');
}

function structsFile(structs: Map<string, Parameter[]>, output: Output): string {
  const parts = [
    '// Generated by contracts/compile.ts: the structs and enums of the contracts; do not edit.',
  ];
  parts.push("import type { BigNumberish, BytesLike } from 'ethers';\n");
  for (const [name, components] of [...structs].sort(([a], [b]) => (a < b ? -1 : 1))) {
    for (const direction of ['', 'Input'] as const) {
      const fields = components.map(
        (item) => `  readonly ${item.name}: ${tsType(item, direction, new Map())};`,
      );
      parts.push(`export type ${name}${direction} = {\n${fields.join('\n')}\n};\n`);
    }
  }
  for (const [path, { ast }] of Object.entries(output.sources)) {
    if (!path.startsWith('src/interfaces/')) continue;
    for (const owner of ast.nodes ?? []) {
      for (const node of owner.nodes ?? []) {
        if (node.nodeType !== 'EnumDefinition') continue;
        const members = (node.members ?? []).map((member, i) => `  ${member.name}: ${i}n,`);
        const name = (owner.name ?? '').replace(/^I(?=[A-Z])/, '') + node.name;
        parts.push(`export const ${name} = {\n${members.join('\n')}\n} as const;\n`);
      }
    }
  }
  return parts.join('\n');
}

function indexFile(contentHash: string): string {
  const lines = [
    '// Generated by contracts/compile.ts: every deployed contract by its name; do not edit.',
    `// sources: ${contentHash}`,
  ];
  for (const name of CONTRACTS) {
    lines.push(
      `import { ${name}Abi, ${name}Bytecode, type ${name}Functions, ${name}Runtime } from './${kebab(name)}.ts';`,
    );
  }
  const table = (suffix: string) =>
    CONTRACTS.map((name) => `  ${name}: ${name}${suffix},`).join('\n');
  lines.push(
    '',
    `export const contractNames = [\n${CONTRACTS.map((name) => `  '${name}',`).join('\n')}\n] as const;\n`,
  );
  lines.push('export type ContractName = (typeof contractNames)[number];\n');
  lines.push(`export const contractAbis = {\n${table('Abi')}\n} as const;\n`);
  lines.push(
    `export const contractBytecodes: Record<ContractName, string> = {\n${table('Bytecode')}\n};\n`,
  );
  lines.push(
    'export type RuntimeLayout = {\n  readonly offset: number;\n  readonly length: number;\n  readonly immutables: readonly (readonly [number, number])[];\n};\n',
  );
  lines.push(
    `export const contractRuntimes: Record<ContractName, RuntimeLayout> = {\n${table('Runtime')}\n};\n`,
  );
  lines.push(
    `export type ContractFunctions = {\n${CONTRACTS.map((name) => `  ${name}: ${name}Functions;`).join('\n')}\n};\n`,
  );
  return lines.join('\n');
}

function bindings(input: string, contentHash: string): Map<string, string> {
  const output = compile(input);
  const structs = new Map<string, Parameter[]>();
  const files = new Map<string, string>();
  for (const name of [...CONTRACTS, ...TEST_CONTRACTS]) {
    // Types first: a later contract may be the first that mentions a struct.
    functionsType(name, find(output, name).abi, structs);
  }
  for (const name of [...CONTRACTS, ...TEST_CONTRACTS]) {
    files.set(`${kebab(name)}.ts`, binding(name, find(output, name), structs));
  }
  files.set('structs.ts', structsFile(structs, output));
  files.set('contracts.ts', indexFile(contentHash));
  return files;
}

function committed(name: string): string {
  const path = join(BINDINGS, name);
  return existsSync(path) ? readFileSync(path, 'utf8') : '';
}

function main(): void {
  const check = process.argv.includes('--check');
  const input = standardInput();
  const version = (require('solc/package.json') as { version: string }).version;
  const generator = readFileSync(fileURLToPath(import.meta.url), 'utf8');
  const hash = createHash('sha256').update(version).update(generator).update(input).digest('hex');
  if (!check && committed('contracts.ts').includes(hash)) {
    process.stdout.write('contracts: bindings are up to date\n');
    return;
  }
  const files = bindings(input, hash);
  if (check) {
    const present = existsSync(BINDINGS) ? readdirSync(BINDINGS) : [];
    const wrong = [...files]
      .filter(([name, text]) => committed(name) !== text)
      .map(([name]) => name)
      .concat(present.filter((name) => !files.has(name)));
    if (wrong.length > 0) {
      process.stderr.write(
        `contracts: bindings differ from the sources: ${wrong.join(', ')}; run contracts/compile.ts\n`,
      );
      process.exitCode = 1;
    } else process.stdout.write(`contracts: ${files.size} bindings match their sources\n`);
    return;
  }
  rmSync(BINDINGS, { recursive: true, force: true });
  mkdirSync(BINDINGS, { recursive: true });
  for (const [name, text] of files) writeFileSync(join(BINDINGS, name), text);
  process.stdout.write(`contracts: wrote ${files.size} bindings\n`);
}

main();
