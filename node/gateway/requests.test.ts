import assert from 'node:assert/strict';
import { test } from 'node:test';
import { ModelError } from '#runtime';
import { ApiError } from './errors.ts';
import { parseChat as parseChatWith, parseCompletion } from './requests.ts';

/** Rendered so that roles can be seen. */
const parseChat = (body: unknown) =>
  parseChatWith(body, (messages) =>
    messages.map(({ role, content }) => `${role}: ${content}\n`).join(''),
  );

const chat = { model: 'm', messages: [{ role: 'user', content: 'hi' }] };
const refused = (code: string, param: string | null) => (error: unknown) =>
  error instanceof ApiError && error.code === code && error.param === param;

test('a conversation is rendered; parts of text are joined', () => {
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
  assert.equal(prompt, 'system: Be brief.\nuser: When does it open?\n');
});

test('defaults are those of the interface; null means absent', () => {
  const bare = parseCompletion({ model: 'm', prompt: ['x'], stop: null, max_tokens: null });
  assert.deepEqual(bare, {
    model: 'm',
    prompt: 'x',
    maxTokens: null,
    sampling: {
      ...{ temperature: null, topP: null, topK: null, minP: null },
      repetitionPenalty: null,
    },
    logprobs: null,
    seed: null,
    stop: [],
    stream: false,
    includeUsage: false,
    route: { provider: null, verify: null },
  });
  const full = parseChat({ ...chat, max_completion_tokens: 3, max_tokens: 9, seed: -1, stop: 'a' });
  assert.deepEqual([full.maxTokens, full.seed, full.stop], [3, 4_294_967_295, ['a']]);
});

test('settings of sampling and log-probabilities are taken as each endpoint writes them', () => {
  const { sampling, logprobs } = parseChat({
    ...chat,
    ...{ temperature: 0.5, top_p: 0.9, top_k: -1, min_p: 0.1, repetition_penalty: 1.2 },
    ...{ logprobs: true, top_logprobs: 2 },
  });
  assert.deepEqual(sampling, {
    ...{ temperature: 0.5, topP: 0.9, topK: 0, minP: 0.1 },
    repetitionPenalty: 1.2,
  });
  assert.equal(logprobs, 2);
  assert.equal(parseChat({ ...chat, logprobs: true }).logprobs, 0);
  assert.equal(parseChat({ ...chat, logprobs: false, top_logprobs: 0 }).logprobs, null);
  const plain = { model: 'm', prompt: 'x' };
  assert.equal(parseCompletion({ ...plain, logprobs: 4 }).logprobs, 4);
  assert.equal(parseCompletion({ ...plain, logprobs: 0 }).logprobs, 0);
  assert.equal(parseCompletion({ ...plain, logprobs: false }).logprobs, null);
});

test('unsupported_parameter: what we cannot honour is named, its harmless value is taken', () => {
  for (const [name, bad, good] of [
    ['n', 2, 1],
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
    [{ min_p: 1.5 }, 'min_p'],
    [{ top_k: -2 }, 'top_k'],
    [{ repetition_penalty: 0 }, 'repetition_penalty'],
    [{ logprobs: true, top_logprobs: 21 }, 'top_logprobs'],
    [{ top_logprobs: 2 }, 'top_logprobs'],
    [{ max_tokens: 0 }, 'max_tokens'],
    [{ stop: ['a', 'b', 'c', 'd', 'e'] }, 'stop'],
    [{ stop: 'x'.repeat(65) }, 'stop'],
    [{ model: '' }, 'model'],
    [{ route: { provider: 'me' } }, 'route.provider'],
    [{ route: { verify: 'never' } }, 'route.verify'],
    [{ messages: [{ role: 'user', content: '' }] }, 'messages'],
  ] as const)
    assert.throws(() => parseChat({ ...chat, ...changes }), refused('invalid_request', param));
  assert.throws(() => parseChat('text'), refused('invalid_request', null));
  assert.throws(
    () => parseCompletion({ model: 'm', prompt: [1, 2] }),
    refused('invalid_request', 'prompt'),
  );
});

test('messages that the model’s template refuses are the client’s to correct', () => {
  const refuse = (): never => {
    throw new ModelError('CHAT_TEMPLATE_REFUSED', 'roles must alternate');
  };
  assert.throws(() => parseChatWith(chat, refuse), refused('invalid_request', 'messages'));
});
