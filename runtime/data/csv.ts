/** Comma- and tab-separated values with a head line, as RFC 4180 has them: quotes, line feeds inside. */
import { DatasetError, shown } from './errors.ts';
import type { RawRow } from './raw-row.ts';

type Line = { readonly line: number; readonly cells: readonly string[] };

/** Rows under the names of the first line. @throws DatasetError DATASET_CSV */
export function parseSeparated(file: string, text: string, separator: ',' | '\t'): RawRow[] {
  const [head, ...rest] = cellsOf(file, text, separator);
  if (head === undefined) return [];
  const names = head.cells.map((name) => name.trim());
  if (new Set(names).size !== names.length || names.includes('')) {
    throw problem(
      file,
      1,
      'a first line with a name for each column',
      shown(names.join(separator)),
    );
  }
  return rest.map(({ line, cells }) => {
    if (cells.length !== names.length) {
      throw problem(file, line, `${names.length} cells (${names.join(', ')})`, `${cells.length}`);
    }
    return { line, fields: Object.fromEntries(names.map((name, i) => [name, cells[i]])) };
  });
}

/** One cell and what ends it: quoted, or plain; then a separator, the line's end or the file's. */
const CELL = {
  ',': /(?:"([^"]*(?:""[^"]*)*)"|([^",\n][^,\n]*?)?)(,|\r?\n|$)/y,
  '\t': /(?:"([^"]*(?:""[^"]*)*)"|([^"\t\n][^\t\n]*?)?)(\t|\r?\n|$)/y,
};

function cellsOf(file: string, text: string, separator: ',' | '\t'): Line[] {
  const cell = CELL[separator];
  const lines: Line[] = [];
  let line = 1;
  let began = 1;
  let cells: string[] = [];
  cell.lastIndex = 0;
  for (let isOpen = text.length > 0; isOpen; ) {
    const at = cell.lastIndex;
    const found = cell.exec(text);
    if (found === null) throw brokenCell(file, line, text.slice(at, at + 200));
    const [whole, quoted, bare = '', end = ''] = found;
    cells.push(quoted === undefined ? bare : quoted.replaceAll('""', '"'));
    line += whole.split('\n').length - 1;
    isOpen = end === separator || cell.lastIndex < text.length;
    if (end === separator) continue;
    if (cells.length > 1 || cells[0] !== '') lines.push({ line: began, cells });
    cells = [];
    began = line;
  }
  return lines;
}

function brokenCell(file: string, line: number, rest: string): DatasetError {
  const isClosed = /^"[^"]*(?:""[^"]*)*"[^"]/.test(rest);
  if (isClosed) return problem(file, line, 'a separator after the closing quote', shown(rest));
  return problem(file, line, 'a closing quote', `${shown(rest)} until the end of the file`);
}

function problem(file: string, line: number, expected: string, found: string): DatasetError {
  const fix = 'quote cells that hold separators, quotes or line feeds; write a quote as ""';
  return new DatasetError('DATASET_CSV', { file, line, expected, found, fix });
}
