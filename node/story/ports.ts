/**
 * Ports of a swarm's processes: chosen before the first start and kept, so that a process that died
 * comes back where the others look for it.
 */
import { readFileSync, renameSync, writeFileSync } from 'node:fs';
import { createServer } from 'node:net';

/** The loopback port kept in `file`; another one, free now, when there is none or it is taken. */
export async function settledPort(file: string): Promise<number> {
  const kept = readPort(file);
  const port = kept !== 0 && (await isFree(kept)) ? kept : await anyFree();
  if (port !== kept) {
    writeFileSync(`${file}.new`, String(port));
    renameSync(`${file}.new`, file);
  }
  return port;
}

function readPort(file: string): number {
  try {
    const port = Number(readFileSync(file, 'utf8'));
    return Number.isInteger(port) && port > 0 && port < 65_536 ? port : 0;
  } catch {
    return 0;
  }
}

const isFree = (port: number): Promise<boolean> =>
  listenOnce(port).then(
    () => true,
    () => false,
  );
const anyFree = (): Promise<number> => listenOnce(0);

function listenOnce(port: number): Promise<number> {
  return new Promise((resolve, reject) => {
    const server = createServer();
    server.once('error', reject);
    server.listen(port, '127.0.0.1', () => {
      const at = server.address();
      const taken = at !== null && typeof at === 'object' ? at.port : port;
      server.close(() => resolve(taken));
    });
  });
}
