import assert from 'node:assert/strict';
import { test } from 'node:test';
import { ApiError } from './errors.ts';
import { parseChat, parseCompletion } from './requests.ts';

const chat = { model: 'm', messages: [{ role: 'user', content: 'hi' }] };
const refused = (code: string, param: string | null) => (error: unknown) =>
  error instanceof ApiError && error.code === code && error.param === param;

test('a conversation becomes paragraphs; parts of text are joined', () => {
  const { prompt } = parseChat({
    model: 'm',
    messages: [
      { role: 'system', content: 'Be brief.' },
      {
        role: 'user',
        content: [
          { type: 'text', text: 'When does ' },
          { type: 'text', text: 'it open?' },
        ],
      },
    ],
  });
  assert.equal(prompt, 'Be brief.\n\nWhen does it open?\n\n');
});

test('defaults are those of the interface; null means absent', () => {
  const bare = parseCompletion({ model: 'm', prompt: ['x'], stop: null, max_tokens: null });
  assert.deepEqual(bare, {
    model: 'm',
    prompt: 'x',
    maxTokens: null,
    temperature: 1,
    topP: 1,
    seed: null,
    stop: [],
    stream: false,
    includeUsage: false,
    route: { provider: null, verify: null },
  });
  const full = parseChat({ ...chat, max_completion_tokens: 3, max_tokens: 9, seed: -1, stop: 'a' });
  assert.deepEqual([full.maxTokens, full.seed, full.stop], [3, 4_294_967_295, ['a']]);
});

test('unsupported_parameter: what we cannot honour is named, its harmless value is taken', () => {
  for (const [name, bad, good] of [
    ['n', 2, 1],
    ['logprobs', true, false],
    ['top_logprobs', 3, 0],
    ['presence_penalty', 0.5, 0],
    ['frequency_penalty', 0.5, 0],
    ['logit_bias', { 1: 2 }, {}],
    ['response_format', { type: 'json_object' }, { type: 'text' }],
  ] as const) {
    assert.throws(
      () => parseChat({ ...chat, [name]: bad }),
      refused('unsupported_parameter', name),
    );
    assert.ok(parseChat({ ...chat, [name]: good }));
    assert.ok(parseChat({ ...chat, [name]: null }));
  }
});

test('invalid_request: wrong types and ranges name the parameter', () => {
  for (const [changes, param] of [
    [{ temperature: -1 }, 'temperature'],
    [{ top_p: 0 }, 'top_p'],
    [{ max_tokens: 0 }, 'max_tokens'],
    [{ stop: ['a', 'b', 'c', 'd', 'e'] }, 'stop'],
    [{ stop: 'x'.repeat(65) }, 'stop'],
    [{ model: '' }, 'model'],
    [{ route: { provider: 'me' } }, 'route.provider'],
    [{ route: { verify: 'never' } }, 'route.verify'],
    [{ messages: [{ role: 'user', content: '' }] }, 'prompt'],
  ] as const)
    assert.throws(() => parseChat({ ...chat, ...changes }), refused('invalid_request', param));
  assert.throws(() => parseChat('text'), refused('invalid_request', null));
  assert.throws(
    () => parseCompletion({ model: 'm', prompt: [1, 2] }),
    refused('invalid_request', 'prompt'),
  );
});
