/** The runtime suite: training against PyTorch, PEFT both ways, decoding beside llama.cpp, shares of what the machine can do, loading. */
import type { Row, SuiteOptions } from '../stats.ts';
import { decodeRows } from './decode-rows.ts';
import { loadRows } from './load-rows.ts';
import { machineRows } from './machine-rows.ts';
import { pythonPeer } from './peers.ts';
import { peftRows } from './peft-rows.ts';
import { trainRows } from './train-rows.ts';

export async function runtimeSuite(options: SuiteOptions): Promise<Row[]> {
  const python = () => pythonPeer(options.say);
  const wantsAny = (...ids: string[]) => ids.some(options.wants);
  const rows: Row[] = [];
  if (wantsAny('P1', 'P2')) rows.push(...(await peftRows(options, python())));
  if (wantsAny('T1', 'T2')) rows.push(...(await trainRows(options, python)));
  if (wantsAny('G1', 'D1')) rows.push(...machineRows(options));
  if (wantsAny('decode-one', 'decode-eight')) rows.push(...(await decodeRows(options)));
  if (wantsAny('L1', 'L2', 'L3')) rows.push(...(await loadRows(options)));
  return rows;
}
