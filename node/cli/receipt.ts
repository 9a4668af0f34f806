/** `openledger receipt`: fetch the receipt of an answer, and verify one offline. */
import { existsSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { Command } from 'commander';
import { type Bytes32, fromHex, parseBytes32, toHex } from '#crypto';
import {
  decodeAnchors,
  decodeReceiptFile,
  encodeReceiptFile,
  receiptHash,
  type TrustedAnchors,
  verifyReceiptFile,
  withEpochProof,
} from '#protocol';
import { loadModelDirectory } from '#runtime';
import { NodeError } from '../errors.ts';
import { withBaseAlone } from '../gateway/check.ts';
import { shippedBase } from '../paths.ts';
import { countTokensOf } from '../services/serving.ts';
import { callApi, callApiBytes, globals, print, readSwarm } from './session.ts';

export function receiptCommand(): Command {
  const receipt = new Command('receipt').description('the signed account of an answer');
  receipt.addCommand(
    new Command('get')
      .description('fetch a receipt, with the proof to its anchored epoch once there is one')
      .argument('<id>', 'receipt id, as `openledger chat` prints it')
      .requiredOption('--out <file>', 'where to write it')
      .action(get),
  );
  receipt.addCommand(
    new Command('verify')
      .description(
        'recompute everything a receipt says from the bytes it encloses; needs no network',
      )
      .argument('<file>', 'the receipt')
      .option('--anchors <file>', 'roots you trust (`openledger info --anchors FILE` writes them)')
      .option('--base <dir>', 'base model whose tokenizer counts', shippedBase())
      .action(verify),
  );
  return receipt;
}

type Proof = {
  readonly epoch: number;
  readonly receiptsRoot: string;
  readonly receiptCount: number;
  readonly index: number;
  readonly siblings: readonly string[];
};

async function get(id: string, own: { out: string }, command: Command): Promise<void> {
  const options = globals(command);
  const swarm = readSwarm(options.dataDir);
  const bytes = await callApiBytes(swarm.gateway, swarm.token, `/swarm/v1/receipts/${id}/file`);
  const decoded = decodeReceiptFile(bytes);
  if (!decoded.ok) throw invalid(decoded.field, decoded.message);
  const hash = receiptHash(decoded.value.receipt);
  const proof = await proofOf(swarm.gateway, swarm.token, hash);
  const file = proof === null ? bytes : encodeReceiptFile(withEpochProof(decoded.value, proof));
  writeFileSync(own.out, file);
  print(
    options,
    { ok: true, file: own.out, receiptHash: hash, epoch: proof?.epoch ?? null },
    `${own.out}: receipt ${hash}, ${proof === null ? 'not anchored yet' : `anchored in epoch ${proof.epoch}`}`,
  );
}

async function proofOf(api: string, token: string, hash: string) {
  try {
    const proof = await callApi<Proof>(api, token, `/swarm/v1/proofs/${hash}`);
    return {
      epoch: proof.epoch,
      receiptsRoot: parseBytes32(proof.receiptsRoot),
      receiptCount: proof.receiptCount,
      index: proof.index,
      siblings: proof.siblings.map((each) => fromHex(`0x${each}`)),
    };
  } catch (error) {
    // Not anchored yet: the receipt is whole without the proof.
    if (error instanceof NodeError && error.message.includes('does not exist')) return null;
    throw error;
  }
}

/** The roots to trust: the file named, or the one that the swarm's data directory keeps. */
function trustedAnchors(
  dataDir: string,
  named: string | undefined,
  baseHash: Bytes32,
): TrustedAnchors | null {
  const file = named ?? join(dataDir, 'anchors.json');
  if (!existsSync(file)) {
    if (named === undefined) return null;
    throw new NodeError(
      'FILE_UNREADABLE',
      { file, reason: 'absent' },
      'write it with `openledger info --anchors FILE`',
    );
  }
  // Answers of the base alone have no adapter on chain; they are trusted as such.
  return withBaseAlone(decodeAnchors(readFileSync(file, 'utf8')), baseHash);
}

async function verify(
  file: string,
  own: { anchors?: string; base: string },
  command: Command,
): Promise<void> {
  const options = globals(command);
  if (!existsSync(file))
    throw new NodeError('FILE_UNREADABLE', { file, reason: 'absent' }, 'name a receipt file');
  const base = await loadModelDirectory(own.base);
  const verdict = verifyReceiptFile(new Uint8Array(readFileSync(file)), {
    anchors: trustedAnchors(options.dataDir, own.anchors, toHex(base.hash)),
    countTokens: countTokensOf(base),
  });
  if (!verdict.valid) throw invalid(verdict.field, `${verdict.code}: ${verdict.message}`);
  const { receipt, anchored } = verdict;
  print(
    options,
    {
      ok: true,
      valid: true,
      anchored,
      receiptHash: receiptHash(receipt),
      provider: receipt.provider,
      promptTokens: receipt.promptTokens,
      outputTokens: receipt.outputTokens,
      scores: receipt.scoreCount,
      spans: receipt.spanCount,
    },
    `valid${anchored ? ', anchored' : ', not checked against an anchored epoch'}: ${receipt.promptTokens} + ${receipt.outputTokens} tokens, ${receipt.scoreCount} scores, ${receipt.spanCount} spans, signed by ${receipt.provider}`,
  );
}

const invalid = (field: string, reason: string): NodeError =>
  new NodeError(
    'RECEIPT_INVALID',
    { field, reason },
    'do not pay or trust it; ask its provider for the true one',
  );
