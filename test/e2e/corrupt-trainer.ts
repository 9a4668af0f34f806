/**
 * A node that trains, but whose checkpoints are not what its training gave: a bit of the stored state
 * is flipped before it is hashed and committed to. Everything else is the node's own code. Run as a
 * process of its own: `corrupt-trainer.ts DATA_DIR JOIN_FILE BOOTSTRAP`.
 */
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import type { Deployment } from '#contracts';
import { toHex } from '#crypto';
import { PRESETS } from '#protocol';
import { createPool, loadModelDirectory } from '#runtime';
import { openLog } from '../../node/log.ts';
import { networkPreset, startHost } from '../../node/network/index.ts';
import { shippedBase } from '../../node/paths.ts';
import { openAccount } from '../../node/services/account.ts';
import { type BlockPort, createDatanets } from '../../node/services/datanets.ts';
import { startLoop } from '../../node/services/loop.ts';
import { ensureStake, ROLE } from '../../node/services/staking.ts';
import { createTaskService } from '../../node/services/tasks.ts';
import { createTrainer } from '../../node/services/trainer.ts';
import { keyAt } from '../../node/store/key-file.ts';

const STAKE_WEI = 200n * 10n ** 18n;
/** Of checkpoints 0 to 4, so that each of the four segments begins or ends at a corrupt one. */
const CORRUPT = [1, 3];
/** Magic, version, step, rank and count come first. */
const STATE_HEADER_BYTES = 20;

const [dataDir = '', joinFile = '', bootstrap = ''] = process.argv.slice(2);
const joined = JSON.parse(readFileSync(joinFile, 'utf8')) as {
  rpc: string;
  chainId: number;
  deployment: Deployment;
};

/** Flips a bit in the checkpoints as the trainer stores them: it hashes the same bytes afterwards. */
function corrupting(blocks: BlockPort): BlockPort {
  let checkpoint = 0;
  return {
    ...blocks,
    putLarge: (bytes) => {
      if (CORRUPT.includes(checkpoint)) {
        bytes[STATE_HEADER_BYTES] = (bytes[STATE_HEADER_BYTES] ?? 0) ^ 1;
        process.stdout.write(`corrupted checkpoint ${checkpoint}\n`);
      }
      checkpoint += 1;
      return blocks.putLarge(bytes);
    },
  };
}

const privateKey = await keyAt(join(dataDir, 'key.json'));
const log = openLog({ file: join(dataDir, 'node.log'), level: 'info', echo: true });
const base = await loadModelDirectory(shippedBase());
const account = await openAccount({
  ...joined,
  privateKey,
  outboxFile: join(dataDir, 'outbox'),
});
const host = await startHost({
  privateKey,
  dataDir: join(dataDir, 'network'),
  preset: networkPreset('local'),
  bootstrap: [bootstrap],
  topics: [],
});
const { chain } = account;
const pool = createPool({ weights: base, threads: 1 });
const datanets = createDatanets({
  chain,
  chainSeconds: account.chainSeconds,
  blocks: host.blocks,
  announce: async () => undefined,
  log,
});
const trainer = createTrainer({
  dataDir,
  blocks: corrupting(host.blocks),
  datanets,
  pool: async () => pool,
  tokenizer: base.tokenizer,
  baseHash: toHex(base.hash),
  log,
});
const tasks = createTaskService({
  chain,
  head: () => account.client.block('latest'),
  privateKey,
  trainer,
  verify: () => Promise.reject(new Error('a trainer alone sits on no committee')),
  timing: PRESETS.local,
  log,
});
await ensureStake({ chain, targetWei: STAKE_WEI, roles: ROLE.provider, serves: false });
const loop = startLoop('tasks', PRESETS.local.pollMs, log, tasks.tick);
process.once('SIGTERM', () => {
  void (async () => {
    await loop.close();
    await trainer.close();
    await pool.close();
    await host.close();
    await account.close();
    process.exit(0);
  })();
});
process.stdout.write(`ready ${chain.self}\n`);
