// Remembers what the engine answered since the last block. Reads of one state have one answer, so six
// nodes asking the same thing cost one run of the EVM and one answer in the engine's memory.
import { setImmediate as nextTurn } from 'node:timers/promises';
import type { Engine, EngineReply } from './engine.ts';

/** Methods whose answer nothing but a new block changes, as long as they do not speak of 'pending'. */
const PURE_METHODS = new Set([
  'eth_blockNumber',
  'eth_call',
  'eth_getBalance',
  'eth_getBlockByHash',
  'eth_getBlockByNumber',
  'eth_getCode',
  'eth_getLogs',
  'eth_getStorageAt',
  'eth_getTransactionReceipt',
]);
/** Bounds on what is remembered within one block. */
const MAX_ANSWERS = 1_000;
const MAX_KEY_CHARS = 16_384;

/** The same engine, asked only once between two blocks for what cannot change between them. */
export function withReadCache(engine: Engine): Engine {
  let answers = new Map<string, Promise<EngineReply>>();
  return {
    request(method, params) {
      if (!PURE_METHODS.has(method)) return engine.request(method, params);
      const key = `${method} ${JSON.stringify(params)}`;
      const known = answers.get(key);
      // A turn later, as the engine would: whoever asks in a loop must not keep the next block from coming.
      if (known !== undefined) return nextTurn().then(() => known);
      const answer = engine.request(method, params);
      // Anything admitted changes the pending state, without a block.
      const isKept = key.length <= MAX_KEY_CHARS && !key.includes('"pending"');
      if (isKept && answers.size < MAX_ANSWERS) {
        const own = answers;
        own.set(key, answer);
        answer.catch(() => own.delete(key));
      }
      return answer;
    },
    async mine(frames) {
      // Twice: what is asked while a block is made may be answered from before it or from after it.
      answers = new Map();
      try {
        await engine.mine(frames);
      } finally {
        answers = new Map();
      }
    },
  };
}
