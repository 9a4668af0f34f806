/** What the story noted in its state file, read without the program's own reader. */
import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import { join } from 'node:path';

export type Story = {
  readonly contributors: readonly { readonly package: string; readonly address: string }[];
  readonly answers: readonly { readonly receiptId: string; readonly topPaid: string | null }[];
  readonly cheat: {
    readonly receiptId: string;
    readonly contributor: string;
    readonly provider: string;
    readonly inflatedWei: string;
  } | null;
  readonly taskId: number;
};

export const storyFile = (dataDir: string): string => join(dataDir, 'story.json');

/** The body behind the checksum line. */
export function readStory(dataDir: string): Story {
  const [header, body] = readFileSync(storyFile(dataDir), 'utf8').split('\n');
  assert.match(header ?? '', /^openledger-state\/1 [0-9a-f]{64}$/);
  return JSON.parse(body ?? '') as Story;
}
