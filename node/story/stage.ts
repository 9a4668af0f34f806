/** What each step of the story has at hand, and the keys of the people in it. */
import { fromHex, taggedHash, utf8 } from '#crypto';
import type { StateFile } from '../store/state-file.ts';
import type { Narrator } from './narrator.ts';
import type { Scenario } from './scenario.ts';
import type { StoryState } from './state.ts';
import type { Swarm } from './swarm.ts';

/** What each step has at hand. */
export type Stage = {
  readonly dataDir: string;
  readonly scenario: Scenario;
  readonly swarm: Swarm;
  readonly state: StateFile<StoryState>;
  readonly narrator: Narrator;
};

/** The key of a person of the story: drawn from the run's seed, the same after a restart. */
export function personKey(state: StoryState, name: string): Uint8Array {
  return taggedHash('openledger/story-key/1', fromHex(`0x${state.token}`), padded(name));
}

const padded = (name: string): Uint8Array => {
  const text = utf8(name);
  const words = new Uint8Array(Math.ceil(text.length / 32) * 32 + 32);
  words.set(text);
  words[words.length - 1] = text.length;
  return words;
};
