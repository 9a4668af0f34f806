/**
 * A small state kept in one file that survives kill -9, a full disk and a flipped bit: each save is
 * written beside the old one, checked, and renamed; the one before is kept as `.previous`. A file
 * whose checksum fails is put aside and reported, and the last good one is used.
 */
import { createHash } from 'node:crypto';
import {
  closeSync,
  existsSync,
  fsyncSync,
  mkdirSync,
  openSync,
  readFileSync,
  renameSync,
  unlinkSync,
  writeSync,
} from 'node:fs';
import { dirname } from 'node:path';
import { NodeError } from '../errors.ts';

export type StateFile<State> = {
  readonly state: State;
  /** Set when the newest file was damaged and an older one was used instead. */
  readonly restored: { readonly file: string; readonly reason: string } | null;
  readonly save: (state: State) => void;
};

/**
 * Opens the state at `path`, or starts with `initial`.
 * @throws NodeError STATE_CORRUPT when neither the file nor the one before it is intact,
 *   DISK_FULL when a save finds no room (the state on disk is then still the one before).
 */
export function openStateFile<State>(
  path: string,
  initial: State,
  parse: (body: unknown) => State,
): StateFile<State> {
  mkdirSync(dirname(path), { recursive: true });
  const previous = `${path}.previous`;
  const newest = readChecked(path);
  let restored: StateFile<State>['restored'] = null;
  let body = newest.ok ? newest.body : undefined;
  if (!newest.ok) {
    const older = readChecked(previous);
    if (newest.reason !== 'absent') {
      const aside = `${path}.damaged`;
      renameSync(path, aside);
      restored = { file: aside, reason: newest.reason };
    }
    if (older.ok) {
      body = older.body;
      restored ??= { file: path, reason: 'absent' };
    } else if (newest.reason !== 'absent') {
      throw new NodeError(
        'STATE_CORRUPT',
        { file: path, reason: `${newest.reason}; the one before: ${older.reason}` },
        `restore ${path} from a backup, or start anew with another --data-dir`,
      );
    }
  }
  let current = body === undefined ? initial : parse(body);
  return {
    get state() {
      return current;
    },
    restored,
    save: (state) => {
      current = state;
      writeChecked(path, previous, state);
    },
  };
}

type Read = { ok: true; body: unknown } | { ok: false; reason: string };

function readChecked(path: string): Read {
  if (!existsSync(path)) return { ok: false, reason: 'absent' };
  const text = readFileSync(path, 'utf8');
  const cut = text.indexOf('\n');
  const [version, digest] = text.slice(0, Math.max(cut, 0)).split(' ');
  if (cut < 0 || version !== 'openledger-state/1') return { ok: false, reason: 'no header' };
  const body = text.slice(cut + 1);
  if (digest !== sha256(body)) return { ok: false, reason: 'checksum differs' };
  return { ok: true, body: JSON.parse(body, revive) };
}

function writeChecked(path: string, previous: string, state: unknown): void {
  const body = JSON.stringify(state, replace);
  const fresh = `${path}.new`;
  try {
    const file = openSync(fresh, 'w', 0o600);
    try {
      writeSync(file, `openledger-state/1 ${sha256(body)}\n${body}`);
      fsyncSync(file);
    } finally {
      closeSync(file);
    }
  } catch (error) {
    if (existsSync(fresh)) unlinkSync(fresh);
    if ((error as { code?: string }).code === 'ENOSPC')
      throw new NodeError('DISK_FULL', { path }, 'free some disk space and start again', error);
    throw error;
  }
  if (existsSync(path)) renameSync(path, previous);
  renameSync(fresh, path);
}

const sha256 = (text: string): string => createHash('sha256').update(text).digest('hex');

// JSON has no bigint; amounts in wei are kept as {"wei": "…"} so that they come back as bigint.
const replace = (_key: string, value: unknown): unknown =>
  typeof value === 'bigint' ? { wei: value.toString() } : value;
const revive = (_key: string, value: unknown): unknown =>
  typeof value === 'object' && value !== null && 'wei' in value && Object.keys(value).length === 1
    ? BigInt(String(value.wei))
    : value;
