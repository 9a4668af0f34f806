/**
 * `npm run fuzz -- [--safetensors N] [--gguf N] [--tokenizers N] [--seed N]`: feeds the readers of strangers'
 * files with mutated ones and prints how many came how far. Ends with 1 at the first case that is
 * neither accepted nor refused by a ModelError, naming the seed and number that repeat it.
 */
import { parseArgs } from 'node:util';
import { philoxStream } from '#runtime';
import { ggufReader } from './fuzz/gguf.ts';
import { type FuzzedReader, safetensorsReader, tokenizerReader } from './fuzz/readers.ts';

const { values } = parseArgs({
  options: {
    safetensors: { type: 'string', default: '1000000' },
    gguf: { type: 'string', default: '200000' },
    tokenizers: { type: 'string', default: '50000' },
    seed: { type: 'string', default: '1' },
    /** Repeats one case alone. */
    only: { type: 'string' },
  },
});
const seed = BigInt(values.seed);

function fuzz(name: string, reader: FuzzedReader, runs: number): boolean {
  const verdicts = new Map<string, number>();
  let past = 0;
  const first = values.only === undefined ? 0 : Number(values.only);
  const end = values.only === undefined ? runs : first + 1;
  for (let run = first; run < end; run++) {
    try {
      const { verdict, isPastParsing } = reader(philoxStream(seed, run));
      verdicts.set(verdict, (verdicts.get(verdict) ?? 0) + 1);
      if (isPastParsing) past++;
    } catch (error) {
      console.error(`${name}: case ${run} of seed ${seed} (--only ${run}) ended with`, error);
      return false;
    }
  }
  const share = Math.round((100 * past) / Math.max(1, end - first));
  console.log(`${name}: ${end - first} mutations, ${past} past parsing (${share} %)`);
  for (const [verdict, count] of [...verdicts].sort((a, b) => b[1] - a[1])) {
    console.log(`  ${verdict} ${count}`);
  }
  return true;
}

const tokenizers = tokenizerReader('runtime/golden/chat');
const passed = [
  fuzz('safetensors', safetensorsReader(), Number(values.safetensors)),
  fuzz('gguf', ggufReader(), Number(values.gguf)),
  fuzz('tokenizers', tokenizers, Number(values.tokenizers)),
];
process.exitCode = passed.every(Boolean) ? 0 : 1;
