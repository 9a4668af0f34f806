// Datasets as people bring them: every format and container, and every way in which one is wrong.
import assert from 'node:assert/strict';
import { mkdtemp, rm, truncate, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, test } from 'node:test';
import { fileURLToPath } from 'node:url';
import fc from 'fast-check';
import { loadModelDirectory } from '../model/directory.ts';
import { type DatasetOptions, parseDataset, readDataset } from './dataset.ts';
import { DatasetError, type DatasetErrorCode } from './errors.ts';
import { datasetExamples, type ExampleOptions, previewExample } from './examples.ts';
import type { DatasetRow, Format } from './formats.ts';

const base = await loadModelDirectory(fileURLToPath(new URL('../base', import.meta.url)));
const folder = await mkdtemp(join(tmpdir(), 'openledger-data-'));
after(() => rm(folder, { recursive: true }));

const parse = (file: string, text: string, options?: DatasetOptions) =>
  parseDataset(file, new TextEncoder().encode(text), options);
const one = (row: object, options?: DatasetOptions) =>
  parse('one.jsonl', JSON.stringify(row), options);
const usual: ExampleOptions = { tokensMax: 512, trainOnInputs: false, template: 'plain' };
const preview = (row: object, change: Partial<ExampleOptions> = {}) => {
  const { records } = datasetExamples(one(row), base.tokenizer, { ...usual, ...change });
  return records.map((record) => previewExample(record, base.tokenizer));
};

const talk = [
  { role: 'system', content: 'Be short.' },
  { role: 'user', content: 'One?' },
  { role: 'assistant', content: 'Two.' },
  { role: 'user', content: 'Three?' },
  { role: 'assistant', content: 'Four.' },
];
const shared = { system: 'system', user: 'human', assistant: 'gpt' } as const;
const conversations = talk.map(({ role, content }) => ({
  from: shared[role as keyof typeof shared],
  value: content,
}));

const rows: [Format, object, DatasetRow['kind'], string[]][] = [
  ['text', { text: 'A text.' }, 'text', ['⟦A text.⟧']],
  ['prompt-completion', { prompt: 'One? ', completion: 'Two.' }, 'pair', ['One? ⟦Two.⟧']],
  ['prompt-completion', { question: 'One? ', answer: 2 }, 'pair', ['One? ⟦2⟧']],
  ['prompt-completion', { prompt: 'One? ', generation: 'Two.' }, 'pair', ['One? ⟦Two.⟧']],
  ['messages', { messages: talk }, 'turns', ['Be short.\n\nOne?\n\n⟦Two.⟧Three?\n\n⟦Four.⟧']],
  ['messages', { conversations }, 'turns', ['Be short.\n\nOne?\n\n⟦Two.⟧Three?\n\n⟦Four.⟧']],
  [
    'prompt-completion',
    { prompt: talk.slice(1, 2), completion: talk.slice(2, 3) },
    'turns',
    ['One?\n\n⟦Two.⟧'],
  ],
  [
    'alpaca',
    { instruction: 'Add.', input: '1 + 1', output: '2' },
    'turns',
    ['Add.\n\n1 + 1\n\n⟦2⟧'],
  ],
  ['alpaca', { instruction: 'Add.', response: 'What?' }, 'turns', ['Add.\n\n⟦What?⟧']],
  ['preference', { prompt: 'One? ', chosen: 'Two.', rejected: 'No.' }, 'pair', ['One? ⟦Two.⟧']],
  [
    'preference',
    { chosen: talk.slice(1, 3), rejected: talk.slice(1, 3) },
    'turns',
    ['One?\n\n⟦Two.⟧'],
  ],
  [
    'segments',
    {
      segments: [
        { label: false, text: 'Not ' },
        { label: true, text: 'this.' },
      ],
    },
    'segments',
    ['Not ⟦this.⟧'],
  ],
];

for (const [format, row, kind, expected] of rows) {
  test(`${format}: ${Object.keys(row).join(', ')}`, () => {
    const dataset = one(row);
    assert.equal(dataset.format, format);
    assert.equal(dataset.rows[0]?.kind, kind);
    assert.deepEqual(preview(row), expected);
  });
}

test('tokens come as they are, less padding and labels of -100', () => {
  const row = {
    input_ids: [5, 6, 7, 0],
    labels: [-100, -100, 7, -100],
    attention_mask: [1, 1, 1, 0],
  };
  const [record] = datasetExamples(one(row), base.tokenizer, usual).records;
  assert.deepEqual([...record!.tokens], [5, 6, 7]);
  assert.deepEqual([...record!.mask], [0, 0, 1]);
  assert.throws(
    () => datasetExamples(one({ input_ids: [1, 999_999] }), base.tokenizer, usual),
    (error) => error instanceof DatasetError && error.code === 'DATASET_TOKEN',
  );
});

test('training on inputs counts all but the first token; the template decides the words', () => {
  const row = { instruction: 'Add.', output: '2' };
  assert.deepEqual(preview(row, { trainOnInputs: true }), ['⟦Add.\n\n2⟧']);
  assert.match(preview(row, { template: 'alpaca' })[0]!, /### Response:\n⟦2⟧$/);
  const chat = datasetExamples(one({ messages: talk }), base.tokenizer, {
    ...usual,
    template: 'chat',
  });
  const whole = base.tokenizer.encodeChat(talk as never, false);
  assert.deepEqual(chat.records[0]!.tokens, whole);
  const learned = whole.filter((_, i) => chat.records[0]!.mask[i] === 1);
  assert.equal(base.tokenizer.decode(learned), 'Two.Four.');
  assert.equal(learned.filter((token) => token === base.tokenizer.endOfText).length, 2);
});

test('DATASET_TEMPLATE: a template that writes earlier turns anew has no mask', () => {
  const fickle = {
    ...base.tokenizer,
    encodeChat: (turns: readonly unknown[]) => Int32Array.of(turns.length, 1, 2, 3),
  };
  assert.throws(
    () => datasetExamples(one({ messages: talk }), fickle, { ...usual, template: 'chat' }),
    (error) => error instanceof DatasetError && error.code === 'DATASET_TEMPLATE',
  );
});

test('a long text falls into windows that lose nothing; a long answer is cut, a lost one dropped', () => {
  const text = Array.from({ length: 80 }, (_, i) => `sentence ${i}.`).join(' ');
  const long = datasetExamples(one({ text }), base.tokenizer, { ...usual, tokensMax: 32 });
  assert.ok(long.records.length > 3 && long.cut === 0);
  const joined = long.records.flatMap(({ tokens }, i) => [...(i === 0 ? tokens : tokens.slice(1))]);
  assert.equal(base.tokenizer.decode(joined), text);
  assert.equal(long.targets, joined.length - 1);
  const pair = one({ prompt: text, completion: text });
  const tokensMax = base.tokenizer.encode(text).length + 10;
  const cut = datasetExamples(pair, base.tokenizer, { ...usual, tokensMax });
  const lost = datasetExamples(pair, base.tokenizer, { ...usual, tokensMax: 32 });
  assert.deepEqual([cut.cut, cut.dropped, cut.records.length, cut.targets], [1, 0, 1, 9]);
  assert.deepEqual([lost.cut, lost.dropped, lost.records.length], [1, 1, 0]);
});

test('containers: JSON list, JSON with one list, JSON lines named .json, CSV, TSV, text', async () => {
  const list = [{ text: 'a' }, { text: 'b' }];
  const same = (name: string, text: string, container: string) => {
    const dataset = parse(name, text);
    assert.equal(dataset.container, container, name);
    assert.deepEqual(
      dataset.rows.map((row) => row.kind === 'text' && row.text),
      ['a', 'b'],
    );
  };
  same('x.json', JSON.stringify(list), 'json');
  same('x.json', JSON.stringify({ version: 1, data: list }, null, 1), 'json');
  same('x.json', list.map((row) => JSON.stringify(row)).join('\n\n'), 'jsonl');
  same('x', '\ufeff{"text":"a"}\r\n{"text":"b"}\r\n', 'jsonl');
  same('x.csv', 'text\r\na\r\n"b"\r\n', 'csv');
  same('x.tsv', 'text\tmore\na\t1\nb\t', 'tsv');
  const file = join(folder, 'notes.md');
  await writeFile(file, '# Notes\r\n\r\nText.\r\n');
  const notes = await readDataset(file);
  assert.deepEqual(notes.rows, [{ line: 1, kind: 'text', text: '# Notes\n\nText.\n' }]);
});

test('columns by other names are mapped when told, and unused ones are named', () => {
  const row = { ask: 'One?', reply: 'Two.', id: 3 };
  const dataset = one(row, { columns: { prompt: 'ask', completion: 'reply' } });
  assert.equal(dataset.format, 'prompt-completion');
  assert.deepEqual(dataset.mapping, { prompt: 'ask', completion: 'reply' });
  assert.deepEqual(dataset.notes, ['columns that are not used: id']);
  assert.equal(one({ text: 'a', messages: talk }, { format: 'text' }).format, 'text');
});

test('CSV reads back whatever was written, wherever the quotes and line feeds are', () => {
  const cell = fc.string({ unit: fc.constantFrom('a', ' ', '"', ',', '\n', '\r\n', 'é', '\t') });
  const quoted = (text: string) => `"${text.replaceAll('"', '""')}"`;
  fc.assert(
    fc.property(fc.array(fc.tuple(cell, cell), { minLength: 1 }), (lines) => {
      const text = [['text', 'more'], ...lines]
        .map((line) => line.map(quoted).join(','))
        .join('\n');
      const filled = lines.filter(([first]) => first !== '');
      if (filled.length !== lines.length) return;
      const found = parse('x.csv', text).rows.map((row) => row.kind === 'text' && row.text);
      assert.deepEqual(
        found,
        lines.map(([first]) => first),
      );
    }),
  );
});

const wrong: [DatasetErrorCode, string, string | Uint8Array, number | undefined, RegExp][] = [
  ['DATASET_CONTAINER', 'x.parquet', 'PAR1....', undefined, /Parquet/],
  ['DATASET_CONTAINER', 'x.jsonl', Uint8Array.of(0x1f, 0x8b, 8), undefined, /gzip/],
  ['DATASET_CONTAINER', 'x.dat', 'some words', undefined, /some words/],
  ['DATASET_ENCODING', 'x.txt', Uint8Array.of(97, 10, 0xe9, 10), 2, /another encoding/],
  ['DATASET_EMPTY', 'x.jsonl', ' \n', undefined, /no text/],
  ['DATASET_EMPTY', 'x.csv', 'text\n', undefined, /none/],
  ['DATASET_JSON', 'x.jsonl', '{"text":"a"}\n{"text":', 2, /JSON/],
  ['DATASET_JSON', 'x.jsonl', '{"text":"a"}\n[1]', 2, /\[1\]/],
  ['DATASET_JSON', 'x.json', '[{"text":"a"},\n{"text" 1}]', 2, /JSON/],
  ['DATASET_JSON', 'x.json', '[{"text":"a"}, 4]', 2, /found 4/],
  ['DATASET_CSV', 'x.csv', 'text,more\na,1\nb\n', 3, /found 1/],
  ['DATASET_CSV', 'x.csv', 'text\n"a', 2, /end of the file/],
  ['DATASET_CSV', 'x.csv', 'text\n"a"b', 2, /separator/],
  ['DATASET_CSV', 'x.csv', 'text,text\na,b', 1, /text,text/],
  ['DATASET_COLUMNS', 'x.jsonl', '{"speech":"a"}', 1, /columns speech/],
  ['DATASET_FIELD', 'x.jsonl', '{"text":"a"}\n{"text":7}', 2, /found 7/],
  ['DATASET_FIELD', 'x.jsonl', '{"text":"a"}\n{"body":"b"}', 2, /nothing/],
  ['DATASET_FIELD', 'x.jsonl', '{"messages":"hm"}', 1, /list of messages/],
  ['DATASET_FIELD', 'x.jsonl', '{"segments":[{"text":"a"}]}', 1, /label/],
  ['DATASET_FIELD', 'x.jsonl', '{"input_ids":[1,2],"labels":[1]}', 1, /1 labels/],
  ['DATASET_ROLE', 'x.jsonl', '{"messages":[{"role":"tool","content":"a"}]}', 1, /tool/],
  ['DATASET_NO_ANSWER', 'x.jsonl', '{"messages":[{"role":"user","content":"a"}]}', 1, /user/],
];

for (const [code, name, content, line, found] of wrong) {
  test(`${code}: ${name} ${found.source}`, () => {
    const bytes = typeof content === 'string' ? new TextEncoder().encode(content) : content;
    assert.throws(
      () => parseDataset(name, bytes),
      (error) => {
        assert.ok(error instanceof DatasetError, String(error));
        assert.deepEqual([error.code, error.details.line], [code, line], error.message);
        assert.match(error.message, found);
        assert.ok(error.fix.length > 0 && error.message.startsWith(name));
        return true;
      },
    );
  });
}

test('DATASET_MISSING and DATASET_TOO_LARGE name the file before it is read', async () => {
  await assert.rejects(readDataset(join(folder, 'none.jsonl')), { code: 'DATASET_MISSING' });
  await assert.rejects(readDataset(folder), { code: 'DATASET_MISSING' });
  const large = join(folder, 'large.jsonl');
  await writeFile(large, '');
  await truncate(large, 2 ** 29);
  await assert.rejects(readDataset(large), { code: 'DATASET_TOO_LARGE' });
});
