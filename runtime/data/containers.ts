/**
 * The files that datasets come in (JSON, JSON lines, CSV, TSV, plain text) as rows with line numbers.
 * Told apart by name and first bytes, because people name JSON lines `.json`.
 */
import { readFile, stat } from 'node:fs/promises';
import { parseSeparated } from './csv.ts';
import { DatasetError, shown } from './errors.ts';
import type { RawRow } from './raw-row.ts';

export type Container = 'json' | 'jsonl' | 'csv' | 'tsv' | 'text';

export type Contents = { readonly container: Container; readonly rows: readonly RawRow[] };

/** Above this a file does not fit one JavaScript string. */
const FILE_BYTES_MAX = 2 ** 29 - 64;
const SUPPORTED = 'JSON, JSON lines, CSV, TSV, TXT or Markdown';
const TEXT_NAME = /\.(txt|text|md|markdown|rst)$/i;
/** Formats that are told by their first bytes, with how to turn them into JSON lines. */
const FOREIGN: readonly [string, string, RegExp][] = [
  ['Parquet', 'PAR1', /\.parquet$/i],
  ['Arrow', 'ARROW1', /\.(arrow|feather)$/i],
  ['gzip', '\x1f\x8b', /\.gz$/i],
  ['zip', 'PK\x03\x04', /\.zip$/i],
];

/** @throws DatasetError */
export async function readContents(file: string): Promise<Contents> {
  const found = await stat(file).catch(() => undefined);
  if (found === undefined || !found.isFile()) {
    throw new DatasetError('DATASET_MISSING', {
      file,
      expected: 'a file',
      found: found === undefined ? 'nothing there' : 'no plain file',
      fix: `give the path of a ${SUPPORTED} file`,
    });
  }
  if (found.size > FILE_BYTES_MAX) {
    throw new DatasetError('DATASET_TOO_LARGE', {
      file,
      expected: `at most ${FILE_BYTES_MAX} bytes`,
      found: `${found.size}`,
      fix: 'split it and give the parts one by one',
    });
  }
  return parseContents(file, await readFile(file));
}

/** The same for bytes at hand. */
export function parseContents(file: string, bytes: Uint8Array): Contents {
  refuseForeign(file, bytes);
  const text = textOf(file, bytes);
  if (text.trim() === '') {
    const fix = 'give a file with at least one row';
    throw new DatasetError('DATASET_EMPTY', { file, expected: 'rows', found: 'no text', fix });
  }
  const container = containerOf(file, text);
  const rows = rowsOf(file, container, text);
  if (rows.length > 0) return { container, rows };
  const fix = 'give a file with at least one row';
  throw new DatasetError('DATASET_EMPTY', { file, expected: 'rows', found: 'none', fix });
}

function refuseForeign(file: string, bytes: Uint8Array): void {
  const start = Buffer.from(bytes.subarray(0, 8)).toString('latin1');
  for (const [name, magic, suffix] of FOREIGN) {
    if (!start.startsWith(magic) && !suffix.test(file)) continue;
    throw new DatasetError('DATASET_CONTAINER', {
      file,
      expected: SUPPORTED,
      found: name,
      fix: 'unpack it, or write JSON lines: df.to_json("data.jsonl", orient="records", lines=True)',
    });
  }
}

function textOf(file: string, bytes: Uint8Array): string {
  try {
    return new TextDecoder('utf-8', { fatal: true }).decode(bytes);
  } catch {
    throw new DatasetError('DATASET_ENCODING', {
      file,
      line: lineOfBadByte(bytes),
      expected: 'UTF-8',
      found: 'bytes of another encoding',
      fix: 'convert it: iconv -f LATIN1 -t UTF-8',
    });
  }
}

/** The first line that is no UTF-8; line feeds are never part of a character. */
function lineOfBadByte(bytes: Uint8Array): number {
  const decoder = new TextDecoder('utf-8', { fatal: true });
  let line = 1;
  for (let from = 0; from < bytes.length; line++) {
    const end = bytes.indexOf(10, from);
    const until = end === -1 ? bytes.length : end;
    try {
      decoder.decode(bytes.subarray(from, until));
    } catch {
      return line;
    }
    from = until + 1;
  }
  return line;
}

function containerOf(file: string, text: string): Container {
  const name = file.toLowerCase();
  if (name.endsWith('.csv')) return 'csv';
  if (name.endsWith('.tsv')) return 'tsv';
  if (TEXT_NAME.test(name)) return 'text';
  const start = text.trimStart();
  if (start.startsWith('[')) return 'json';
  if (start.startsWith('{')) return isOneDocument(start) ? 'json' : 'jsonl';
  if (/\.(jsonl|ndjson)$/.test(name)) return 'jsonl';
  if (name.endsWith('.json')) return 'json';
  throw new DatasetError('DATASET_CONTAINER', {
    file,
    expected: SUPPORTED,
    found: `text that begins ${shown(start.slice(0, 40))}`,
    fix: 'name the file by what it is: .txt, .csv, .jsonl',
  });
}

/** Whether the text is one JSON object over several lines, not one a line. */
function isOneDocument(text: string): boolean {
  const firstLine = text.slice(0, text.indexOf('\n') === -1 ? text.length : text.indexOf('\n'));
  return !isJson(firstLine) && isJson(text);
}

function isJson(text: string): boolean {
  try {
    JSON.parse(text);
    return true;
  } catch {
    return false;
  }
}

function rowsOf(file: string, container: Container, text: string): RawRow[] {
  switch (container) {
    case 'text':
      return [{ line: 1, fields: { text: text.replaceAll('\r\n', '\n') } }];
    case 'csv':
      return parseSeparated(file, text, ',');
    case 'tsv':
      return parseSeparated(file, text, '\t');
    case 'jsonl':
      return linesOf(file, text);
    case 'json':
      return arrayOf(file, text);
  }
}

function linesOf(file: string, text: string): RawRow[] {
  const rows: RawRow[] = [];
  for (const [index, line] of text.split('\n').entries()) {
    if (line.trim() === '') continue;
    rows.push({
      line: index + 1,
      fields: objectOf(file, index + 1, parsed(file, line, index + 1)),
    });
  }
  return rows;
}

/** A list of rows, or an object whose only list is one (`{"data": [...]}`). */
function arrayOf(file: string, text: string): RawRow[] {
  const value = parsed(file, text, undefined);
  const lists =
    typeof value === 'object' && value !== null && !Array.isArray(value)
      ? Object.values(value).filter(
          (each) => Array.isArray(each) && each.every((row) => isObject(row)),
        )
      : [value];
  const list = lists.length === 1 && Array.isArray(lists[0]) ? lists[0] : [value];
  return list.map((each: unknown, i) => ({ line: i + 1, fields: objectOf(file, i + 1, each) }));
}

function parsed(file: string, text: string, line: number | undefined): unknown {
  try {
    return JSON.parse(text);
  } catch (cause) {
    const found = cause instanceof Error ? cause.message : String(cause);
    const place = /position (\d+)/.exec(found)?.[1];
    const known = place === undefined ? undefined : text.slice(0, Number(place)).split('\n').length;
    const at = line ?? known;
    throw new DatasetError('DATASET_JSON', {
      file,
      ...(at === undefined ? {} : { line: at }),
      expected: line === undefined ? 'a JSON list of objects' : 'one JSON object on this line',
      found,
      fix: 'correct that line; every text must be quoted, with line feeds as \\n',
    });
  }
}

function objectOf(file: string, line: number, value: unknown): Readonly<Record<string, unknown>> {
  if (isObject(value)) return value;
  throw new DatasetError('DATASET_JSON', {
    file,
    line,
    expected: 'an object with named columns',
    found: shown(value),
    fix: 'write rows such as {"text": "…"}',
  });
}

function isObject(value: unknown): value is Readonly<Record<string, unknown>> {
  return typeof value === 'object' && value !== null && !Array.isArray(value);
}
