/** The errors of reading datasets: one class, told apart by `code`, that says where and what to do. */

export type DatasetErrorCode =
  | 'DATASET_MISSING'
  | 'DATASET_TOO_LARGE'
  | 'DATASET_CONTAINER'
  | 'DATASET_ENCODING'
  | 'DATASET_EMPTY'
  | 'DATASET_JSON'
  | 'DATASET_CSV'
  | 'DATASET_COLUMNS'
  | 'DATASET_FIELD'
  | 'DATASET_ROLE'
  | 'DATASET_NO_ANSWER'
  | 'DATASET_TOKEN'
  | 'DATASET_TEMPLATE';

export type DatasetErrorDetails = {
  readonly file: string;
  /** Counted from 1; of a JSON array, the number of the row. */
  readonly line?: number;
  readonly column?: string;
  readonly expected: string;
  readonly found: string;
  /** What the reader can do about it. */
  readonly fix: string;
};

/** A dataset that cannot be trained on. */
export class DatasetError extends Error {
  override readonly name = 'DatasetError';
  readonly code: DatasetErrorCode;
  readonly details: DatasetErrorDetails;
  readonly fix: string;

  constructor(code: DatasetErrorCode, details: DatasetErrorDetails) {
    const line = details.line === undefined ? '' : `:${details.line}`;
    const column = details.column === undefined ? '' : ` column ${details.column}`;
    super(`${details.file}${line}${column}: expected ${details.expected}, found ${details.found}`);
    this.code = code;
    this.details = details;
    this.fix = details.fix;
  }
}

/** A value for an error message, shortened. */
export function shown(value: unknown): string {
  const text = value === undefined ? 'nothing' : (JSON.stringify(value) ?? typeof value);
  return text.length > 80 ? `${text.slice(0, 77)}…` : text;
}
