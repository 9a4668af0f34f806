/** The rules of form that no linter knows, over every tracked source file. */
import assert from 'node:assert/strict';
import { execFileSync } from 'node:child_process';
import { existsSync, readFileSync } from 'node:fs';
import { test } from 'node:test';

const files = execFileSync('git', ['ls-files', '-z'], { encoding: 'utf8' })
  .split('\0')
  .filter((name) => name !== '' && existsSync(name));
const sources = files.filter(
  (name) => /\.(ts|mjs|sol|c|h)$/.test(name) && !/\/bindings\//.test(name),
);
const text = new Map(sources.map((name) => [name, readFileSync(name, 'utf8')]));

function offenders(pattern: RegExp, except: (name: string) => boolean = () => false): string[] {
  return [...text]
    .filter(([name, body]) => name !== 'test/tidy.test.ts' && !except(name) && pattern.test(body))
    .map(([name]) => name);
}

test('every source file but a test opens with what it is for', () => {
  const silent = [...text]
    .filter(
      ([name, body]) => !/^(#!.*\n)?\s*(\/\/|\/\*)/.test(body) && !/[.](sol|test[.]ts)$/.test(name),
    )
    .map(([name]) => name);
  assert.deepEqual(silent, []);
});

test('no source file is longer than 600 lines', () => {
  const long = [...text]
    .map(([name, body]) => `${name} ${body.split('\n').length}`)
    .filter((entry) => Number(entry.split(' ')[1]) > 600);
  assert.deepEqual(long, []);
});

test('nothing is left unfinished or switched off', () => {
  assert.deepEqual(offenders(/\b(TODO|FIXME|XXX|HACK)\b/), []);
  assert.deepEqual(offenders(/\b(it|test|describe)\.only\(/), []);
  assert.deepEqual(offenders(/@ts-(ignore|nocheck)/), []);
});

test('only the bundler and the polyfill know the polyfill', () => {
  const users = offenders(/Promise\.withResolvers \?\?=/);
  assert.deepEqual(users, ['bin/polyfill.mjs']);
});

test('no registry host is named in what is committed', () => {
  const hosts = /registry\.npmjs\.org|pypi\.org\/simple|deb\.debian\.org|proxy\.golang\.org/;
  const naming = files.filter(
    (name) =>
      name !== 'test/tidy.test.ts' &&
      !/\.(wasm|safetensors|bin)$/.test(name) &&
      !name.startsWith('runtime/base/') &&
      hosts.test(readFileSync(name, 'utf8')),
  );
  assert.deepEqual(naming, []);
});
