/**
 * `npm run gas`: gas of what is called often or in disputes, from receipts with calldata included, against the committed
 * snapshot and the limits. `--write` takes the figures over as the new snapshot.
 */
import { existsSync, readFileSync, writeFileSync } from 'node:fs';
import { fileURLToPath } from 'node:url';
import { gasFigures } from './gas-cases.ts';

const SNAPSHOT = fileURLToPath(new URL('gas-snapshot.json', import.meta.url));

const figures = await gasFigures();
if (process.argv.includes('--write')) {
  const made = Object.fromEntries(figures.map(({ what, gas }) => [what, gas]));
  writeFileSync(SNAPSHOT, `${JSON.stringify(made, null, 2)}\n`);
}
const snapshot = (existsSync(SNAPSHOT) ? JSON.parse(readFileSync(SNAPSHOT, 'utf8')) : {}) as Record<
  string,
  number
>;

const cell = (value: string | number) => String(value).padStart(12);
process.stdout.write(`${''.padEnd(50)}${cell('gas')}${cell('snapshot')}${cell('limit')}\n`);
let differs = 0;
for (const { what, gas, target } of figures) {
  const kept = snapshot[what];
  const notes = [gas > target ? 'above the limit' : '', kept === gas ? '' : 'not the snapshot'];
  if (kept !== gas) differs += 1;
  const note = notes.filter((text) => text !== '').join(', ');
  process.stdout.write(
    `${what.padEnd(50)}${cell(gas)}${cell(kept ?? '-')}${cell(target)}  ${note}\n`,
  );
}
const above = figures.filter(({ gas, target }) => gas > target).length;
process.stdout.write(
  `${figures.length - above} of ${figures.length} within their limits, ${differs} differ from the snapshot\n`,
);
process.exitCode = differs > 0 ? 1 : 0;
