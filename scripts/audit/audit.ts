/**
 * An audit: every figure that a run states, but for timings, recomputed from the chain's JSON-RPC and
 * from the blocks that the nodes keep. It shares no code with the node, only the protocol's.
 */
import { fileURLToPath } from 'node:url';
import { toHex } from '#crypto';
import { loadModelDirectory } from '#runtime';
import { auditAnswers, evaluationOf } from './answers.ts';
import { type Blocks, openBlocks } from './blocks.ts';
import { type Chain, openChain } from './chain.ts';
import { auditConservation } from './conservation.ts';
import { type DataDir, openDataDir } from './data-dir.ts';
import {
  auditContributors,
  auditNodes,
  auditRecords,
  auditRefusals,
  readContributions,
} from './datanet.ts';
import { auditSlashed, readJudgements } from './disputes.ts';
import { auditClaims, readEpochs } from './epochs.ts';
import { AuditError } from './errors.ts';
import { type AuditedReceipt, readAnchors, readReceipts } from './receipts.ts';
import { createFigures, type Figure, type Figures } from './report.ts';
import { auditLosses } from './training.ts';

export type Audit = {
  readonly ok: boolean;
  readonly dataDir: string;
  readonly figures: readonly Figure[];
  /** What the audit looked at. */
  readonly seen: {
    readonly rpc: string;
    readonly startedChain: boolean;
    readonly atBlock: number;
    readonly transactions: number;
    readonly accounts: number;
    readonly stores: number;
    readonly blocksRead: number;
    readonly blocksDamaged: number;
    readonly receipts: number;
  };
};

/** Audits the run in a data directory. @throws AuditError when it cannot be audited at all. */
export async function audit(path: string): Promise<Audit> {
  const dataDir = openDataDir(path);
  const chain = await openChain(dataDir);
  try {
    const blocks = openBlocks(dataDir.stores);
    const figures = createFigures(dataDir.story.stated);
    const counts = await recomputeAll({ dataDir, chain, blocks, figures });
    const { read, damaged } = blocks.counts();
    const all = figures.all();
    return {
      ok: all.length > 0 && all.every(({ agrees }) => agrees),
      dataDir: path,
      figures: all,
      seen: {
        rpc: chain.rpc.url,
        startedChain: chain.started,
        atBlock: chain.atBlock,
        transactions: chain.history.transactions,
        stores: dataDir.stores.length,
        blocksRead: read,
        blocksDamaged: damaged,
        ...counts,
      },
    };
  } finally {
    await chain.close();
  }
}

type Parts = {
  readonly dataDir: DataDir;
  readonly chain: Chain;
  readonly blocks: Blocks;
  readonly figures: Figures;
};

const ANSWER_FIGURES = [
  'answers',
  'top1ContributorHitRate',
  'chance',
  'gradientOnly',
  'spanOnly',
  'bm25',
  'paidNobody',
] as const;

async function recomputeAll({ dataDir, chain, blocks, figures }: Parts) {
  const { story } = dataDir;
  const { datanetId } = story;
  const contributions = await readContributions(chain, datanetId);
  await figures.recompute(['nodes'], async () => ({ nodes: auditNodes(chain) }));
  await figures.recompute(['contributors'], async () => ({
    contributors: auditContributors(chain, datanetId, contributions),
  }));
  await figures.recompute(['records'], async () => ({
    records: await auditRecords(chain, blocks, story, contributions),
  }));
  await figures.recompute(['nearCopiesRefused'], async () => ({
    nearCopiesRefused: await auditRefusals(blocks, datanetId, contributions),
  }));
  await figures.recompute(['trainLossFirst', 'trainLossLast'], () =>
    auditLosses(chain, blocks, story),
  );
  const reading = sharedly(() => readEpochs(chain, blocks));
  const checking = sharedly(async () => readAnchors(chain, await reading()));
  const judging = sharedly(async () => readJudgements(chain, await checking()));
  const receiving = sharedly(async () => {
    const anchors = await checking();
    const countTokens = await tokenCounter(anchors.adapters.map(({ baseHash }) => baseHash));
    const receipts: AuditedReceipt[] = [];
    for await (const each of readReceipts(blocks, await reading(), { anchors, countTokens }))
      receipts.push(each);
    return receipts;
  });
  await figures.recompute(ANSWER_FIGURES, async () =>
    auditAnswers(story, evaluationOf(story), contributions, await receiving(), await judging()),
  );
  await figures.recompute(['slashed'], async () => ({
    slashed: auditSlashed(await judging()),
  }));
  await figures.recompute(['claimsPaid'], async () => ({
    claimsPaid: auditClaims(chain, await reading()),
  }));
  let accounts = 0;
  await figures.recompute(['conservationErrorWei'], async () => {
    const conservation = await auditConservation(chain);
    accounts = conservation.accounts;
    return { conservationErrorWei: conservation };
  });
  const receipts = await receiving().then(
    (all) => all.length,
    () => 0,
  );
  return { accounts, receipts };
}

/** Done once, however many figures need it; a failure fails each of them. */
function sharedly<Value>(work: () => Promise<Value>): () => Promise<Value> {
  let doing: Promise<Value> | null = null;
  return () => {
    doing ??= work();
    return doing;
  };
}

/** Counts tokens as the shipped base does. @throws AuditError BASE_DIFFERS if adapters are of another. */
export async function tokenCounter(baseHashes: readonly string[]) {
  const base = await loadModelDirectory(
    fileURLToPath(new URL('../../runtime/base', import.meta.url)),
  );
  const hash = toHex(base.hash);
  const other = baseHashes.find((each) => each !== hash);
  if (other !== undefined)
    throw new AuditError('BASE_DIFFERS', { shipped: hash, trainedOn: other });
  const { tokenizer } = base;
  return (prompt: string, output: string) => ({
    promptTokens: tokenizer.encodePrompt(prompt).length,
    outputTokens: tokenizer.encode(output).length,
  });
}
