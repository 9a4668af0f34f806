/** The training's losses, from the result that a committee re-executed and the chain anchored. */
import { parseBytes32, toHex } from '#crypto';
import {
  cidOfDigest,
  decodeResultManifest,
  decodeTaskSpec,
  lossesOf,
  segmentCount,
  traceOfManifest,
  traceTree,
} from '#protocol';
import type { Blocks } from './blocks.ts';
import type { Chain } from './chain.ts';
import type { StatedStory } from './data-dir.ts';
import { AuditError } from './errors.ts';
import type { Recomputed } from './report.ts';

/** Mean loss over the first and over the last segment. */
export async function auditLosses(
  { read }: Chain,
  blocks: Blocks,
  { taskId, adapterId, datanetId, datanetVersion }: StatedStory,
): Promise<{ readonly trainLossFirst: Recomputed; readonly trainLossLast: Recomputed }> {
  const task = await read('TaskEscrow', 'getTask', [taskId]);
  const adapter = await read('ModelRegistry', 'getAdapter', [adapterId]);
  const what = `result of task ${taskId}`;
  const wrong = (reason: string) => new AuditError('CONTENT_WRONG', { what, reason });
  const specCid = cidOfDigest(parseBytes32(task.specDigest));
  const spec = decodeTaskSpec(await blocks.get(specCid, `spec of task ${taskId}`));
  if (!spec.ok) throw wrong(spec.message);
  const cid = cidOfDigest(parseBytes32(task.result.manifest));
  const manifest = decodeResultManifest(await blocks.get(cid, what));
  if (!manifest.ok) throw wrong(manifest.message);
  const segments = segmentCount(spec.value);
  const root = toHex(traceTree(traceOfManifest(manifest.value)).root);
  const losses = lossesOf(manifest.value);
  const { checkpointEvery, steps } = spec.value;
  const rules: readonly (readonly [boolean, string])[] = [
    [root === task.result.traceRoot, `its trace has the root ${root}, not the chain's`],
    [adapter.traceRoot === task.result.traceRoot, 'its trace is not that of the adapter'],
    [Number(adapter.taskId) === taskId, `the adapter comes of task ${adapter.taskId}`],
    [manifest.value.taskId === taskId, `it speaks of task ${manifest.value.taskId}`],
    [spec.value.datanetId === datanetId, 'its spec names another datanet'],
    [spec.value.version === datanetVersion, `its spec names version ${spec.value.version}`],
    [Number(task.segments) === segments, `its spec has ${segments} segments`],
    [losses.length === steps, `it has ${losses.length} losses for ${steps} steps`],
  ];
  const faults = rules.filter(([holds]) => !holds).map(([, fault]) => `${what}: ${fault}`);
  return {
    trainLossFirst: { value: mean(losses.slice(0, checkpointEvery)), faults },
    trainLossLast: { value: mean(losses.slice(-checkpointEvery)), faults },
  };
}

const mean = (values: readonly number[]): number =>
  values.reduce((sum, one) => sum + one, 0) / values.length;
