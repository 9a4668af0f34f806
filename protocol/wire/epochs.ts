/** That an epoch was anchored and where its manifest is; the roots are read from the chain. */
import { link, uint, uint32, type ValueOf } from '../codec.ts';
import { defineGossip } from './message.ts';

const shape = { epoch: uint32, manifest: link(), sentAtMs: uint() };

export const epochAnnouncement = defineGossip('/openledger/epochs/1', shape, 256);
export type EpochAnnouncement = {
  readonly [Name in keyof typeof shape]: ValueOf<(typeof shape)[Name]>;
};
