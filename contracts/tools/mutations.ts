/** Mutations of the contracts, made mechanically from solc's syntax tree; nobody chooses where they go. */
import { readdirSync, readFileSync } from 'node:fs';
import { createRequire } from 'node:module';
import { join } from 'node:path';
import { ROOT } from './foundry.ts';

/** One change of one file: `length` bytes from `start` are replaced by `text`. */
export type Mutation = {
  readonly file: string;
  readonly line: number;
  readonly kind: string;
  readonly start: number;
  readonly length: number;
  readonly text: string;
};

type Node = {
  nodeType?: string;
  src?: string;
  [field: string]: unknown;
};

const SWAPPED: Readonly<Record<string, string>> = {
  '+': '-',
  '*': '+',
  '&&': '||',
  '||': '&&',
  '==': '!=',
  '!=': '==',
  '&': '|',
  '|': '&',
  '^': '|',
};

const require = createRequire(import.meta.url);
const CONTRACTS = join(ROOT, 'contracts');

/** Our own contracts and libraries, by path from contracts/; interfaces and probes have nothing to break. */
export function contractSources(): string[] {
  return readdirSync(join(CONTRACTS, 'src'), { recursive: true, encoding: 'utf8' })
    .filter((name) => name.endsWith('.sol') && !/^(test|interfaces)\//.test(name))
    .map((name) => `src/${name}`)
    .sort();
}

function trees(files: readonly string[]): Map<string, Node> {
  const solc = require('solc') as {
    compile(input: string, callbacks: { import: (path: string) => { contents: string } }): string;
  };
  const read = (path: string) => {
    const place = path.startsWith('@') ? require.resolve(path) : join(CONTRACTS, path);
    return { contents: readFileSync(place, 'utf8') };
  };
  const input = {
    language: 'Solidity',
    sources: Object.fromEntries(files.map((file) => [file, { content: read(file).contents }])),
    settings: { evmVersion: 'prague', outputSelection: { '*': { '': ['ast'] } } },
  };
  const output = JSON.parse(solc.compile(JSON.stringify(input), { import: read })) as {
    sources: Record<string, { ast: Node }>;
  };
  return new Map(files.map((file) => [file, output.sources[file]!.ast]));
}

class Collector {
  readonly found: Mutation[] = [];
  readonly file: string;
  readonly bytes: Buffer;

  constructor(file: string) {
    this.file = file;
    this.bytes = readFileSync(join(CONTRACTS, file));
  }

  range(node: Node): [start: number, length: number] {
    const [start, length] = (node.src as string).split(':').map(Number);
    return [start!, length!];
  }

  text(node: Node): string {
    const [start, length] = this.range(node);
    return this.bytes.subarray(start, start + length).toString('utf8');
  }

  add(kind: string, node: Node, text: string): void {
    const [start, length] = this.range(node);
    const line = this.bytes.subarray(0, start).toString('utf8').split('\n').length;
    this.found.push({ file: this.file, line, kind, start, length, text });
  }

  visit(node: Node): void {
    this.statements(node);
    this.conditions(node);
    this.expressions(node);
    for (const value of Object.values(node)) {
      if (Array.isArray(value)) {
        for (const each of value) if (isNode(each)) this.visit(each);
      } else if (isNode(value)) this.visit(value);
    }
  }

  private statements(node: Node): void {
    if (node.nodeType === 'Block' || node.nodeType === 'UncheckedBlock') {
      for (const statement of (node['statements'] as Node[] | undefined) ?? []) {
        if (!['ExpressionStatement', 'EmitStatement'].includes(statement.nodeType!)) continue;
        // The range of an expression leaves its semicolon, and an empty statement is none in Solidity.
        this.add('dropped statement', statement, '{}');
      }
    }
    if (node.nodeType === 'FunctionDefinition' && node['kind'] !== 'constructor') {
      for (const modifier of node['modifiers'] as Node[])
        this.add('removed modifier', modifier, '');
    }
  }

  private conditions(node: Node): void {
    if (node.nodeType === 'IfStatement' || node.nodeType === 'Conditional') {
      const condition = node['condition'] as Node;
      this.add('negated condition', condition, `!(${this.text(condition)})`);
    }
    if (node.nodeType !== 'FunctionCall') return;
    const called = node['expression'] as Node;
    const args = node['arguments'] as Node[];
    if (called['name'] === 'require') {
      this.add('negated condition', args[0]!, `!(${this.text(args[0]!)})`);
    }
    if (called['memberName'] === 'encode' && args.length > 2) {
      for (const dropped of args) {
        const kept = args.filter((each) => each !== dropped).map((each) => this.text(each));
        this.add('removed field', node, `${this.text(called)}(${kept.join(', ')})`);
      }
    }
  }

  private expressions(node: Node): void {
    if (node.nodeType === 'BinaryOperation') {
      const [left, right] = [node['leftExpression'] as Node, node['rightExpression'] as Node];
      const operator = node['operator'] as string;
      const other = SWAPPED[operator];
      const text =
        other === undefined
          ? `(${this.text(right)}) ${operator} (${this.text(left)})`
          : `(${this.text(left)}) ${other} (${this.text(right)})`;
      this.add('swapped operand', node, text);
    }
    if (node['kind'] !== 'number') return;
    if (node.nodeType === 'Literal') this.add('changed constant', node, `(${this.text(node)} + 1)`);
    if (node.nodeType === 'YulLiteral') {
      this.add('changed constant', node, String(BigInt(node['value'] as string) + 1n));
    }
  }
}

function isNode(value: unknown): value is Node {
  return typeof value === 'object' && value !== null && 'nodeType' in value;
}

/** Every mutation of every contract, by file. */
export function allMutations(): Map<string, Mutation[]> {
  const files = contractSources();
  const byFile = new Map<string, Mutation[]>();
  for (const [file, tree] of trees(files)) {
    const collector = new Collector(file);
    collector.visit(tree);
    byFile.set(file, collector.found);
  }
  return byFile;
}
