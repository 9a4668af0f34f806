/**
 * Keys on disk. With a password: an Ethereum V3 keystore, as geth and ethers read it. Without one
 * (the local preset only): the bare key in a file of mode 0600.
 */
import { randomBytes } from 'node:crypto';
import { chmodSync, existsSync, mkdirSync, readFileSync, renameSync, writeFileSync } from 'node:fs';
import { dirname } from 'node:path';
import { Wallet } from 'ethers';
import { NodeError } from '../errors.ts';

/** Reads the key at `file`, 32 bytes. KEY_INVALID says what is wrong with it. */
export async function readKey(file: string, password: string | null): Promise<Uint8Array> {
  if (!existsSync(file))
    throw new NodeError(
      'KEY_INVALID',
      { file, reason: 'there is no such file' },
      'make a wallet with `openledger wallet new`, or name one with --wallet',
    );
  const text = readFileSync(file, 'utf8');
  try {
    const body = JSON.parse(text) as { privateKey?: string; crypto?: unknown };
    if (body.crypto !== undefined || 'Crypto' in body) {
      if (password === null) throw new Error('it is encrypted and no password was given');
      return bytesOf((await Wallet.fromEncryptedJson(text, password)).privateKey);
    }
    if (body.privateKey === undefined) throw new Error('it has no privateKey');
    return bytesOf(new Wallet(body.privateKey).privateKey);
  } catch (error) {
    throw new NodeError(
      'KEY_INVALID',
      { file, reason: error instanceof Error ? error.message.slice(0, 120) : 'unreadable' },
      'give the right --password-file, or restore the file from a backup',
      error,
    );
  }
}

/** Writes a key; refuses to replace one. */
export async function writeKey(
  file: string,
  key: Uint8Array,
  password: string | null,
): Promise<void> {
  if (existsSync(file))
    throw new NodeError(
      'KEY_INVALID',
      { file, reason: 'a key is already there' },
      'choose another --wallet name; keys are never overwritten',
    );
  const wallet = new Wallet(`0x${Buffer.from(key).toString('hex')}`);
  const text =
    password === null
      ? JSON.stringify({ address: wallet.address, privateKey: wallet.privateKey })
      : await wallet.encrypt(password);
  mkdirSync(dirname(file), { recursive: true });
  writeFileSync(`${file}.new`, `${text}\n`, { mode: 0o600 });
  chmodSync(`${file}.new`, 0o600);
  renameSync(`${file}.new`, file);
}

/** The key at `file`, made now when there is none yet (bare, for the local preset). */
export async function keyAt(file: string): Promise<Uint8Array> {
  if (!existsSync(file)) await writeKey(file, randomBytes(32), null);
  return readKey(file, null);
}

const bytesOf = (hex: string): Uint8Array => new Uint8Array(Buffer.from(hex.slice(2), 'hex'));
