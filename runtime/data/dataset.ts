/** A dataset file opened: its container, its format with the mapping of columns, and its rows. */
import { type Container, parseContents, readContents } from './containers.ts';
import { type DatasetRow, detectFormat, type Format, type Mapping, readRow } from './formats.ts';

export type Dataset = {
  readonly file: string;
  readonly container: Container;
  readonly format: Format;
  /** Part to column. */
  readonly mapping: Mapping;
  readonly rows: readonly DatasetRow[];
  /** What the reader should know: columns that nothing reads, answers that are not used. */
  readonly notes: readonly string[];
};

export type DatasetOptions = {
  /** Columns by part, for those that go by names of their own. */
  readonly columns?: Mapping | undefined;
  /** Instead of what the columns tell. */
  readonly format?: Format | undefined;
};

/** Reads a file and every row of it. @throws DatasetError */
export async function readDataset(file: string, options: DatasetOptions = {}): Promise<Dataset> {
  return datasetOf(file, await readContents(file), options);
}

/** The same for bytes at hand; `file` names them. */
export function parseDataset(
  file: string,
  bytes: Uint8Array,
  options: DatasetOptions = {},
): Dataset {
  return datasetOf(file, parseContents(file, bytes), options);
}

function datasetOf(
  file: string,
  { container, rows }: ReturnType<typeof parseContents>,
  options: DatasetOptions,
): Dataset {
  const { format, mapping } = detectFormat(file, rows[0]!, options.columns, options.format);
  const used = new Set(Object.values(mapping));
  const unused = Object.keys(rows[0]!.fields).filter((name) => !used.has(name));
  const notes: string[] = [];
  if (format === 'preference') {
    notes.push('trained on the chosen answers; the rejected ones are not used');
  }
  const others = unused.filter((name) => format !== 'preference' || name !== 'rejected');
  if (others.length > 0) notes.push(`columns that are not used: ${others.join(', ')}`);
  return {
    file,
    container,
    format,
    mapping,
    rows: rows.map((row) => readRow(file, row, format, mapping)),
    notes,
  };
}
