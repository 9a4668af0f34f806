/**
 * The chain of a run that is not running: a copy of its journal is replayed by `openledger chain`,
 * a process of its own, so that the audit leaves the run's folder exactly as it was.
 */
import { type ChildProcess, spawn } from 'node:child_process';
import { copyFileSync, existsSync, mkdirSync, mkdtempSync, readdirSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { AuditError } from './errors.ts';

export type OwnChain = { readonly rpc: string; readonly close: () => Promise<void> };

const READY_WITHIN_MS = 45_000;

/** @throws AuditError CHAIN_UNAVAILABLE when the journal cannot be replayed. */
export async function startOwnChain(dataDir: string, chainId: number): Promise<OwnChain> {
  const journal = join(dataDir, 'chain');
  const refuse = (reason: string) =>
    new AuditError('CHAIN_UNAVAILABLE', { chain: journal, reason });
  if (!existsSync(join(journal, 'journal'))) throw refuse('there is no journal');
  const copy = mkdtempSync(join(tmpdir(), 'openledger-audit-'));
  let child: ChildProcess | null = null;
  const close = async (): Promise<void> => {
    if (child !== null && child.exitCode === null && child.signalCode === null) {
      const ended = new Promise((resolve) => child?.once('exit', resolve));
      child.kill('SIGTERM');
      await ended;
    }
    rmSync(copy, { recursive: true, force: true });
  };
  try {
    mkdirSync(join(copy, 'chain'));
    for (const name of readdirSync(journal).filter((each) => each.startsWith('journal')))
      copyFileSync(join(journal, name), join(copy, 'chain', name));
    const program = fileURLToPath(new URL('../../bin/openledger.mjs', import.meta.url));
    const args = ['--data-dir', copy, 'chain', '--port', '0', '--chain-id', String(chainId)];
    child = spawn(process.execPath, [program, ...args], { stdio: ['ignore', 'pipe', 'pipe'] });
    const line = await firstLine(child, refuse);
    const { rpc } = JSON.parse(line) as { rpc: string };
    return { rpc, close };
  } catch (error) {
    await close();
    throw error;
  }
}

/** The line with which the process says that it serves; what it says instead, when it ends. */
function firstLine(child: ChildProcess, refuse: (reason: string) => AuditError): Promise<string> {
  return new Promise((resolve, reject) => {
    let out = '';
    let complaint = '';
    const timer = setTimeout(() => {
      reject(refuse(`not ready after ${READY_WITHIN_MS} ms`));
    }, READY_WITHIN_MS);
    child.stdout?.setEncoding('utf8').on('data', (text: string) => {
      out += text;
      const end = out.indexOf('\n');
      if (end < 0) return;
      clearTimeout(timer);
      resolve(out.slice(0, end));
    });
    child.stderr?.setEncoding('utf8').on('data', (text: string) => {
      complaint = `${complaint}${text}`.slice(-500);
    });
    child.once('error', (error) => {
      clearTimeout(timer);
      reject(refuse(error.message));
    });
    child.once('exit', (code, signal) => {
      clearTimeout(timer);
      reject(refuse(`the process ended (${signal ?? code}): ${complaint.trim()}`));
    });
  });
}
