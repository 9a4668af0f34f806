/** The long comparison of SoftFloat with Math.fround: 100,000 seeded pairs per operation beside all corners. */
import { Contract, Interface } from 'ethers';
import { LibraryProbeAbi, LibraryProbeBytecode } from '../bindings/library-probe.ts';
import { startChain } from '../harness.ts';
import {
  compareFloats,
  corners,
  type FloatOperation,
  floatOperations,
  randomPairs,
} from '../test/floats.ts';

const PAIRS = 100_000;

export async function longFloats(): Promise<
  { operation: FloatOperation; compared: number; differences: string[] }[]
> {
  const chain = await startChain();
  const deployed = await chain.sendData(chain.deployer, null, LibraryProbeBytecode);
  const probe = new Contract(
    deployed.contractAddress!,
    new Interface(LibraryProbeAbi),
    chain.provider,
  );
  const pairs = [
    ...corners.flatMap((a) => corners.map((b): [number, number] => [a, b])),
    ...randomPairs(PAIRS, 'npm run test:contracts'),
  ];
  const results = [];
  for (const operation of floatOperations) {
    results.push({ operation, ...(await compareFloats(probe, operation, pairs)) });
  }
  return results;
}
