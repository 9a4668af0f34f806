/**
 * What the story remembers between two runs: which scenario it tells, who took part, what was found.
 * Everything about money and decisions is asked of the chain again; this is for what the chain does
 * not know.
 */
import { join } from 'node:path';
import { z } from 'zod';
import { openStateFile, type StateFile } from '../store/state-file.ts';

const hex = z.string().regex(/^0x[0-9a-f]+$/);
const answer = z.object({
  package: z.string(),
  prompt: z.string(),
  receiptId: hex,
  output: z.string(),
  topPaid: hex.nullable(),
  topLearned: hex.nullable(),
  topSpan: hex.nullable(),
  topBm25: z.string().nullable(),
});
const schema = z.object({
  version: z.literal(1),
  scenario: z.enum(['story', 'reduced']),
  cheats: z.boolean(),
  challenges: z.boolean(),
  token: z.string(),
  seed: z.number().int(),
  genesisWei: z.string(),
  contributors: z.array(
    z.object({ package: z.string(), address: hex, contributionId: z.number().int() }),
  ),
  copier: z
    .object({ package: z.string(), address: hex, contributionId: z.number().int() })
    .nullable(),
  datanetId: hex.nullable(),
  datanetVersion: z.number().int(),
  taskId: z.number().int(),
  adapterId: hex.nullable(),
  /** Mean loss over the first and over the last segment of the training. */
  losses: z.object({ first: z.number(), last: z.number() }).nullable(),
  answers: z.array(answer),
  cheat: z
    .object({ receiptId: hex, contributor: hex, provider: hex, inflatedWei: z.string() })
    .nullable(),
  result: z.record(z.string(), z.unknown()).nullable(),
});

export type StoryState = z.infer<typeof schema>;
export type StoryAnswer = z.infer<typeof answer>;

export type StoryOptions = Pick<StoryState, 'scenario' | 'cheats' | 'challenges'>;

/** Opens the state; a new one gets the given token and seed. */
export function openStoryState(
  dataDir: string,
  options: StoryOptions,
  fresh: { token: string; seed: number },
): StateFile<StoryState> {
  return openStateFile<StoryState>(
    join(dataDir, 'story.json'),
    {
      version: 1,
      ...options,
      ...fresh,
      genesisWei: '0',
      contributors: [],
      copier: null,
      datanetId: null,
      datanetVersion: 0,
      taskId: 0,
      adapterId: null,
      losses: null,
      answers: [],
      cheat: null,
      result: null,
    },
    (body) => schema.parse(body),
  );
}
