// The official client against the gateway, with two real providers behind it.
import assert from 'node:assert/strict';
import { after, test } from 'node:test';
import OpenAI from 'openai';
import { verifyReceiptFile } from '#protocol';
import { until } from '../network/testing.ts';
import { addressOf, makeWorld } from '../provider/testing.ts';
import { type Swarm, startSwarm } from './testing.ts';

const world = await makeWorld();
after(world.close);
const MODEL = 'tiny:weir';
const PROMPT = 'Keepers of the weir note each level';
const clientOf = ({ url }: Swarm): OpenAI =>
  new OpenAI({ baseURL: `${url}/v1`, apiKey: 'none', maxRetries: 0 });

type SwarmFields = {
  readonly x_swarm: {
    readonly node: string;
    readonly receipt_id: string;
    readonly price_wei: string;
    readonly providers_tried: number;
    readonly verified: boolean;
  };
};
const swarmOf = (reply: unknown) => (reply as SwarmFields).x_swarm;

test('models are listed, retrieved by name, and unknown ones are 404', async (t) => {
  const client = clientOf(await startSwarm(t, world, { providers: [] }));
  const { data } = await client.models.list();
  assert.deepEqual(
    data.map(({ id }) => id),
    ['tiny', MODEL],
  );
  assert.equal((await client.models.retrieve(MODEL)).owned_by, world.lineage.owner);
  await assert.rejects(client.models.retrieve('tiny:nope'), {
    status: 404,
    code: 'model_not_found',
  });
});

test('an answer comes with usage, a receipt that verifies, and one payment', async (t) => {
  const swarm = await startSwarm(t, world, { providers: [{}, {}] });
  const reply = await clientOf(swarm).chat.completions.create({
    model: MODEL,
    messages: [{ role: 'user', content: PROMPT }],
    max_tokens: 24,
    temperature: 0,
  });
  const [choice] = reply.choices;
  assert.ok(choice?.message.content);
  assert.equal(choice.message.role, 'assistant');
  assert.ok(['stop', 'length'].includes(choice.finish_reason));
  const promptTokens = world.tokenizer.encodeChat([{ role: 'user', content: PROMPT }]).length;
  assert.equal(reply.usage?.prompt_tokens, promptTokens);
  const { receipt_id: id, node, price_wei: priceWei } = swarmOf(reply);

  const file = await fetch(`${swarm.url}/swarm/v1/receipts/${id}/file`);
  const bytes = new Uint8Array(await file.arrayBuffer());
  const check = { anchors: swarm.anchors, countTokens: world.countTokens };
  const verdict = verifyReceiptFile(bytes, check);
  assert.ok(verdict.valid);
  assert.equal(verdict.receipt.provider, node);
  assert.ok(verdict.file.scores.length > 0 && verdict.file.spans.length > 0);
  const view = (await (await fetch(`${swarm.url}/swarm/v1/receipts/${id}`)).json()) as {
    output: string;
    topContributors: unknown[];
    spans: { text: string; document: string }[];
  };
  assert.equal(view.output, choice.message.content);
  assert.ok(view.topContributors.length > 0);
  assert.ok(view.spans.every(({ text, document }) => document.includes(text)));

  await swarm.gateway.settled();
  const paid = swarm.providers.find(({ account }) => account === node)!;
  const statement = await paid.provider.cashier.statement(swarm.client);
  assert.equal(statement.promisedWei, BigInt(priceWei));
  assert.equal(statement.chargedWei, statement.promisedWei);
  assert.equal(await paid.provider.collect(), 1);
  assert.equal(await paid.provider.collect(), 0);
  assert.equal(
    (await paid.provider.cashier.statement(swarm.client)).collectedWei,
    BigInt(priceWei),
  );
  assert.equal(paid.announcements.length, 1);
});

test('a stream says the same as one reply, whoever answers, greedy or seeded', async (t) => {
  const swarm = await startSwarm(t, world, { providers: [{}, {}] });
  const client = clientOf(swarm);
  for (const settings of [{ temperature: 0 }, { temperature: 0.9, top_p: 0.8, seed: 7 }]) {
    const body = { model: MODEL, prompt: PROMPT, max_tokens: 20, ...settings };
    const whole = await client.completions.create(body);
    const { node } = swarmOf(whole);
    // With its places taken, the one that answered is not asked again.
    const answered = swarm.providers.find(({ account }) => account === node)!;
    const leaves = await Promise.all(
      [1, 2, 3, 4].map(() => answered.provider.admission.enter(new AbortController().signal)),
    );
    await answered.announce();
    const stream = await client.completions.create({
      ...body,
      stream: true,
      stream_options: { include_usage: true },
    });
    let text = '';
    let other: string | undefined;
    const finishes: unknown[] = [];
    const usages: unknown[] = [];
    for await (const chunk of stream) {
      if (chunk.usage) usages.push([chunk.usage, chunk.choices]);
      const [choice] = chunk.choices;
      if (choice === undefined) continue;
      text += choice.text;
      finishes.push(choice.finish_reason);
      if (choice.finish_reason !== null) other = swarmOf(chunk).node;
    }
    assert.ok(text.length > 10);
    assert.equal(text, whole.choices[0]?.text);
    assert.equal(finishes.pop(), whole.choices[0]?.finish_reason);
    assert.ok(finishes.every((finish) => finish === null));
    assert.deepEqual(usages, [[whole.usage, []]]);
    assert.notEqual(other, node);
    for (const leave of leaves) leave();
    await answered.announce();
  }
});

test('server-sent events follow the rules of the format', async (t) => {
  const swarm = await startSwarm(t, world, { providers: [{}], gateway: { pingMs: 20 } });
  const [provider] = swarm.providers;
  const stopped = provider!.gate.closeAfter(3);
  const response = await fetch(`${swarm.url}/v1/chat/completions`, {
    method: 'POST',
    headers: { 'content-type': 'application/json' },
    body: JSON.stringify({
      model: MODEL,
      messages: [{ role: 'user', content: PROMPT }],
      max_tokens: 8,
      temperature: 0,
      stream: true,
    }),
  });
  assert.match(response.headers.get('content-type') ?? '', /^text\/event-stream/);
  assert.match(response.headers.get('x-request-id') ?? '', /^0x[0-9a-f]{64}$/);
  await stopped;
  let raw = '';
  for await (const bytes of response.body!) {
    raw += Buffer.from(bytes).toString();
    if (raw.includes(': ping')) provider!.gate.open();
  }
  const lines = raw.split('\n\n').filter((line) => line.startsWith('data: '));
  assert.equal(lines.at(-1), 'data: [DONE]');
  const chunks = lines.slice(0, -1).map((line) => JSON.parse(line.slice(6)));
  assert.deepEqual(chunks[0].choices[0].delta, { role: 'assistant', content: '' });
  assert.ok(chunks.slice(1).every(({ choices }) => choices[0].delta.role === undefined));
  assert.ok(chunks.slice(0, -1).every(({ choices }) => choices[0].finish_reason === null));
  assert.deepEqual(chunks.at(-1).choices[0].delta, {});
  assert.equal(chunks.at(-1).choices[0].finish_reason, 'length');
  assert.equal(new Set(chunks.map(({ id }) => id)).size, 1);
});

test('what cannot be honoured is refused by name', async (t) => {
  const swarm = await startSwarm(t, world, { providers: [], gateway: { bodyBytesMax: 4_096 } });
  const post = async (path: string, body: unknown) => {
    const response = await fetch(`${swarm.url}${path}`, {
      method: 'POST',
      headers: { 'content-type': 'application/json' },
      body: typeof body === 'string' ? body : JSON.stringify(body),
    });
    const { error } = (await response.json()) as { error: Record<string, unknown> };
    assert.deepEqual(Object.keys(error).sort(), ['code', 'message', 'param', 'type']);
    return [response.status, error['code'], error['param']];
  };
  const chat = { model: MODEL, messages: [{ role: 'user', content: 'hello' }] };
  const to = (body: object) => post('/v1/chat/completions', { ...chat, ...body });
  assert.deepEqual(await to({ n: 2 }), [400, 'unsupported_parameter', 'n']);
  assert.deepEqual(await to({ top_logprobs: 2 }), [400, 'invalid_request', 'top_logprobs']);
  assert.deepEqual(await to({ tools: [] }), [400, 'unsupported_parameter', 'tools']);
  assert.deepEqual(await to({ temperature: 3 }), [400, 'invalid_request', 'temperature']);
  assert.deepEqual(await to({ messages: [] }), [400, 'invalid_request', 'messages']);
  assert.deepEqual(await to({ model: 'gpt-4' }), [404, 'model_not_found', 'model']);
  assert.deepEqual(await to({ max_tokens: 999 }), [400, 'context_length_exceeded', 'max_tokens']);
  assert.deepEqual(await to({}), [503, 'no_provider', null]);
  assert.deepEqual(await to({ user: 'x'.repeat(5_000) }), [413, 'request_too_large', null]);
  assert.deepEqual(await post('/v1/completions', '{'), [400, 'invalid_request', null]);
  assert.deepEqual(await post('/v1/embeddings', {}), [404, 'unknown_route', null]);
  const receipt = await fetch(`${swarm.url}/swarm/v1/receipts/0x00`);
  assert.equal(receipt.status, 404);
  assert.equal(
    ((await receipt.json()) as { error: { code: string } }).error.code,
    'receipt_not_found',
  );
  assert.equal((await fetch(`${swarm.url}/health`)).status, 200);
  assert.equal((await fetch(`${swarm.url}/ready`)).status, 503);
  assert.match(await (await fetch(`${swarm.url}/metrics`)).text(), /openledger_requests_total\{/);
});

test('a provider killed while it streams: another goes on, the same text, one payment', async (t) => {
  const swarm = await startSwarm(t, world, { providers: [{}, {}] });
  const client = clientOf(swarm);
  const body = { model: MODEL, prompt: PROMPT, max_tokens: 24, temperature: 0 } as const;
  const undisturbed = await client.completions.create(body);
  await swarm.gateway.settled();
  const [dying, surviving] = [...swarm.providers].sort((left) =>
    left.account === swarmOf(undisturbed).node ? -1 : 1,
  );
  const before = await dying!.provider.cashier.statement(swarm.client);
  const stopped = dying!.gate.closeAfter(7);
  let text = '';
  let last: unknown;
  const stream = await client.completions.create({ ...body, stream: true });
  stopped.then(() => dying!.host.close());
  for await (const chunk of stream) {
    text += chunk.choices[0]?.text ?? '';
    last = chunk;
  }
  assert.equal(text, undisturbed.choices[0]?.text);
  assert.equal(swarmOf(last).node, surviving!.account);
  assert.equal(swarmOf(last).providers_tried, 2);
  await swarm.gateway.settled();
  const totals = await swarm.gateway.ledger.totals(dying!.account);
  assert.equal(totals.computeWei + totals.feeWei, before.promisedWei, 'the dead one is not paid');
  const paid = await surviving!.provider.cashier.statement(swarm.client);
  assert.equal(paid.promisedWei, BigInt(swarmOf(last).price_wei));
  assert.equal(
    paid.promisedWei,
    BigInt(swarmOf(undisturbed).price_wei),
    'the same answer, the same price',
  );
});

test('every provider dead while streaming: the stream ends with an error object', async (t) => {
  const swarm = await startSwarm(t, world, { providers: [{}] });
  const [only] = swarm.providers;
  const stopped = only!.gate.closeAfter(5);
  const stream = await clientOf(swarm).completions.create({
    model: MODEL,
    prompt: PROMPT,
    max_tokens: 24,
    temperature: 0,
    stream: true,
  });
  stopped.then(() => only!.host.close());
  const read = async () => {
    for await (const _ of stream);
  };
  await assert.rejects(read(), { code: 'providers_failed', type: 'service_unavailable' });
  const { computeWei, feeWei } = await swarm.gateway.ledger.totals(only!.account);
  assert.equal(computeWei + feeWei, 0n);
});

test('a client that leaves ends the work, and pays nothing', async (t) => {
  const swarm = await startSwarm(t, world, { providers: [{}] });
  const [only] = swarm.providers;
  const stopped = only!.gate.closeAfter(5);
  const stream = await clientOf(swarm).completions.create({
    model: MODEL,
    prompt: PROMPT,
    max_tokens: 24,
    temperature: 0,
    stream: true,
  });
  await stopped;
  stream.controller.abort();
  await until(() => only!.gate.aborted() === 1 && only!.provider.admission.load().running === 0);
  assert.equal((await only!.provider.cashier.statement(swarm.client)).chargedWei, 0n);
});

test('QUEUE_FULL: a full provider refuses early, and the client hears 429', async (t) => {
  const swarm = await startSwarm(t, world, { providers: [{ answersMax: 1, waitingMax: 0 }] });
  const [only] = swarm.providers;
  const stopped = only!.gate.closeAfter(2);
  const client = clientOf(swarm);
  const body = { model: MODEL, prompt: PROMPT, max_tokens: 8, temperature: 0 } as const;
  const first = client.completions.create(body);
  await stopped;
  await assert.rejects(client.completions.create(body), { status: 429, code: 'queue_full' });
  only!.gate.open();
  assert.ok((await first).choices[0]);
});

test('a false receipt is refused before it is paid; its provider is asked no more', async (t) => {
  const inflate = { contributor: addressOf('cid') };
  const swarm = await startSwarm(t, world, { providers: [{ inflate }, { inflate }] });
  const client = clientOf(swarm);
  const body = { model: MODEL, prompt: PROMPT, max_tokens: 8, temperature: 0 } as const;
  await assert.rejects(client.completions.create(body), { status: 502, code: 'receipt_refused' });
  const paid = async () =>
    Promise.all(
      swarm.providers.map(async ({ account }) => {
        const { computeWei, feeWei } = await swarm.gateway.ledger.totals(account);
        return computeWei + feeWei;
      }),
    );
  assert.deepEqual(await paid(), [0n, 0n]);
  const metrics = await (await fetch(`${swarm.url}/metrics`)).text();
  assert.match(metrics, /openledger_receipts_refused_total\{code="DOT_WRONG"\} 2/);
  // Each lies once only; an honest answer of either is then paid.
  const honest = await client.completions.create(body);
  assert.equal(swarmOf(honest).verified, true);
  assert.equal((await paid()).filter((wei) => wei > 0n).length, 1);
});

test('after a refused receipt the answer shown so far stands, and another provider vouches for it', async (t) => {
  const inflate = { contributor: addressOf('cid') };
  const swarm = await startSwarm(t, world, { providers: [{ inflate }, {}] });
  const client = clientOf(swarm);
  const body = { model: MODEL, prompt: PROMPT, max_tokens: 12, temperature: 0 } as const;
  const [liar, honest] = swarm.providers;
  const leaves = await Promise.all(
    [1, 2, 3, 4].map(() => honest!.provider.admission.enter(new AbortController().signal)),
  );
  await honest!.announce();
  for (const leave of leaves) leave();
  let text = '';
  let last: unknown;
  for await (const chunk of await client.completions.create({ ...body, stream: true })) {
    text += chunk.choices[0]?.text ?? '';
    last = chunk;
  }
  assert.equal(swarmOf(last).node, honest!.account);
  assert.equal(swarmOf(last).providers_tried, 2);
  assert.equal((await liar!.provider.receipts.after(0)[Symbol.asyncIterator]().next()).done, false);
  assert.equal(text, (await client.completions.create(body)).choices[0]?.text);
});

test('the base alone answers too: no scores, no spans, a receipt all the same', async (t) => {
  const swarm = await startSwarm(t, world, { providers: [{}] });
  const reply = await clientOf(swarm).completions.create({
    model: 'tiny',
    prompt: PROMPT,
    max_tokens: 8,
    temperature: 0,
  });
  const { receipt_id: id } = swarmOf(reply);
  const view = (await (await fetch(`${swarm.url}/swarm/v1/receipts/${id}`)).json()) as {
    scores: unknown[];
    spans: unknown[];
  };
  assert.deepEqual([view.scores, view.spans], [[], []]);
});

test('a client may choose its provider, and how much of a receipt is checked before it pays', async (t) => {
  const inflate = { contributor: addressOf('cid') };
  const swarm = await startSwarm(t, world, { providers: [{}, { inflate }] });
  const [honest, liar] = swarm.providers;
  const body = { model: MODEL, prompt: PROMPT, max_tokens: 6, temperature: 0 };
  const ask = (route: object) =>
    clientOf(swarm).completions.create({ ...body, route } as unknown as typeof body);
  assert.equal(swarmOf(await ask({ provider: honest!.account })).node, honest!.account);
  const unchecked = swarmOf(await ask({ provider: liar!.account, verify: 'payment' }));
  assert.deepEqual([unchecked.node, unchecked.verified], [liar!.account, false]);
  await assert.rejects(ask({ provider: swarm.client }), { status: 503, code: 'no_provider' });
});

test('log-probabilities and settings of sampling go to the provider and back', async (t) => {
  const client = clientOf(await startSwarm(t, world, { providers: [{}] }));
  const shared = { model: MODEL, max_tokens: 6, temperature: 0 } as const;
  const chat = { ...shared, messages: [{ role: 'user', content: PROMPT }] as never };
  const measured = { ...chat, logprobs: true, top_logprobs: 3 };
  const whole = await client.chat.completions.create(measured);
  const content = whole.choices[0]?.logprobs?.content ?? [];
  const bytes = content.flatMap((each) => each.bytes ?? []);
  assert.equal(Buffer.from(bytes).toString(), whole.choices[0]?.message.content);
  for (const { token, logprob, top_logprobs: top } of content) {
    assert.ok(logprob <= 0 && top.length === 3);
    // Greedy: the chosen token is the likeliest.
    assert.deepEqual([top[0]?.token, top[0]?.logprob], [token, logprob]);
  }

  const streamed: unknown[] = [];
  for await (const chunk of await client.chat.completions.create({ ...measured, stream: true }))
    streamed.push(...(chunk.choices[0]?.logprobs?.content ?? []));
  assert.deepEqual(streamed, content);

  const plain = await client.completions.create({ ...shared, prompt: PROMPT, logprobs: 2 });
  const [choice] = plain.choices;
  assert.equal(choice?.logprobs?.tokens?.join(''), choice?.text);
  const best = choice?.logprobs?.top_logprobs?.map((top) => Math.max(...Object.values(top)));
  assert.deepEqual(choice?.logprobs?.token_logprobs, best);

  const text = async (more: object) => {
    const reply = await client.chat.completions.create({ ...chat, max_tokens: 24, ...more });
    return reply.choices[0]?.message.content;
  };
  assert.notEqual(await text({ repetition_penalty: 2 }), await text({}));
  const seeded = { temperature: 1.5, seed: 7 };
  const free = await text(seeded);
  assert.equal(await text(seeded), free);
  // Each leaves only the likeliest token: what greedy says.
  for (const only of [{ top_k: 1 }, { min_p: 1 }])
    assert.equal(await text({ ...seeded, ...only }), await text({}));
});
