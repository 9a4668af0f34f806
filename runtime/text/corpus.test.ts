/** The corpus: what is read, what is left out, and that no text crosses from one split to another. */
import assert from 'node:assert/strict';
import { mkdir, mkdtemp, rm, symlink, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { after, test } from 'node:test';
import {
  documentsOf,
  isWanted,
  listPackages,
  paragraphKeys,
  readCorpus,
  splitOf,
  withoutSharedParagraphs,
} from './corpus.ts';
import {
  cleanCode,
  cleanComment,
  cleanMarkdown,
  commentsOf,
  paragraphsOf,
} from './corpus-clean.ts';

const root = await mkdtemp(join(tmpdir(), 'corpus-'));
after(() => rm(root, { recursive: true }));

/** Lays files out below a fresh node_modules; a package.json is made from `name@version`. */
async function nodeModules(files: Record<string, string>): Promise<string> {
  const directory = await mkdtemp(join(root, 'nm-'));
  for (const [path, text] of Object.entries(files)) {
    await mkdir(dirname(join(directory, path)), { recursive: true });
    await writeFile(join(directory, path), text);
  }
  return directory;
}

const manifest = (name: string, version = '1.0.0', more = {}) =>
  JSON.stringify({ name, version, ...more });
const PROSE =
  'This package does one thing and explains it in a sentence of more than eighty bytes.';

test('packages: scoped and nested ones, one version each, none that is bound to a platform', async () => {
  const modules = await nodeModules({
    'b/package.json': manifest('b', '2.0.0'),
    'b/node_modules/a/package.json': manifest('a', '0.9.0'),
    'b/node_modules/d/package.json': manifest('d', '4.0.0'),
    'a/package.json': manifest('a'),
    '@scope/c/package.json': manifest('@scope/c'),
    'native-linux/package.json': manifest('native-linux', '1.0.0', { os: ['linux'] }),
    'native-arm/package.json': manifest('native-arm', '1.0.0', { cpu: ['arm64'] }),
    '.bin/x': '',
    'broken/package.json': '{',
    'nameless/package.json': '{"version":"1.0.0"}',
  });
  await symlink(join(modules, 'a'), join(modules, 'linked'));
  const found = listPackages(modules).map(({ name, version }) => `${name} ${version}`);
  assert.deepEqual(found, ['@scope/c 1.0.0', 'a 1.0.0', 'b 2.0.0', 'd 4.0.0']);
  assert.deepEqual(listPackages(join(modules, 'nowhere')), []);
});

test('documents: prose and docs folders, no licences, no nested packages, no foreign texts', async () => {
  const modules = await nodeModules({
    'p/package.json': manifest('p'),
    'p/README.md': `# P\n\n${PROSE}`,
    'p/docs/api.txt': PROSE,
    'p/docs/guide/start.md': PROSE,
    'p/notes.txt': PROSE,
    'p/LICENSE.md': PROSE,
    'p/ThirdPartyNotices.txt': PROSE,
    'p/README.zh.md': '这是一个'.repeat(40),
    'p/empty.md': 'See the site.',
    'p/node_modules/q/README.md': PROSE,
    'p/index.js': 'code();',
  });
  const [installed] = listPackages(modules);
  const documents = documentsOf(installed!);
  assert.deepEqual(
    documents.map(({ path }) => path),
    ['README.md', 'docs/api.txt', 'docs/guide/start.md'],
  );
  assert.equal(documents[0]!.text, `# P\n\n${PROSE}\n`);
  await writeFile(join(modules, 'p/README.md'), Buffer.from([0x41, 0xff, 0xfe]));
  assert.ok(!documentsOf(installed!).some(({ path }) => path === 'README.md'));
});

test('comments and code of a package are read apart', async () => {
  const modules = await nodeModules({
    'p/package.json': manifest('p'),
    'p/a.ts': `/** ${PROSE} */\nexport const answer = 42;\n${'export const more = 1;\n'.repeat(4)}`,
    'p/a.min.js': 'x'.repeat(500),
    'p/test/a.js': 'export const tested = true;\n'.repeat(10),
  });
  const [installed] = listPackages(modules);
  assert.deepEqual(
    documentsOf(installed!, 'comments').map(({ text }) => text),
    [`${PROSE}\n`],
  );
  const code = documentsOf(installed!, 'code');
  assert.deepEqual(
    code.map(({ path }) => path),
    ['a.ts'],
  );
  assert.ok(!code[0]!.text.includes(PROSE) && code[0]!.text.includes('answer = 42'));
});

test('which files are wanted', () => {
  const wanted = [
    'README',
    'readme.markdown',
    'CHANGELOG.md',
    'HISTORY.txt',
    'a/b/guide.md',
    'doc/x.txt',
  ];
  const unwanted = ['LICENSE', 'licence.md', 'docs/COPYING.txt', 'NOTICE.md', 'a.txt', 'x.mdx.js'];
  for (const path of wanted) assert.ok(isWanted(path, 'documentation'), path);
  for (const path of unwanted) assert.ok(!isWanted(path, 'documentation'), path);
  assert.ok(isWanted('types/a.d.cts', 'comments') && !isWanted('a.json', 'code'));
});

test('splits: fixed for ever by the name, in the intended shares', () => {
  const known = ['fastify', 'ethers', 'pino', 'libp2p', 'openai'].map((name) => splitOf(name));
  assert.deepEqual(known, ['datanet', 'held-out', 'pretraining', 'datanet', 'held-out']);
  const counts = { pretraining: 0, datanet: 0, 'held-out': 0 };
  for (let i = 0; i < 10_000; i++) counts[splitOf(`package-${i}`)]++;
  assert.ok(Math.abs(counts.pretraining - 6000) < 150);
  assert.ok(Math.abs(counts.datanet - 3000) < 150);
  assert.ok(Math.abs(counts['held-out'] - 1000) < 100);
});

test('shared paragraphs leave pretraining, however they are wrapped; short ones stay', () => {
  const document = (name: string, text: string) =>
    ({ package: name, path: 'README.md', kind: 'documentation', text }) as const;
  const other = [document('held', `Install\n\n${PROSE.replaceAll(' ', '\n')}`)];
  const own = `Install\n\n${PROSE}\n\nAnother paragraph that only this package has, and that is long enough.\n`;
  const kept = withoutSharedParagraphs(
    [document('a', own), document('b', own)],
    paragraphKeys(other),
  );
  assert.equal(kept.length, 2);
  assert.ok(kept.every(({ text }) => !text.includes('one thing') && text.startsWith('Install')));
  const twice = withoutSharedParagraphs([document('a', PROSE), document('b', PROSE)], new Set());
  assert.equal(twice.length, 1);
});

test('the corpus of this project: three splits without a package or a long paragraph in common', () => {
  const corpus = readCorpus('node_modules');
  const names = (split: keyof typeof corpus) => new Set(corpus[split].map((each) => each.package));
  for (const name of names('pretraining')) {
    assert.ok(!names('datanet').has(name) && !names('held-out').has(name));
  }
  const others = paragraphKeys([...corpus.datanet, ...corpus['held-out']]);
  for (const key of paragraphKeys(corpus.pretraining)) assert.ok(!others.has(key), key);
  const bytes = corpus.pretraining.reduce((sum, { text }) => sum + Buffer.byteLength(text), 0);
  assert.ok(bytes > 6_000_000, `${bytes} bytes of pretraining text`);
});

test('Markdown is cleaned of what nobody reads', () => {
  const raw = [
    '\uFEFF<!-- hidden\nstill hidden -->',
    '<p align="center"><img src="x.png"></p>',
    '[![build](https://a/b.svg)](https://ci) ![cover](c.svg)',
    '# Title',
    'A [link](https://example.org/a_(b) "tip") and `[code](x)`. ([abc1234](https://x/commit/abc1234))  ',
    '[ref]: https://example.org',
    'A'.repeat(60),
    '',
    '',
    '',
    '```js',
    'const a = [b](c); // <p>',
    '```',
  ].join('\r\n');
  const expected = '# Title\nA link and `code`.\n\n```js\nconst a = [b](c); // <p>\n```';
  assert.equal(cleanMarkdown(raw), expected);
  assert.equal(cleanMarkdown(cleanMarkdown(raw)), expected);
  assert.equal(cleanMarkdown('a [b](c)\r<p>', false), 'a [b](c)\n<p>');
});

test('comments lose their stars, and licence headers are dropped', () => {
  const source = `/** ${PROSE}\n *\n * @param a - the first\n */\n/* plain */ /**/\n/** @license MIT */`;
  const comments = commentsOf(source);
  assert.equal(comments.length, 2);
  assert.equal(cleanComment(comments[0]!), `${PROSE}\n\n@param a - the first`);
  assert.equal(cleanComment(comments[1]!), '');
  assert.equal(cleanCode('x'.repeat(301)), '');
});

test('paragraphs stand between blank lines', () => {
  assert.deepEqual(paragraphsOf('a\nb\n\n\n  c  \n\n \n'), ['a\nb', '  c']);
});
