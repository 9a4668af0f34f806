/** A hint that a task was announced or moved on; the truth about it is read from the chain. */
import { uint, type ValueOf } from '../codec.ts';
import { defineGossip } from './message.ts';

const shape = { sentAtMs: uint(), taskId: uint() };

export const taskHint = defineGossip('/openledger/tasks/1', shape, 64);
export type TaskHint = { readonly [Name in keyof typeof shape]: ValueOf<(typeof shape)[Name]> };
