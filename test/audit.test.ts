/**
 * The audit on small things made by hand: which figure disagrees and why, what it says when it cannot
 * look. A whole run is audited in test/e2e/audit.test.ts.
 */
import assert from 'node:assert/strict';
import { spawnSync } from 'node:child_process';
import { createHash } from 'node:crypto';
import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { type TestContext, test } from 'node:test';
import { NextToLast } from 'blockstore-fs/sharding';
import { contractNames, scoreCall } from '#contracts';
import { type Address, type Bytes32, keccak256, signDigest, toHex, utf8 } from '#crypto';
import {
  type CID,
  cidOf,
  contributionCommitment,
  digestOfCid,
  encodeCanonical,
  encodeContributionManifest,
  encodeNearCopyEvidence,
  encodeShard,
  hashRecord,
  type NearCopy,
  packScoreEvidence,
  receiptDigest,
  receiptHash,
  recordsRoot,
  SCORE_FAULTS,
  type ScoreFault,
  type ScoreLeaf,
  scoreEvidence,
  scoreRoot,
  sketchTree,
} from '#protocol';
import { REDUCED, STORY } from '../node/story/scenario.ts';
import { keyOf, sampleAnswer } from '../protocol/fixture.ts';
import { EVALUATIONS } from '../scripts/audit/answers.ts';
import { audit, tokenCounter } from '../scripts/audit/audit.ts';
import { openBlocks } from '../scripts/audit/blocks.ts';
import type { Chain } from '../scripts/audit/chain.ts';
import { auditConservation } from '../scripts/audit/conservation.ts';
import { auditRecords, auditRefusals, type Contribution } from '../scripts/audit/datanet.ts';
import { auditSlashed, readJudgements } from '../scripts/audit/disputes.ts';
import { type AuditedEpoch, auditClaims } from '../scripts/audit/epochs.ts';
import { AuditError, type AuditErrorCode } from '../scripts/audit/errors.ts';
import type { ChainEvent } from '../scripts/audit/history.ts';
import { createFigures, tableOf } from '../scripts/audit/report.ts';

const DATANET = `0x${'d1'.repeat(32)}` as Bytes32;
const WRITER = `0x${'a1'.repeat(20)}` as Address;
/** Where the chains in memory have every contract. */
const CONTRACT = `0x${'c3'.repeat(20)}` as Address;
const COPIER = `0x${'b2'.repeat(20)}` as Address;

function folder(t: TestContext): string {
  const made = mkdtempSync(join(tmpdir(), 'openledger-audit-test-'));
  t.after(() => rmSync(made, { recursive: true, force: true }));
  return made;
}

const failsWith = (code: AuditErrorCode, words: RegExp) => (error: unknown) => {
  assert.ok(error instanceof AuditError, String(error));
  assert.equal(error.code, code);
  assert.match(error.message, words);
  assert.ok(error.fix.length > 0);
  return true;
};

/** Writes a block as nodes do; with other bytes, a damaged one. */
function store(blocks: string, bytes: Uint8Array, written = bytes): CID {
  const cid = cidOf(bytes);
  const { dir, file } = new NextToLast().encode(cid as never);
  mkdirSync(join(blocks, dir), { recursive: true });
  writeFileSync(join(blocks, dir, file), written);
  return cid;
}

/** A chain in memory: what contracts answer, who holds what, what was logged. */
function chainOf(parts: {
  readonly answers?: Readonly<Record<string, unknown>>;
  /** What was sent with every transaction. */
  readonly input?: string;
  readonly balances?: Readonly<Record<string, bigint>>;
  readonly events?: readonly ChainEvent[];
}): Chain {
  const { answers = {}, input = '0x', balances = {}, events = [] } = parts;
  const call = async (method: string, [account]: readonly unknown[]) =>
    method === 'eth_getTransactionByHash'
      ? { input }
      : `0x${(balances[String(account)] ?? 0n).toString(16)}`;
  return {
    rpc: {
      url: 'memory',
      call,
      batch: (calls) => Promise.all(calls.map(({ method, params }) => call(method, params))),
    },
    chainId: 1,
    contracts: Object.fromEntries(contractNames.map((name) => [name, CONTRACT])) as never,
    atBlock: 7,
    started: false,
    read: (async (contract: string, fn: string) => answers[`${contract}.${fn}`]) as never,
    history: {
      blocks: 8,
      transactions: 0,
      events,
      accounts: new Set(Object.keys(balances)),
      of: (contract, event) =>
        events.filter((each) => each.contract === contract && each.event === event),
    },
    close: async () => undefined,
  };
}

test('a figure that was tampered with disagrees, and one without a rule does too', async () => {
  const figures = createFigures({ seconds: 9, records: 101, nodes: 5, invented: 1, atBlock: 3 });
  await figures.recompute(['records'], async () => ({ records: { value: 100, faults: [] } }));
  await figures.recompute(['nodes'], async () => ({ nodes: { value: 5, faults: [] } }));
  await figures.recompute(['slashed'], async () => ({ slashed: { value: 1, faults: [] } }));
  const all = figures.all();
  assert.deepEqual(
    all.map(({ name, agrees }) => [name, agrees]),
    [
      ['records', false],
      ['nodes', true],
      ['invented', false],
      ['slashed', false],
    ],
  );
  assert.match(tableOf(all), /records +101 +100 +DISAGREES/);
});

test('a figure whose proofs do not hold disagrees, whatever its number', async () => {
  const figures = createFigures({ slashed: 1 });
  const faults = ['the leaf is right'];
  await figures.recompute(['slashed'], async () => ({ slashed: { value: 1, faults } }));
  assert.deepEqual(
    figures.all().map(({ agrees }) => agrees),
    [false],
  );
});

test('BLOCK_MISSING names the block, and the figures that it blocks', async (t) => {
  const cid = cidOf(encodeCanonical('nobody has it'));
  const blocks = openBlocks([folder(t)]);
  await assert.rejects(blocks.get(cid, 'shard of contribution 3'), (error) =>
    failsWith('BLOCK_MISSING', new RegExp(`${cid}.*shard of contribution 3`))(error),
  );
  const figures = createFigures({ records: 1, answers: 2 });
  await figures.recompute(['records', 'answers'], async () => {
    await blocks.get(cid, 'shard of contribution 3');
    return { records: { value: 1, faults: [] }, answers: { value: 2, faults: [] } };
  });
  for (const { recomputed, agrees, faults } of figures.all()) {
    assert.deepEqual([recomputed, agrees], [null, false]);
    assert.match(faults[0] ?? '', new RegExp(cid.toString()));
  }
});

test('a damaged copy of a block is passed over for a whole one of another node', async (t) => {
  const bytes = encodeCanonical({ records: 3 });
  const damaged = bytes.slice();
  damaged[2] = (damaged[2] as number) ^ 1;
  const [first, second] = [folder(t), folder(t)];
  const cid = store(first, bytes, damaged);
  store(second, bytes);
  const blocks = openBlocks([first, second]);
  assert.deepEqual(await blocks.get(cid, 'a manifest'), bytes);
  assert.deepEqual(blocks.counts(), { read: 1, damaged: 1 });
  await assert.rejects(
    openBlocks([first]).get(cid, 'a manifest'),
    failsWith('BLOCK_MISSING', /a manifest/),
  );
});

test('CONTENT_WRONG: a block under a digest on chain that is no manifest', async (t) => {
  const blocks = folder(t);
  const manifest = digestOfCid(store(blocks, encodeCanonical(['not a manifest'])));
  const version = { root: DATANET, manifest, recordCount: 1n, publishedAt: 1n };
  const chain = chainOf({ answers: { 'DatanetRegistry.getVersion': version } });
  const story = { datanetId: DATANET, datanetVersion: 1 };
  await assert.rejects(
    auditRecords(chain, openBlocks([blocks]), story, []),
    failsWith('CONTENT_WRONG', /version 1 of the datanet/),
  );
});

/** A revealed contribution with its blocks in a store. */
function contributed(
  blocks: string,
  id: number,
  contributor: Address,
  texts: readonly string[],
  state: Contribution['state'],
): Contribution {
  const records = texts.map(utf8);
  const shard = store(blocks, encodeShard({ contributor, records }));
  const manifest = digestOfCid(store(blocks, encodeContributionManifest({ shards: [shard] })));
  const root = recordsRoot(records.map(hashRecord));
  const salt = toHex(keccak256(utf8(`${id}`))) as Bytes32;
  const opening = { contributor, recordsRoot: root, recordCount: records.length, salt };
  const commitment = contributionCommitment({ ...opening, datanetId: DATANET });
  const rest = { evidence: DATANET, earlierRecordHash: DATANET, committedAt: 100 + id };
  return { id, state, manifest, commitment, ...opening, ...rest };
}

function refused(t: TestContext, change: (pair: NearCopy) => NearCopy) {
  const blocks = folder(t);
  const text = 'A merchant of Venice kept a parrot that could recite the tariffs of nine ports.';
  const copied = text.replace('nine', 'many');
  const first = contributed(blocks, 1, WRITER, [text], 'accepted');
  const second = contributed(blocks, 2, COPIER, [copied], 'refused');
  const pair = {
    record: hashRecord(utf8(copied)),
    earlier: hashRecord(utf8(text)),
    earlierContributor: WRITER,
    // 74 shingles each; a word of four bytes changed takes part in nine.
    jaccardPpm: Math.floor((65 / 83) * 1e6),
  };
  const evidence = digestOfCid(store(blocks, encodeNearCopyEvidence([change(pair)])));
  const entry = { ...second, evidence, earlierRecordHash: pair.earlier };
  return auditRefusals(openBlocks([blocks]), DATANET, [first, entry]);
}

test('a refusal holds when its copies do, counted again', async (t) => {
  assert.deepEqual(await refused(t, (pair) => pair), { value: 1, faults: [] });
});

test('a refusal with an invented overlap, or for a record that nobody gave, is found', async (t) => {
  const inflated = await refused(t, (pair) => ({ ...pair, jaccardPpm: 990_000 }));
  assert.match(inflated.faults.join(), /contribution 2: .* by 783132 ppm, not 990000/);
  const invented = await refused(t, (pair) => ({ ...pair, earlier: DATANET }));
  assert.match(invented.faults.join(), /was not accepted before/);
});

test('one wei too much anywhere is an error of conservation', async () => {
  const holders = [
    'Staking',
    'TaskEscrow',
    'InferenceEscrow',
    'Epochs',
    'EpochDisputes',
    'DatanetRegistry',
  ];
  const answers = Object.fromEntries(holders.map((name) => [`${name}.accountedWei`, 0n]));
  const whole = { [WRITER]: 10n ** 27n - 5n, [COPIER]: 5n };
  const right = await auditConservation(chainOf({ answers, balances: whole }));
  assert.deepEqual([right.value, right.faults], ['0', []]);
  const more = { ...whole, [COPIER]: 6n };
  assert.equal((await auditConservation(chainOf({ answers, balances: more }))).value, '1');
  const astray = { ...answers, 'Epochs.accountedWei': 2n };
  const wrong = await auditConservation(chainOf({ answers: astray, balances: whole }));
  assert.equal(wrong.value, '2');
  assert.match(wrong.faults.join(), /Epochs holds 0 wei, its books say 2/);
});

test('a claim above what the final manifest owes is found', () => {
  const event = (name: string, args: ChainEvent['args']): ChainEvent => ({
    contract: 'Epochs',
    event: name,
    args,
    blockNumber: 3,
    transaction: `0x${'cc'.repeat(32)}`,
  });
  const claimed = (amountWei: bigint, claimedWei: bigint) =>
    event('Claimed', { account: WRITER, epoch: 1n, amountWei, claimedWei });
  const epoch = {
    manifest: { payouts: [{ account: WRITER, amountWei: 10n }] },
    faults: [],
  } as unknown as AuditedEpoch;
  const final = event('EpochFinalised', { epoch: 1n });
  const audited = (...events: readonly ChainEvent[]) => auditClaims(chainOf({ events }), [epoch]);
  assert.deepEqual(audited(final, claimed(10n, 10n)), { value: 1, faults: [] });
  assert.match(audited(final, claimed(11n, 11n)).faults.join(), /took 11 wei of 10/);
  assert.match(audited(claimed(10n, 10n)).faults.join(), /epoch 1 was not final/);
  const twice = audited(final, claimed(10n, 10n), claimed(10n, 10n));
  assert.match(twice.faults.join(), /was paid 10 wei twice/);
});

/** What the audit finds of a judgement over the first leaf of a signed receipt. */
async function judged(parts: {
  readonly lie: (leaf: ScoreLeaf) => ScoreLeaf;
  readonly fault: ScoreFault;
  readonly signer: string;
  readonly slashedWei: bigint;
}): Promise<readonly string[]> {
  const { built, file, anchors, sketches } = sampleAnswer();
  const scores = built.scores.map((leaf, i) => (i === 0 ? parts.lie(leaf) : leaf));
  const { provider } = built.receipt;
  const receipt = { ...built.receipt, scoreRoot: scoreRoot(scores) };
  const domain = { chainId: 1, verifyingContract: CONTRACT };
  const signature = signDigest(receiptDigest(domain, receipt), keyOf(parts.signer));
  const tree = sketchTree(sketches);
  const evidence = scoreEvidence(
    {
      receipt,
      signature,
      querySketch: file.querySketch,
      scores,
      sketches: { leaves: sketches, tree },
    },
    0,
    0,
  );
  const transaction = `0x${'ee'.repeat(32)}`;
  const event = (contract: string, name: string, args: ChainEvent['args']): ChainEvent => ({
    contract,
    event: name,
    args,
    blockNumber: 3,
    transaction,
  });
  const chain = chainOf({
    answers: {},
    input: scoreCall('challengeScore', toHex(packScoreEvidence(evidence))),
    events: [
      event('Referee', 'ScoreJudged', {
        receiptHash: receiptHash(receipt),
        provider,
        leafIndex: 0n,
        fault: BigInt(SCORE_FAULTS.indexOf(parts.fault)),
        slashedWei: 20n,
      }),
      event('Staking', 'Slashed', { amountWei: parts.slashedWei }),
    ],
  });
  const { value, faults } = auditSlashed(await readJudgements(chain, anchors));
  assert.equal(value, 1);
  return faults;
}

test('a judgement holds when its dot product, cosine, signature and slash come out again', async () => {
  const lie = (leaf: ScoreLeaf): ScoreLeaf => ({ ...leaf, dot: leaf.dot + 9, score: 65_000 });
  const just = { lie, fault: 'DOT', signer: 'provider', slashedWei: 20n } as const;
  assert.deepEqual(await judged(just), []);
  const named = async (change: Partial<Parameters<typeof judged>[0]>): Promise<string> =>
    (await judged({ ...just, ...change })).join('; ');
  assert.match(await named({ lie: (leaf) => leaf }), /the leaf is right: dot \d+, score \d+/);
  assert.match(await named({ fault: 'SCORE' }), /the fault is DOT, the chain says SCORE/);
  assert.match(await named({ signer: 'somebody else' }), /did not sign that receipt/);
  assert.match(await named({ slashedWei: 19n }), /took 19 wei of stake, it says 20/);
});

test('BASE_DIFFERS: adapters of another base than the one whose tokens are counted', async () => {
  await assert.rejects(tokenCounter([DATANET]), failsWith('BASE_DIFFERS', new RegExp(DATANET)));
});

test('both scenarios are audited with the questions that the swarm asks', () => {
  assert.deepEqual(EVALUATIONS, { story: STORY.evaluation, reduced: REDUCED.evaluation });
});

/** A data directory with a finished story, as far as files go. */
function finished(t: TestContext, result: unknown): string {
  const dataDir = folder(t);
  const body = JSON.stringify({
    scenario: 'reduced',
    cheats: true,
    challenges: true,
    datanetId: DATANET,
    datanetVersion: 1,
    taskId: 1,
    adapterId: DATANET,
    answers: [],
    result,
  });
  const digest = createHash('sha256').update(body).digest('hex');
  writeFileSync(join(dataDir, 'story.json'), `openledger-state/1 ${digest}\n${body}`);
  const contracts = Object.fromEntries(contractNames.map((name) => [name, WRITER]));
  const swarm = { rpc: 'http://127.0.0.1:1', chainId: 901_313, deployment: { contracts } };
  writeFileSync(join(dataDir, 'swarm.json'), JSON.stringify(swarm));
  return dataDir;
}

test('NO_DATA_DIR, STORY_UNFINISHED and FILE_UNREADABLE say which file and what to do', async (t) => {
  await assert.rejects(
    audit(join(folder(t), 'none')),
    failsWith('NO_DATA_DIR', /openledger-audit-test-.*none/),
  );
  await assert.rejects(audit(folder(t)), failsWith('STORY_UNFINISHED', /story\.json.*absent/));
  await assert.rejects(audit(finished(t, null)), failsWith('STORY_UNFINISHED', /no result yet/));
  const tampered = finished(t, { nodes: 5 });
  writeFileSync(join(tampered, 'story.json'), 'openledger-state/1 00\n{}');
  await assert.rejects(audit(tampered), failsWith('FILE_UNREADABLE', /checksum does not hold/));
  const addressless = finished(t, { nodes: 5 });
  rmSync(join(addressless, 'swarm.json'));
  await assert.rejects(audit(addressless), failsWith('FILE_UNREADABLE', /swarm\.json.*absent/));
});

test('CHAIN_UNAVAILABLE: no chain answers, and there is no journal to replay', async (t) => {
  await assert.rejects(
    audit(finished(t, { nodes: 5 })),
    failsWith('CHAIN_UNAVAILABLE', /there is no journal/),
  );
});

test('USAGE: the command says how it is called, and ends with 2', () => {
  const args = ['-C', 'source', '--import', './bin/polyfill.mjs', '--import', 'tsx'];
  const ended = spawnSync(process.execPath, [...args, 'scripts/audit.ts', '--json'], {
    encoding: 'utf8',
  });
  assert.equal(ended.status, 2, ended.stderr);
  assert.equal(JSON.parse(ended.stdout).code, 'USAGE');
  assert.match(ended.stderr, /npm run audit -- DATA_DIR/);
});
