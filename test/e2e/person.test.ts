/**
 * A person in a second terminal, while a swarm runs: a wallet, a file of facts invented now, a
 * datanet, an adapter, questions, a receipt, and the money. Then what such a network must survive: a
 * provider killed while it streams, a trainer that lies, and a Ctrl-C.
 */
import assert from 'node:assert/strict';
import { randomInt } from 'node:crypto';
import { readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { test } from 'node:test';
import { JsonRpcProvider } from 'ethers';
import OpenAI from 'openai';
import { connectContracts } from '#contracts';
import { type Address, addressOfPrivateKey } from '#crypto';
import {
  control,
  groupMembers,
  lastJson,
  memberWith,
  type Place,
  place,
  type Running,
  type SwarmView,
  swarmOf,
  until,
  within,
} from './harness.ts';
import { keyBefore, writeBareKey } from './keys.ts';
import { assertBooksRight } from './money.ts';
import { type Fact, inventFacts } from './person-facts.ts';

const STORY_WITHIN_MS = 240_000;
const LONG_ANSWER_TOKENS = 96;
/** Texts to go on from: a chat's answer may end before anybody can be killed. */
const LONG_PROMPTS = [
  'Tell me about the observatory.\n\n',
  '## Installation\n\n',
  'The library is used',
];

/** A person's terminal on a running swarm. */
type Terminal = {
  readonly here: Place;
  readonly dataDir: string;
  readonly swarm: SwarmView;
  readonly provider: JsonRpcProvider;
  /** Runs one command with `--json` and gives its object. */
  readonly say: (...args: readonly string[]) => Promise<Record<string, unknown>>;
};

function terminalOf(here: Place, dataDir: string): Terminal {
  const swarm = swarmOf(dataDir);
  const provider = new JsonRpcProvider(swarm.rpc, swarm.chainId, {
    staticNetwork: true,
    cacheTimeout: -1,
  });
  return {
    here,
    dataDir,
    swarm,
    provider,
    say: async (...args) => {
      const done = await here.run(['--data-dir', dataDir, '--json', ...args], {
        withinMs: 240_000,
      });
      assert.equal(done.code, 0, `${args.join(' ')}:\n${done.err.join('\n')}`);
      return lastJson(done);
    },
  };
}

test('a person’s data is trained on, answers, and pays that person', async (t) => {
  const here = place(t);
  const data = join(here.folder, 'swarm');
  const dataDir = `${data}-reduced`;
  const testnet = ['--data-dir', data, 'testnet', '--reduced', '--gateway-port', '0'];
  const swarm = here.start(testnet);
  await swarm.says(/The swarm goes on/, STORY_WITHIN_MS);
  const terminal = terminalOf(here, dataDir);
  t.after(() => terminal.provider.destroy());
  const model = `base:${await contributeAndTrain(terminal)}`;

  await t.test('the official client of OpenAI is served', () => talkAsOpenAi(terminal, model));
  await t.test('a provider killed while it streams is stood in for', () =>
    killWhileStreaming(terminal, swarm, model),
  );
  await t.test('a trainer with corrupt checkpoints is caught', () => catchTrainer(terminal));
  await t.test('Ctrl-C ends every process, and the next start goes on', async () => {
    swarm.signal('SIGINT');
    assert.deepEqual(await within(swarm.ended, 60_000, () => 'the swarm to end'), {
      code: 0,
      signal: null,
    });
    assert.deepEqual(groupMembers(swarm.pid), []);
    const again = await here.run([...testnet, '--once', '--json'], { withinMs: 120_000 });
    assert.equal(again.code, 0, again.err.join('\n'));
    const told = lastJson(again);
    assert.deepEqual([told['ok'], told['conservationErrorWei']], [true, '0']);
    await assertBooksRight(here, dataDir);
  });
});

type Receipt = {
  readonly payouts: readonly { readonly account: string; readonly amountWei: string }[];
  readonly split: Readonly<Record<string, string>>;
};

async function contributeAndTrain(terminal: Terminal): Promise<string> {
  const { here, say, provider, swarm } = terminal;
  const number = randomInt(1_000_000);
  const [datanet, adapter] = [`facts-${number}`, `mine-${number}`];
  const facts = inventFacts(24);
  const file = join(here.folder, 'facts.md');
  writeFileSync(file, facts.map(({ sentence }) => `${sentence}\n`).join('\n'));

  const { address } = (await say('wallet', 'new', '--wallet', 'person')) as { address: string };
  assert.equal(await provider.getBalance(address), 0n);
  await say('wallet', 'fund', '--wallet', 'person', '--amount', '30');
  assert.equal(await provider.getBalance(address), 30n * 10n ** 18n);
  await say('datanet', 'create', datanet);
  const added = await say('datanet', 'add', file, '--datanet', datanet, '--wallet', 'person');
  assert.equal(added['state'], 'accepted');
  assert.ok(Number(added['records']) > 0);
  assert.equal(added['version'], 1);
  const trained = await say(
    ...['train', '--datanet', datanet, '--name', adapter, '--wallet', 'person'],
    ...['--reward', '5', '--steps', '24', '--wait', '200'],
  );
  assert.equal(trained['model'], `base:${adapter}`);

  const paying = await askUntilPaid(terminal, `base:${adapter}`, facts, address);
  await checkReceipt(terminal, paying.receiptId);
  const before = await provider.getBalance(address);
  await closeEpoch(swarm);
  await until(
    async () =>
      BigInt(String((await say('wallet', 'show', '--wallet', 'person'))['claimableWei'])) > 0n,
    90_000,
    'the epoch with the answers to be final',
  );
  const claimed = await say('wallet', 'claim', '--wallet', 'person');
  const grownWei = (await provider.getBalance(address)) - before;
  assert.equal(grownWei, BigInt(String(claimed['claimedWei'])));
  assert.equal(grownWei, paying.owedWei, 'the balance grew by what the receipts say');
  const later = await say('receipt', 'get', paying.receiptId, '--out', receiptFile(terminal));
  assert.ok(Number(later['epoch']) > 0, 'the receipt comes with its epoch');
  return adapter;
}

/** Asks one question after the other until an answer pays the person; sums what all of them owe. */
async function askUntilPaid(
  { say }: Terminal,
  model: string,
  facts: readonly Fact[],
  address: string,
): Promise<{ receiptId: string; owedWei: bigint }> {
  let owedWei = 0n;
  for (const { begins, sentence } of facts) {
    // The question quotes a sentence of the person's file.
    const question = `${sentence} ${begins}`;
    const reply = await say('chat', model, question, '--max-tokens', '24');
    const receipt = reply['receipt'] as Receipt;
    const paidWei = receipt.payouts
      .filter(({ account }) => account === address)
      .reduce((sum, { amountWei }) => sum + BigInt(amountWei), 0n);
    // The person also owns the adapter, and has the model owner's part of every answer.
    owedWei += paidWei + BigInt(receipt.split['modelOwnerWei'] ?? 0);
    if (paidWei > 0n) return { receiptId: String(reply['receiptId']), owedWei };
  }
  throw new Error('no answer paid the person');
}

const receiptFile = ({ here }: Terminal): string => join(here.folder, 'receipt.car');

async function checkReceipt(terminal: Terminal, receiptId: string): Promise<void> {
  const { here, say, dataDir } = terminal;
  const file = receiptFile(terminal);
  const anchors = join(here.folder, 'anchors.json');
  await say('receipt', 'get', receiptId, '--out', file);
  await say('info', '--anchors', anchors);
  const verified = await say('receipt', 'verify', file, '--anchors', anchors);
  assert.deepEqual([verified['ok'], verified['valid']], [true, true]);
  const bytes = readFileSync(file);
  const at = randomInt(bytes.length);
  bytes[at] = (bytes[at] ?? 0) ^ 1;
  writeFileSync(file, bytes);
  const args = ['--data-dir', dataDir, 'receipt', 'verify', file, '--anchors', anchors];
  const refused = await here.run(args);
  assert.equal(refused.code, 1, `byte ${at} changed: ${refused.out.join('\n')}`);
  assert.match(refused.err.join('\n'), /^error\[RECEIPT_INVALID\]: .*field \S+/);
}

/** Every provider collects, then the gateway anchors. */
async function closeEpoch({ nodes, gateway, token }: SwarmView): Promise<void> {
  for (const { api } of nodes) await control(api, token, '/swarm/v1/collect', {});
  await control(gateway, token, '/swarm/v1/epochs/close', {});
}

async function talkAsOpenAi({ swarm }: Terminal, model: string): Promise<void> {
  const client = new OpenAI({ baseURL: `${swarm.gateway}/v1`, apiKey: 'none', maxRetries: 0 });
  const models = await client.models.list();
  const ids = models.data.map(({ id }) => id);
  assert.ok(ids.includes('base') && ids.includes('base:docs') && ids.includes(model), ids.join());
  const ask = {
    model,
    messages: [{ role: 'user' as const, content: 'How do I install the package?' }],
    max_tokens: 12,
    temperature: 0,
  };
  const whole = await client.chat.completions.create(ask);
  assert.equal(whole.object, 'chat.completion');
  const text = whole.choices[0]?.message.content;
  assert.ok((whole.usage?.completion_tokens ?? 0) <= 12);
  const stream = await client.chat.completions.create({
    ...ask,
    stream: true,
    stream_options: { include_usage: true },
  });
  let streamed = '';
  let finish: string | null = null;
  let tokens = 0;
  for await (const chunk of stream) {
    streamed += chunk.choices[0]?.delta.content ?? '';
    finish = chunk.choices[0]?.finish_reason ?? finish;
    tokens = chunk.usage?.completion_tokens ?? tokens;
  }
  assert.equal(streamed, text, 'greedy answers are the same, streamed or not');
  assert.ok(finish === 'stop' || finish === 'length', `finish reason ${finish}`);
  assert.equal(tokens, whole.usage?.completion_tokens);
  await assert.rejects(client.chat.completions.create({ ...ask, model: 'base:nobody' }), {
    status: 404,
    code: 'model_not_found',
  });
  const short = { model: 'base', prompt: 'Usage', max_tokens: 4, temperature: 0 };
  const plain = await client.completions.create(short);
  assert.ok((plain.choices[0]?.text.length ?? 0) > 0);
}

type Swarmed = { readonly x_swarm?: { readonly node: string; readonly providers_tried: number } };

/**
 * Kills the provider that gave the last answer as soon as a stream has begun. Which one is asked is
 * the gateway's choice; when it chose another one this time, that one is killed in the next stream.
 */
async function killWhileStreaming(
  { swarm }: Terminal,
  running: Running,
  model: string,
): Promise<void> {
  const client = new OpenAI({ baseURL: `${swarm.gateway}/v1`, apiKey: 'none', maxRetries: 0 });
  const { ask, first } = await longestAnswer(client, model);
  const expected = first.choices[0]?.text ?? '';
  let serving = first.x_swarm?.node ?? '';
  for (let attempt = 0; attempt < 6; attempt += 1) {
    const name = swarm.nodes.find(({ address }) => address === serving)?.name ?? '';
    const victim = memberWith(running.pid, 'up', name);
    const stream = await client.completions.create({ ...ask, stream: true });
    let text = '';
    let last: Swarmed['x_swarm'];
    let isKilled = false;
    for await (const chunk of stream) {
      text += chunk.choices[0]?.text ?? '';
      last = (chunk as Swarmed).x_swarm ?? last;
      if (isKilled || text === '') continue;
      process.kill(victim, 'SIGKILL');
      isKilled = true;
    }
    assert.ok(isKilled, 'something was streamed');
    assert.ok(last !== undefined, 'the stream ends with who answered');
    assert.equal(text, expected, 'the answer reads as if nothing had happened');
    await until(
      async () => (await nodeAnswers(swarm, name)) || false,
      60_000,
      `${name} to be started again`,
    );
    if (last.providers_tried > 1) {
      assert.notEqual(last.node, serving);
      return;
    }
    serving = last.node;
  }
  assert.fail('no stream met the provider that was killed');
}

/** The prompt, of a few, whose answer streams longest: what was trained now may end one at once. */
async function longestAnswer(client: OpenAI, model: string) {
  const asked = [];
  for (const prompt of LONG_PROMPTS) {
    const ask = { model, prompt, max_tokens: LONG_ANSWER_TOKENS, temperature: 0 };
    const first = (await client.completions.create(ask)) as OpenAI.Completion & Swarmed;
    asked.push({ ask, first, tokens: first.usage?.completion_tokens ?? 0 });
  }
  asked.sort((left, right) => right.tokens - left.tokens);
  return asked[0]!;
}

async function nodeAnswers({ nodes }: SwarmView, name: string): Promise<boolean> {
  const node = nodes.find((each) => each.name === name);
  return fetch(`${node?.api}/health`).then(
    ({ ok }) => ok,
    () => false,
  );
}

const TRAINER = ['-C', 'source', '--import', './bin/polyfill.mjs', '--import', 'tsx'];

async function catchTrainer({ here, dataDir, swarm, say, provider }: Terminal): Promise<void> {
  const { TaskEscrow, Staking } = connectContracts(swarm.deployment, provider);
  const taskId = Number(await TaskEscrow.taskCount()) + 1;
  const key = keyBefore(
    taskId,
    swarm.nodes.map(({ address }) => address as Address),
  );
  const cheater = addressOfPrivateKey(key);
  await control(swarm.gateway, swarm.token, '/swarm/v1/faucet', {
    account: cheater,
    amountWei: `${3n * 10n ** 20n}`,
  });
  // Beside the nodes' folders, so that its outbox and its blocks are looked at with theirs.
  const folder = join(dataDir, 'node-99');
  writeBareKey(join(folder, 'key.json'), key);
  const [first] = swarm.nodes;
  const port = readFileSync(join(dataDir, 'node-1', 'p2p.port'), 'utf8');
  const trainer = here.start(
    [folder, join(dataDir, 'join.json'), `/ip4/127.0.0.1/tcp/${port}/p2p/${first?.peerId}`],
    { program: [process.execPath, ...TRAINER, join(import.meta.dirname, 'corrupt-trainer.ts')] },
  );
  await trainer.says(new RegExp(`^ready ${cheater}`), 90_000);

  const { datanets } = await control<{ datanets: { name: string }[] }>(
    swarm.gateway,
    swarm.token,
    '/swarm/v1/datanets',
  );
  const mine = datanets.find(({ name }) => name.startsWith('facts-'))?.name ?? '';
  const trained = await say(
    ...['train', '--datanet', mine, '--name', `again-${taskId}`, '--wallet', 'person'],
    ...['--reward', '5', '--steps', '12', '--seed', '7', '--wait', '200'],
  );
  assert.equal(trained['taskId'], taskId);
  assert.ok(
    trainer.out.some((line) => line.startsWith('corrupted checkpoint')),
    'it did train',
  );
  assert.notEqual(trained['provider'], cheater, 'another provider finished the task');
  const task = await TaskEscrow.getTask(taskId);
  assert.equal(Number(task.attempt), 2);
  const escalations = await TaskEscrow.getEscalations(taskId);
  assert.deepEqual(
    escalations.map((each) => each.provider.toLowerCase()),
    [cheater],
  );
  const invalid = await TaskEscrow.queryFilter(TaskEscrow.filters['VoteRevealed']!(taskId));
  const verdicts = invalid.map((event) =>
    Number((event as { args?: { verdict: bigint } }).args?.verdict),
  );
  assert.ok(verdicts.includes(2), `a verifier said INVALID, the votes were ${verdicts}`);
  assert.ok(
    findingsOf(swarm, dataDir, taskId).some((finding) => /^segment \d$/.test(finding)),
    'what was found unequal is a drawn segment',
  );
  // Its lock stays in escalation until the time for a dispute is over; it cannot be withdrawn.
  assert.ok((await Staking.getAccount(cheater)).lockedWei > 0n);
  trainer.signal('SIGTERM');
  await within(trainer.ended, 30_000, () => 'the trainer to end');
}

/** What the verifiers noted as unequal, from their logs. */
function findingsOf({ nodes }: SwarmView, dataDir: string, taskId: number): string[] {
  return nodes.flatMap(({ name }) =>
    readFileSync(join(dataDir, name, 'node.log'), 'utf8')
      .split('\n')
      .filter((line) => line.includes('"task verified"'))
      .map((line) => JSON.parse(line) as { taskId: number; findings: string[] })
      .filter((line) => line.taskId === taskId)
      .flatMap(({ findings }) => findings),
  );
}
