// An append-only file of checksummed JSON records that survives kill -9, a torn last write and a
// damaged byte: every record is on disk before append() resolves, and a mirror file beside it holds
// the same records, from which a damaged one is restored when the file is opened.
import { createHash } from 'node:crypto';
import { constants } from 'node:fs';
import { type FileHandle, open, readFile, rename } from 'node:fs/promises';
import { ChainError } from './errors.ts';

/** An open log: what it held when it was opened, and the way to add to it. */
export type RecordLog = {
  /** The records found, oldest first. */
  readonly records: readonly unknown[];
  /** Numbers of records that were damaged in the file and restored from its mirror. */
  readonly restored: readonly number[];
  /** Bytes of a last record that was never completed, dropped at opening. */
  readonly tornBytes: number;
  /**
   * Adds a record; resolves when it is durable. Appends made together share one write.
   * @throws ChainError CHAIN_DISK_FULL when the file system takes no more; the log then stays shut.
   */
  append(record: unknown): Promise<void>;
  /** Writes what is pending and closes both files. */
  close(): Promise<void>;
};

type Line = { readonly seq: number; readonly digest: string; readonly payload: Buffer };
type Lines = ReadonlyMap<number, readonly Line[]>;

const DISK_FULL_CODES = new Set(['ENOSPC', 'EDQUOT', 'EFBIG']);
const NEWLINE = 0x0a;
const READ_WRITE_CREATE = constants.O_RDWR | constants.O_CREAT;

/**
 * Opens or creates the log at `path` (mirror: `path.bak`, damaged original: `path.damaged`).
 * `kind` seeds the checksums, so that a file of another kind is not taken for this one.
 * @throws ChainError CHAIN_JOURNAL_CORRUPT when a record is damaged in the file and in its mirror.
 */
export async function openRecordLog(path: string, kind: string): Promise<RecordLog> {
  const bakPath = `${path}.bak`;
  const [main, bak] = await Promise.all([readOrEmpty(path), readOrEmpty(bakPath)]);
  const merged = merge(scan(main), scan(bak), kind);
  const wanted = Buffer.concat(merged.lines.map(encodeLine));
  // A write that never finished has no end of line; whatever has one and was not read is damage.
  const isLost = [main, bak].some((bytes) => bytes.subarray(wanted.length).includes(NEWLINE));
  if (isLost) throw corrupt(path, merged.lines.length);
  const damaged = !main.subarray(0, wanted.length).equals(wanted);
  if (damaged && main.length > 0) await writeWhole(`${path}.damaged`, main);
  if (!main.equals(wanted)) await writeWhole(path, wanted);
  if (!bak.equals(wanted)) await writeWhole(bakPath, wanted);
  const writer = await openWriter(path, wanted.length, merged.lines.length, merged.digest);
  return {
    records: merged.lines.map((line) => JSON.parse(line.payload.toString('utf8'))),
    restored: merged.restored,
    tornBytes: damaged ? 0 : main.length - wanted.length,
    append: writer.append,
    close: writer.close,
  };
}

/** The longest run of records that verify, each taken from whichever file has it whole. */
function merge(main: Lines, bak: Lines, kind: string) {
  const lines: Line[] = [];
  const restored: number[] = [];
  let digest = digestOf(kind, Buffer.alloc(0));
  for (let seq = 0; ; seq += 1) {
    const fits = (line: Line) => digestOf(digest, line.payload) === line.digest;
    const own = main.get(seq)?.find(fits);
    const line = own ?? bak.get(seq)?.find(fits);
    if (line === undefined) return { lines, restored, digest };
    if (own === undefined) restored.push(seq);
    lines.push(line);
    digest = line.digest;
  }
}

function corrupt(path: string, entry: number): ChainError<'CHAIN_JOURNAL_CORRUPT'> {
  return new ChainError(
    'CHAIN_JOURNAL_CORRUPT',
    `Entry ${entry} of ${path} fails its checksum and ${path}.bak has no good copy of it: ` +
      'put back both files from a backup, or move them away to start from nothing.',
    { path, entry },
  );
}

/** Every line that looks like a record, by its number. */
function scan(bytes: Buffer): Lines {
  const lines = new Map<number, Line[]>();
  let start = 0;
  for (let end = bytes.indexOf(NEWLINE); end !== -1; end = bytes.indexOf(NEWLINE, start)) {
    const line = decodeLine(bytes.subarray(start, end));
    start = end + 1;
    if (line !== null) lines.set(line.seq, [...(lines.get(line.seq) ?? []), line]);
  }
  return lines;
}

function encodeLine(line: Line): Buffer {
  const head = `${line.seq} ${line.payload.length} ${line.digest} `;
  return Buffer.concat([Buffer.from(head), line.payload, Buffer.of(NEWLINE)]);
}

function decodeLine(bytes: Buffer): Line | null {
  const match = /^(\d{1,12}) (\d{1,9}) ([0-9a-f]{32}) /.exec(bytes.toString('latin1', 0, 64));
  if (match === null) return null;
  const payload = bytes.subarray(match[0].length);
  if (payload.length !== Number(match[2])) return null;
  return { seq: Number(match[1]), digest: match[3]!, payload };
}

/** Each checksum covers the one before it, so records cannot be moved, dropped or doubled unseen. */
function digestOf(previous: string, payload: Buffer): string {
  return createHash('sha256').update(previous).update(payload).digest('hex').slice(0, 32);
}

async function openWriter(path: string, length: number, nextSeq: number, lastDigest: string) {
  const main = await open(path, READ_WRITE_CREATE, 0o600);
  const bak = await open(`${path}.bak`, READ_WRITE_CREATE, 0o600);
  let position = length;
  let seq = nextSeq;
  let digest = lastDigest;
  let waiting: { bytes: Buffer; done: () => void; failed: (error: unknown) => void }[] = [];
  let flushing: Promise<void> | null = null;
  let broken: unknown = null;

  async function flush(): Promise<void> {
    while (waiting.length > 0) {
      const batch = waiting;
      waiting = [];
      const bytes = Buffer.concat(batch.map((item) => item.bytes));
      try {
        if (broken !== null) throw broken;
        await writeAll(main, bytes, position);
        await main.datasync();
        await writeAll(bak, bytes, position);
        position += bytes.length;
        for (const item of batch) item.done();
      } catch (error) {
        broken ??= await shut(error);
        for (const item of batch) item.failed(broken);
      }
    }
    flushing = null;
  }

  /** Cuts half-written records off again; whether that works or not, the log takes no more. */
  async function shut(error: unknown): Promise<unknown> {
    await main.truncate(position).catch(() => undefined);
    await bak.truncate(position).catch(() => undefined);
    const code = (error as NodeJS.ErrnoException).code ?? '';
    if (!DISK_FULL_CODES.has(code)) return error;
    const message = `No space to write ${path} (${code}): free some, then start again.`;
    return new ChainError('CHAIN_DISK_FULL', message, { path }, error);
  }

  return {
    append(record: unknown): Promise<void> {
      const payload = Buffer.from(JSON.stringify(record), 'utf8');
      digest = digestOf(digest, payload);
      const bytes = encodeLine({ seq, digest, payload });
      seq += 1;
      return new Promise((done, failed) => {
        waiting.push({ bytes, done, failed });
        flushing ??= flush();
      });
    },
    async close(): Promise<void> {
      await flushing;
      await main.close();
      await bak.close();
    },
  };
}

async function writeAll(file: FileHandle, bytes: Buffer, at: number): Promise<void> {
  let done = 0;
  while (done < bytes.length) {
    const { bytesWritten } = await file.write(bytes, done, bytes.length - done, at + done);
    done += bytesWritten;
  }
}

async function readOrEmpty(path: string): Promise<Buffer> {
  try {
    return await readFile(path);
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'ENOENT') return Buffer.alloc(0);
    throw error;
  }
}

/** Replaces a file so that a crash leaves either the old or the new one, whole. */
async function writeWhole(path: string, bytes: Buffer): Promise<void> {
  const file = await open(`${path}.tmp`, 'w', 0o600);
  try {
    await writeAll(file, bytes, 0);
    await file.sync();
  } catch (error) {
    const code = (error as NodeJS.ErrnoException).code ?? '';
    if (!DISK_FULL_CODES.has(code)) throw error;
    const message = `No space to write ${path} (${code}): free some, then start again.`;
    throw new ChainError('CHAIN_DISK_FULL', message, { path }, error);
  } finally {
    await file.close();
  }
  await rename(`${path}.tmp`, path);
}
