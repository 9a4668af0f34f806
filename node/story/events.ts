/** What the contracts of a story logged, from the first block on. */
import type { Result } from 'ethers';
import { type ContractName, contractInterfaces } from '#contracts';
import type { Stage } from './stage.ts';

/** The arguments of every event of one kind, in order. */
export async function readEvents(
  { swarm }: Stage,
  contract: ContractName,
  event: string,
): Promise<readonly Result[]> {
  const { client, chain } = swarm.operator;
  const abi = contractInterfaces[contract];
  const topic = abi.getEvent(event)?.topicHash ?? '';
  const found: Result[] = [];
  let from = 0;
  const head = await client.blockNumber();
  while (from <= head) {
    const page = await client.logs({ address: chain.addressOf(contract), topics: [topic] }, from);
    for (const { topics, data } of page.logs) found.push(abi.decodeEventLog(event, data, topics));
    from = page.nextBlock;
  }
  return found;
}
